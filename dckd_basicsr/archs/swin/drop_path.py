"""Drop path for compiled blocks: blocks that differ in its rate alone share their code.

The rate is a Python number, a constant of the code that is compiled for a block, in evaluation mode too. So each block
of a network has its own rate, and would be compiled anew.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ..frozen import all_modules

__all__ = ["share_drop_paths"]

_DRAWS_UNIFORM = "basicsr.archs.swinir_arch"
"""Whose drop path draws what a rate in a tensor can draw too; spandrel's asks PyTorch for Bernoulli numbers, whose
values for a rate in a tensor are others."""


def share_drop_paths(net: nn.Module, *, frozen: bool) -> int:
    """Let the drop paths of a network be equal code, which draws what it drew before; to be done before compiling.

    Args:
        net: changed in place; its state dict stays as it is.
        frozen: it always evaluates, so a drop path is nothing at all. Else the rate becomes a buffer.

    Returns:
        How many drop paths were changed. Those with hooks stay as they are, and spandrel's of a network that trains.
    """
    changed = 0
    for parent in list(all_modules(net)):
        children: list[tuple[str, Any]] = list(parent.named_children())
        for name, module in children:
            if type(module).__name__ != "DropPath" or module._forward_hooks or module._forward_pre_hooks:
                continue
            if frozen:
                setattr(parent, name, nn.Identity())
            elif type(module).__module__ == _DRAWS_UNIFORM:
                device = next((p.device for p in parent.parameters()), None)
                keep = torch.tensor(1.0 - module.drop_prob, device=device)
                module.register_buffer("keep", keep, persistent=False)
                module.forward = MethodType(_forward, module)
            else:
                continue
            changed += 1
    return changed


def _forward(module: Any, x: Tensor) -> Tensor:
    """Leave out samples of (B, ...) in training, and scale the others, so that the mean over draws stays.

    With the original's random numbers, and in float32 its values. In bfloat16 and float16 rate and sums keep float32,
    while the original rounds them as its device and compiler have it: of a thousand samples a few are left out in one
    of the two alone.
    """
    if not module.training:
        return x
    drawn = torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), dtype=x.dtype, device=x.device)
    wide = torch.promote_types(x.dtype, torch.float32)
    stays = (drawn.to(wide) + module.keep).floor()
    return (x.to(wide) / module.keep * stays).to(x.dtype)
