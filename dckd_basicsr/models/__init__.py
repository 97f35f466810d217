"""BasicSR models: thin glue between option files and the method."""

from .dckd_model import DCKDModel
from .restoration_model import RestorationModel
from .vqgan_model import VQGANModel

__all__ = ["DCKDModel", "RestorationModel", "VQGANModel"]
