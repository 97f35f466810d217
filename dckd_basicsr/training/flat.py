"""Many small tensors handled as one for each type: few launches on a GPU, one exchange between processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ..archs.buffers import writable

__all__ = ["KeptBuffers", "by_type", "joined", "write"]


def by_type(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Return tensors in groups of one type, in their order."""
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return list(groups.values())


def joined(group: Sequence[Tensor]) -> Tensor:
    """Return the values of tensors of one type, one after another, as a copy."""
    return torch.cat([tensor.flatten() for tensor in group])


def write(whole: Tensor, group: Sequence[Tensor]) -> None:
    """Put values as :func:`joined` gives them into tensors, in place."""
    pieces = whole.split([tensor.numel() for tensor in group])
    torch._foreach_copy_(list(group), [piece.view_as(tensor) for piece, tensor in zip(pieces, group)])


class KeptBuffers:
    """The buffers of a network before a step: running means would keep what one batch that is not finite puts in.

    Args:
        net: whose forward pass is to come.
    """

    @torch.no_grad()
    def __init__(self, net: nn.Module) -> None:
        self._held = [(module, dict(module._buffers)) for module in net.modules() if module._buffers]
        self._groups = by_type(buffer for buffer in net.buffers() if writable(buffer))
        self._kept = [joined(group) for group in self._groups]

    @torch.no_grad()
    def restore_unless(self, sound: Tensor) -> None:
        """Put them back if ``sound``, a bool scalar on their device, is false.

        It is read on the host only for a buffer that a tensor of another size or kind has taken the place of.
        """
        for group, kept in zip(self._groups, self._kept, strict=True):
            write(torch.where(sound, joined(group), kept), group)
        for module, held in self._held:
            for name, before in held.items():
                now = module._buffers.get(name)
                if now is not before:
                    module._buffers[name] = _chosen(sound, now, before)


def _chosen(sound: Tensor, now: Tensor | None, before: Tensor | None) -> Tensor | None:
    if (
        now is None
        or before is None
        or (now.shape, now.dtype, now.device) != (before.shape, before.dtype, before.device)
    ):
        return now if sound else before
    return torch.where(sound, now, before)
