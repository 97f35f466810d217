"""Networks as files: opening any weight file, writing those that other programs load, and the card beside them."""

from .card_facts import CardFacts, Measured
from .exporting import FORMATS, Exported, export_network
from .onnx_network import OnnxNetwork
from .opening import Opened, open_network
from .published import register_with_spandrel

__all__ = [
    "FORMATS",
    "CardFacts",
    "Exported",
    "Measured",
    "OnnxNetwork",
    "Opened",
    "export_network",
    "open_network",
    "register_with_spandrel",
]
from .initializers import initializer_count
from .programs import Program, programs_of

__all__ = ["OnnxNetwork", "Opened", "Program", "initializer_count", "open_network", "programs_of"]
