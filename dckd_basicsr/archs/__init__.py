"""Networks this package adds to BasicSR's registry, and the facts the rest needs to know about any network."""

from .bicubic_arch import Bicubic
from .facts import ArchFacts, facts_from_options, facts_of
from .nafnet_arch import NAFNet
from .pretrained_arch import PretrainedNet
from .restormer_arch import Restormer
from .vqgan_arch import VQGAN, Encoding
from .vqgan_layout import vqgan_options_from_state

__all__ = [
    "VQGAN",
    "ArchFacts",
    "Bicubic",
    "Encoding",
    "NAFNet",
    "PretrainedNet",
    "Restormer",
    "facts_from_options",
    "facts_of",
    "vqgan_options_from_state",
]
