"""Dynamic Contrastive Knowledge Distillation for image restoration, as a BasicSR plugin.

``import dckd_basicsr`` makes BasicSR 1.4.2 run on today's PyTorch, registers this package's models, losses and
networks, and puts its training loop in the place of BasicSR's ``train_pipeline``. BasicSR's ``test_pipeline`` stays;
both understand this package's option files.
"""

from . import compat

compat.prepare_import()  # before anything of basicsr is imported

from . import archs, config, data, distill, losses, metrics, models, runtime, training  # noqa: E402
from .errors import (  # noqa: E402
    CheckpointError,
    ConfigError,
    DatasetError,
    DCKDError,
    Interrupted,
    ProcessError,
    TrainingDiverged,
)
from .version import __version__  # noqa: E402

compat.prepare_lmdb_backend(data.refuse_two_packs)
compat.prepare_pipelines()
compat.replace_parse_options(config.parse_options)
compat.replace_train_pipeline(training.train_pipeline)

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
    "losses",
    "metrics",
    "models",
    "runtime",
    "training",
]
