"""Networks this package adds to BasicSR's registry, and the facts the rest needs to know about any network."""

from .bicubic_arch import Bicubic
from .facts import ArchFacts, facts_from_options, facts_of
from .nafnet_arch import NAFNet
from .outline import network_class, outline
from .pretrained_arch import PretrainedNet, detected_name
from .recognize import Recognized, recognize
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
    "Recognized",
    "Restormer",
    "detected_name",
    "facts_from_options",
    "facts_of",
    "network_class",
    "outline",
    "recognize",
    "vqgan_options_from_state",
]
