"""BasicSR models: thin glue between option files and the method."""

from ..training.stock import improve_base_model
from .dckd_model import DCKDModel
from .restoration_model import RestorationModel

improve_base_model()

__all__ = ["DCKDModel", "RestorationModel"]
