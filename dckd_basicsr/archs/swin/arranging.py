"""What a training does with the windows of its networks, in one call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Literal

from torch import nn

from .attention import fused_attention
from .blocks import for_any_size
from .drop_path import share_drop_paths

__all__ = ["Attention", "arrange_windows"]

_LOG = logging.getLogger("basicsr")
Attention = Literal["auto", "sdpa", "triton"]


def arrange_windows(
    net: nn.Module,
    *,
    frozen: bool,
    compiled: bool = False,
    attention: Attention | None = None,
    side: int = 64,
    region: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> str:
    """Prepare the Swin blocks of a network for training in which it is run; before it is compiled or recomputed.

    Args:
        net: changed in place; one without Swin blocks stays as it is.
        frozen: it always evaluates.
        compiled: its blocks are to be compiled.
        attention: how attention in windows is computed; None and auto as the network does it, to the last bit. The
            kernel of ``triton`` is tried first; where it does not compute the same, a warning says so, once.
        side: of the images that the network mostly sees, for that trial.
        region: makes the context of the precision in which the network runs, for that trial.

    Returns:
        What was chosen, for the log; an empty text where nothing was asked for.
    """
    if not for_any_size(net):
        return ""
    if compiled:
        share_drop_paths(net, frozen=frozen)
    if attention == "sdpa":
        return f"{fused_attention(net)} Swin blocks with fused attention"
    if attention == "triton":
        try:
            from .kernel_blocks import kernel_attention

            return f"{kernel_attention(net, side, frozen=frozen, region=region)} Swin blocks with attention in a kernel"
        except Exception as error:  # whatever a missing Triton, its compiler or the comparison raises
            _warn(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}")
    return ""


@cache
def _warn(reason: str) -> None:
    _LOG.warning(
        "train.runtime.attention: the kernel cannot be used here, so attention runs as without it (%s). On an NVIDIA "
        "GPU it needs Triton, which comes with PyTorch; 'sdpa' runs everywhere",
        reason,
    )
