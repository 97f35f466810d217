"""How a VQGAN's codebook is learned: moving averages of what its codes stand for, and a step's losses.

The network itself is :class:`dckd_basicsr.archs.VQGAN`; a run is ``models/vqgan_model.py``.
"""

from .averages import CodebookAverages
from .perceptual import VGGFeatureLoss
from .settings import AdversarialSettings, CodebookSettings, adversarial_settings
from .step import Reconstructing, ReconstructionStep, Step, code_rows

__all__ = [
    "AdversarialSettings",
    "CodebookAverages",
    "CodebookSettings",
    "Reconstructing",
    "ReconstructionStep",
    "Step",
    "VGGFeatureLoss",
    "adversarial_settings",
    "code_rows",
]
