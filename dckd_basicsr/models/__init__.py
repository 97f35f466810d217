"""BasicSR models: thin glue between option files and the method."""

from .dckd_model import DCKDModel
from .restoration_model import RestorationModel
from .stock import improve_base_model

improve_base_model()

__all__ = ["DCKDModel", "RestorationModel"]
