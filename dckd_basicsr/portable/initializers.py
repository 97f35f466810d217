"""The weights inside an ONNX file."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

from ..errors import CheckpointError
from .onnx_network import needs_extra

__all__ = ["initializer_count"]


def initializer_count(file: Path) -> int:
    """Return how many numbers the initializers of an ONNX file hold; shapes and indices (int64, bool) are no weights.

    Raises:
        CheckpointError: no readable ONNX file.
        DCKDError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise needs_extra("onnx", "export") from error
    try:
        model = onnx.load(os.fspath(file), load_external_data=False)
    except Exception as error:  # its errors have no common class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"'{file}' is no ONNX file ({reason})") from error
    beside = (onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING)
    return sum(prod(each.dims) for each in model.graph.initializer if each.data_type not in beside)
