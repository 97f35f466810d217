"""VGG features of images: the layers of torchvision's ImageNet classifiers up to given ReLUs, frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ...errors import CheckpointError
from ...weight_files import load_weights, misfits
from ..chunking import images_at_once

__all__ = ["VGGS", "FrozenVGG", "Inputs", "relu_places", "vgg_problem"]

Inputs = Literal["unit", "bytes", "imagenet"]

_WIDTHS = (64, 128, 256, 512, 512)
_PREFIX = "features."


class _Variant(NamedTuple):
    """One of torchvision's networks: convolutions in each of its five stages, and the file of its weights."""

    convolutions: tuple[int, ...]
    file: str

    @property
    def source(self) -> str:
        return f"torchvision's {self.file}, from https://download.pytorch.org/models/{self.file}"


VGGS = {
    "vgg16": _Variant((2, 2, 3, 3, 3), "vgg16-397923af.pth"),
    "vgg19": _Variant((2, 2, 4, 4, 4), "vgg19-dcbb9e9d.pth"),
}
"""The networks there are, with ``source``: where their weights come from, in words."""


def relu_places(kind: str) -> dict[str, int]:
    """Return the index of every ReLU in torchvision's ``features``, by its usual name: ``relu3_1`` is 11 of VGG19."""
    places, index = {}, -1
    for stage, count in enumerate(VGGS[kind].convolutions, 1):
        for number in range(1, count + 1):
            index += 2  # a convolution and its ReLU
            places[f"relu{stage}_{number}"] = index
        index += 1  # the pooling after a stage
    return places


def vgg_problem(kind: str, layers: Sequence[str]) -> str:
    """Say what is wrong with the layers asked for; empty where nothing is."""
    places = relu_places(kind)
    unknown = [layer for layer in layers if layer not in places]
    if unknown or not layers or len(set(layers)) < len(layers):
        what = f", got {unknown[0]!r}" if unknown else f", each once, got {list(layers)}"
        return f"layers must name ReLUs of {kind}: {', '.join(places)}{what}"
    return ""


class FrozenVGG(nn.Module):
    """Torchvision's VGG16 or VGG19 without its classifier (Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556).

    It never trains; gradients pass through it to the images only. It ends at the last ReLU that is asked for.

    Args:
        kind: a key of :data:`VGGS`.
        layers: names of the ReLUs whose outputs it gives, see :func:`relu_places`.
        weights: torchvision's file of this network's weights; ``features.*`` is read, without running code. None
            leaves the layers without values: enough to count what they cost.
        inputs: what images in [0, 1] become: ``imagenet`` normalises them by the mean and standard deviation of
            ImageNet, as the weights were trained; ``bytes`` multiplies them by 255; ``unit`` leaves them as they are.
            With ``bytes`` deep layers exceed what fp16 can hold sooner: prefer bf16 there.
        region: makes the context in which the layers run, for instance of mixed precision.

    Raises:
        CheckpointError: the file is missing, damaged or another network's; says which is expected.
        ValueError: there are no such layers.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        kind: str,
        layers: Sequence[str],
        weights: Path | str | None,
        inputs: Inputs = "imagenet",
        region: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        super().__init__()
        if problem := vgg_problem(kind, layers):
            raise ValueError(problem)
        places = relu_places(kind)
        self.taps = tuple(places[layer] for layer in layers)
        self.inputs, self.region = inputs, region
        self.features = (
            (_layers(kind) if weights is None else _loaded(kind, weights))[: max(self.taps) + 1]
            .eval()
            .requires_grad_(False)
        )
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> FrozenVGG:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the layers, in their order, with gradients to the images.

        Args:
            images: (B, 3, H, W) or (B, 1, H, W) in [0, 1], not clamped.

        Returns:
            (B, C_i, H / 2^s, W / 2^s) for a layer of stage s + 1, in the precision of the region.
        """
        x = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        if self.inputs == "imagenet":
            x = (x - self.mean) / self.std
        elif self.inputs == "bytes":
            x = x * 255
        found: dict[int, Tensor] = {}
        with self.region():
            for index, layer in enumerate(self.features):
                x = layer(x)
                if index in self.taps:
                    found[index] = x
        return tuple(found[index] for index in self.taps)

    @torch.no_grad()
    def reference(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the layers' outputs for images that need no gradient, as many at once as a CPU's cache holds."""
        count = images_at_once(images, None, 2.5 * _WIDTHS[0])
        pieces = [self(piece) for piece in images.split(count)]
        return pieces[0] if len(pieces) == 1 else tuple(torch.cat(level) for level in zip(*pieces))


def _layers(kind: str) -> nn.Sequential:
    """Torchvision's ``features`` without values. No ReLU works in place: it would overwrite what is taken before it."""
    layers: list[nn.Module] = []
    before = 3
    with torch.device("meta"):
        for width, count in zip(_WIDTHS, VGGS[kind].convolutions):
            for _ in range(count):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _loaded(kind: str, path: Path | str) -> nn.Sequential:
    """Return all layers with their weights; all, so that another variant's file is told apart however few are used."""
    layers, expected = _layers(kind), f"expected is {VGGS[kind].source}"
    try:
        state = load_weights(Path(path).expanduser()).state
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {expected}") from error
    own = {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)}
    if wrong := misfits(layers, own):
        raise CheckpointError(f"weight file '{path}' is not that of {kind} ({'; '.join(wrong)}); {expected}")
    layers.load_state_dict(own, assign=True)
    return layers
