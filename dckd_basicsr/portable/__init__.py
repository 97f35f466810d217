"""Networks as files: opening any weight file, writing those that other programs load, and the card beside them."""

from .onnx_network import OnnxNetwork
from .opening import Opened, open_network

__all__ = ["OnnxNetwork", "Opened", "open_network"]
