"""TF32, by which NVIDIA GPUs since Ampere shorten the factors of float32 products to 10 bits of mantissa.

PyTorch has two switches, both of the whole process: one for matrix products (off by default) and one for convolutions
(on by default). They count when an operation is launched, so they can be set around a piece of work.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

__all__ = ["forbid_tf32", "kept_tf32", "tf32", "tf32_allowed"]

_CUDNN: Any = torch.backends.cudnn
_MATMUL: Any = torch.backends.cuda.matmul

with warnings.catch_warnings():  # PyTorch 2.9 and later say once that these names will go; 2.14 still has them
    warnings.simplefilter("ignore")
    for _read in (torch.get_float32_matmul_precision, lambda: _CUDNN.allow_tf32):
        with suppress(RuntimeError):  # somebody has used the names of PyTorch 2.9 already
            _read()


def tf32_allowed() -> tuple[bool, bool]:
    """Tell whether matrix products and convolutions may use TF32 at present."""
    products, convolutions = _switches()
    return products not in ("highest", "ieee", "none"), convolutions in (True, "tf32")


@contextmanager
def kept_tf32() -> Iterator[None]:
    """Leave TF32 allowed or forbidden as it was, whatever the block does."""
    before = _switches()
    try:
        yield
    finally:
        _set(*before)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow TF32 in matrix products and convolutions inside the block, or forbid it; afterwards all is as it was."""
    with kept_tf32():
        _switch(allowed)
        yield


def forbid_tf32() -> None:
    """Forbid TF32 in matrix products and convolutions from now on."""
    _switch(False)


def _switches() -> tuple[Any, Any]:
    try:
        return torch.get_float32_matmul_precision(), _CUDNN.allow_tf32
    except RuntimeError:  # somebody has used the names of PyTorch 2.9, after which it refuses to read the older ones
        return _MATMUL.fp32_precision, _CUDNN.conv.fp32_precision


def _switch(on: bool) -> None:
    older = isinstance(_switches()[1], bool)
    _set(*(("high" if on else "highest", on) if older else ("tf32" if on else "ieee",) * 2))


def _set(products: Any, convolutions: Any) -> None:
    if isinstance(convolutions, bool):
        torch.set_float32_matmul_precision(products)  # unlike allow_tf32 it leaves nothing half set, nor loses "medium"
        _CUDNN.allow_tf32 = convolutions
    else:
        _MATMUL.fp32_precision, _CUDNN.conv.fp32_precision = products, convolutions
