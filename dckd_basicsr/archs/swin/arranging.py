"""What a training does with the windows of its networks, in one call."""

from __future__ import annotations

from typing import Literal

from torch import nn

from .attention import fused_attention
from .blocks import for_any_size
from .drop_path import share_drop_paths

__all__ = ["Attention", "arrange_windows"]

Attention = Literal["auto", "sdpa"]


def arrange_windows(net: nn.Module, *, frozen: bool, compiled: bool = False, attention: Attention | None = None) -> str:
    """Prepare the Swin blocks of a network for training in which it is run; before it is compiled or recomputed.

    Args:
        net: changed in place; one without Swin blocks stays as it is.
        frozen: it always evaluates.
        compiled: its blocks are to be compiled.
        attention: how attention in windows is computed; None and auto as the network does it, to the last
            bit.

    Returns:
        What was chosen, for the log; an empty text where nothing was asked for.
    """
    if not for_any_size(net):
        return ""
    if compiled:
        share_drop_paths(net, frozen=frozen)
    if attention in (None, "auto"):
        return ""
    return f"{fused_attention(net)} Swin blocks with fused attention"
