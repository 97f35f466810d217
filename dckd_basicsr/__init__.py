"""Dynamic Contrastive Knowledge Distillation for image restoration, as a BasicSR plugin.

``import dckd_basicsr`` makes BasicSR 1.4.2 run on today's PyTorch, registers this package's models, losses and
networks, and puts its training loop in the place of BasicSR's ``train_pipeline``. BasicSR's ``test_pipeline`` stays;
both understand this package's option files. The command ``basicsr`` alone puts that off until a network is needed
(``install.belongs_to_the_import``).
"""

from typing import TYPE_CHECKING

from . import install, moved
from .errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    DCKDError,
    Interrupted,
    ProcessError,
    TrainingDiverged,
)
from .late_dynamo import run_dynamo_late
from .version import __version__

if TYPE_CHECKING:  # install.everything() imports them
    from . import archs, config, data, distill, inference, losses, metrics, models, training

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DCKDError",
    "DatasetError",
    "Interrupted",
    "ProcessError",
    "TrainingDiverged",
    "__version__",
    "archs",
    "config",
    "data",
    "distill",
    "inference",
    "losses",
    "metrics",
    "models",
    "training",
]

moved.leave_notes(__name__)
if install.belongs_to_the_import():
    install.everything()
else:
    run_dynamo_late()
