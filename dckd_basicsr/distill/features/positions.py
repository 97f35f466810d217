"""Where inside a network a feature map is taken: a module, its input, or a share of the network's depth.

Shares make one option line fit any network: methods that compare features say "after a third of the blocks" in their
papers, and every network has other names for that.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from ...errors import ConfigError

__all__ = ["Place", "located"]

_SHARE = re.compile(r"(\d+)/(\d+)")
_INPUT = "@input"


class Place(NamedTuple):
    """A module by its path, and whether its input is meant instead of its output."""

    module: str
    before: bool = False


class _Layout(NamedTuple):
    """Stages from shallow to deep, and the last map in feature space."""

    stages: list[str]
    end: Place


def located(net: nn.Module, position: str) -> Place:
    """Return the module that a position means.

    Args:
        net: the bare network.
        position: a module's path (``body.15``); a path with ``@input`` for what goes into the module
            (``upsample@input``); a share of the depth (``1/3``), which is the output of the last stage up to there; or
            ``end``, the last map before the image is made, after the long skip where there is one.

    Raises:
        ConfigError: a share of more than the whole, or a share of a network without repeated blocks.
    """
    share = _SHARE.fullmatch(position)
    if share is None and position != "end":
        path = position.removesuffix(_INPUT)
        return Place(path, before=path != position)
    layout = _layout(net)
    if layout is None:
        raise ConfigError(
            f"{type(net).__name__} has no repeated blocks by which '{position}' could be found; name module paths"
        )
    if share is None:
        return layout.end
    part, whole = int(share[1]), int(share[2])
    if not 0 < part <= whole:
        raise ConfigError(f"the position '{position}' must be a share of the depth: more than 0, at most 1")
    index = _index(net, len(layout.stages) * part / whole)
    return Place(layout.stages[min(max(index, 0), len(layout.stages) - 1)])


def _index(net: nn.Module, stages: float) -> int:
    # FAKD (He et al., ICIP 2020) takes groups 2 and 6 of RCAN's 10, and its successors blocks 10 and 21 of EDSR's 32.
    rcan = any(type(module).__name__ == "RCAN" for module in net.modules())
    return round(stages) - 1 if rcan else math.ceil(stages - 1e-9) - 1


def _children(net: nn.Module, name: str) -> list[str]:
    return [f"{name}.{child}" for child, _ in getattr(net, name).named_children()]


def _before_upsampling(net: nn.Module) -> str:
    return next(name for name in ("conv_before_upsample", "upsample", "conv_last") if hasattr(net, name))


def _sr(stages: str) -> Callable[[nn.Module], _Layout]:
    """Networks that go through blocks of one resolution, a long skip, and an upsampler."""
    return lambda net: _Layout(_children(net, stages), Place(_before_upsampling(net), before=True))


def _nafnet(net: nn.Module) -> _Layout:
    stages = [*_children(net, "encoders"), "middle_blks", *_children(net, "decoders")]
    return _Layout(stages, Place("ending", before=True))


def _restormer(net: nn.Module) -> _Layout:
    down, up = (f"encoder_level{i}" for i in (1, 2, 3)), (f"decoder_level{i}" for i in (3, 2, 1))
    return _Layout([*down, "latent", *up, "refinement"], Place("output", before=True))


_LAYOUTS: dict[str, Callable[[nn.Module], _Layout]] = {
    "EDSR": _sr("body"),
    "RCAN": _sr("body"),
    "SwinIR": _sr("layers"),
    "NAFNet": _nafnet,
    "Restormer": _restormer,
}


def _layout(net: nn.Module) -> _Layout | None:
    """Return the layout of a network, of the one that a wrapper holds, or what its repeated blocks suggest."""
    for path, module in net.named_modules():
        known = _LAYOUTS.get(type(module).__name__)
        if known is not None:
            try:
                stages, end = known(module)
            except (AttributeError, StopIteration):  # another network of that name
                continue
            prefix = f"{path}." if path else ""
            return _Layout([prefix + stage for stage in stages], Place(prefix + end.module, end.before))
    return _guessed(net)


def _guessed(net: nn.Module) -> _Layout | None:
    """Take the largest row of modules of one kind for the stages, and the last of them for the end."""
    best: list[str] = []
    most = 0
    for path, module in net.named_modules():
        if not isinstance(module, nn.Sequential | nn.ModuleList) or not len(module):
            continue
        kind = Counter(type(child) for child in module).most_common(1)[0][0]
        alike = {name: child for name, child in module.named_children() if type(child) is kind}
        size = sum(p.numel() for child in alike.values() for p in child.parameters())
        if len(alike) > 1 and size > most:
            best, most = [f"{path}.{name}" if path else name for name in alike], size
    return _Layout(best, Place(best[-1])) if best else None
