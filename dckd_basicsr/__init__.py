"""Dynamic Contrastive Knowledge Distillation for image restoration, as a BasicSR plugin.

``import dckd_basicsr`` makes BasicSR 1.4.2 run on today's PyTorch, registers this package's models, losses and
networks, and puts its training loop in the place of BasicSR's ``train_pipeline``. BasicSR's ``test_pipeline`` stays;
both understand this package's option files.
"""

from . import install

install.prepare_import()  # before anything of basicsr is imported

from . import archs, config, data, distill, inference, losses, metrics, models, training  # noqa: E402
from .data.lmdb.pack_id import refuse_two_packs  # noqa: E402
from .errors import (  # noqa: E402
    CheckpointError,
    ConfigError,
    DatasetError,
    DCKDError,
    Interrupted,
    ProcessError,
    TrainingDiverged,
)
from .training.loop import train_pipeline  # noqa: E402
from .version import __version__  # noqa: E402

install.prepare_lmdb_backend(refuse_two_packs)
install.prepare_pipelines()
install.replace_parse_options(config.parse_options)
install.replace_train_pipeline(train_pipeline)

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
