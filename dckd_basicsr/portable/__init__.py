"""Networks as files: opening any weight file, writing those that other programs load, and the card beside them."""

from .initializers import initializer_count
from .onnx_network import OnnxNetwork
from .opening import Opened, open_network
from .programs import Program, programs_of

__all__ = ["OnnxNetwork", "Opened", "Program", "initializer_count", "open_network", "programs_of"]
