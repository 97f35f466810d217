"""What the rest of the package must know about a network without looking inside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

__all__ = ["ArchFacts", "facts_from_options", "facts_of"]


@dataclass(frozen=True)
class ArchFacts:
    """Size rules of a restoration network.

    Attributes:
        scale: output size / input size (1 for deblurring and deraining).
        multiple_of: height and width of the input must be a multiple of this; validation pads to it and crops back.
        minimum: smallest input side in pixels.
        square: height and width of the input must be equal; training patches always are.
        input_channels: of its images; None where options state them, or nobody does.
        output_channels: as ``input_channels``.
        channels_last: whether this memory layout pays: in plain convolutional networks, which keep it throughout.
    """

    scale: int
    multiple_of: int = 1
    minimum: int = 1
    square: bool = False
    input_channels: int | None = None
    output_channels: int | None = None
    channels_last: bool = False

    def admits(self, side: int) -> bool:
        """Whether a square input of ``side`` pixels needs no padding; training patches get none."""
        return side > 0 and self.padded(side, side) == (side, side)

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """The smallest height and width, not below these, that the network takes."""
        multiple = max(1, self.multiple_of)
        sides = [-(-max(side, self.minimum) // multiple) * multiple for side in (height, width)]
        return (max(sides), max(sides)) if self.square else (sides[0], sides[1])


def _upscale_only(options: Mapping[str, Any], default: int) -> ArchFacts:
    return ArchFacts(scale=int(options.get("upscale", default)), channels_last=True)


def _swinir(options: Mapping[str, Any]) -> ArchFacts:
    # BasicSR's SwinIR does not pad inside: an input that is no multiple of the window fails in window_partition.
    window = int(options.get("window_size", 7))
    return ArchFacts(scale=int(options.get("upscale", 2)), multiple_of=window, minimum=window)


def _rrdbnet(options: Mapping[str, Any]) -> ArchFacts:
    # Below x4 it folds 2x2 or 4x4 pixels into channels first; spandrel pads to multiples of 4 for both.
    scale = int(options.get("scale", 4))
    return ArchFacts(scale=scale, multiple_of=4 if scale < 4 else 1, channels_last=True)


# Networks BasicSR ships have no facts of their own, so they are stated here, by registered name.
_STOCK: dict[str, Callable[[Mapping[str, Any]], ArchFacts]] = {
    "EDSR": lambda options: _upscale_only(options, 4),
    "RCAN": lambda options: _upscale_only(options, 4),
    "MSRResNet": lambda options: _upscale_only(options, 4),
    "RRDBNet": _rrdbnet,
    "SRVGGNetCompact": lambda options: _upscale_only(options, 4),
    "SwinIR": _swinir,
}


def facts_from_options(options: Mapping[str, Any]) -> ArchFacts | None:
    """Return the facts of a network from its option block, or None where they need the built network.

    A class whose size rules hold for all its options states them in a class attribute ``facts``.
    """
    name = str(options.get("type"))
    stock = _STOCK.get(name.removesuffix("_basicsr"))  # as BasicSR's registry has some of them
    if stock is not None:
        return stock(options)
    own = getattr(dict(iter(ARCH_REGISTRY)).get(name), "facts", None)
    return own if isinstance(own, ArchFacts) else None


def facts_of(net: nn.Module, options: Mapping[str, Any], scale: int) -> ArchFacts:
    """Return the facts of a built network.

    Args:
        net: the bare network; its own ``facts`` attribute wins.
        options: its option block, with ``type``.
        scale: the run's scale, used for networks that nobody described.
    """
    own = getattr(net, "facts", None)
    if isinstance(own, ArchFacts):
        return own
    return facts_from_options(options) or ArchFacts(scale=scale)
