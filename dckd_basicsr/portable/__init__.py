"""Networks as files: opening any weight file, writing those that other programs load, and the card beside them."""

from .card_facts import CardFacts, Measured
from .exporting import FORMATS, Exported, earlier_files, export_network, file_stem
from .initializers import initializer_count
from .onnx_network import OnnxNetwork
from .opening import Opened, open_network
from .programs import Program, programs_of
from .published import register_with_spandrel

__all__ = [
    "FORMATS",
    "CardFacts",
    "Exported",
    "Measured",
    "OnnxNetwork",
    "Opened",
    "Program",
    "earlier_files",
    "export_network",
    "file_stem",
    "initializer_count",
    "open_network",
    "programs_of",
    "register_with_spandrel",
]
