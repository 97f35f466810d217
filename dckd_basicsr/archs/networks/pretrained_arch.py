"""A published restoration network as teacher or student, detected from its weight file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ...errors import CheckpointError
from ...install import register
from ...weight_files import load_weights
from ..facts import ArchFacts
from ..layouts import from_published, spellings
from ..likeness import likeness
from ..recognize import recognize

__all__ = [
    "WRITES_INTO_ITS_INPUT",
    "PretrainedNet",
    "descriptor_facts",
    "detected_name",
    "detected_part",
    "special_call",
]


_ONE_BY_ONE = ("DRUNet", "DnCNN")
"""Architectures for which spandrel makes a noise map for one image."""
WRITES_INTO_ITS_INPUT = ("RCAN",)
"""Architectures that scale the pixels they are given in place; whoever goes on with these needs them as they were."""


@register(ARCH_REGISTRY)
class PretrainedNet(nn.Module):
    """A network whose architecture, scale and size rules are read from its weights by spandrel.

    Args:
        path: a ``.pth`` or ``.safetensors`` file of an image-to-image architecture that spandrel detects: some forty,
            among them SwinIR, RCAN, HAT, DAT, CRAFT and NAFNet, but neither EDSR nor Restormer.

    Attributes:
        facts: scale, padding rules and channels of the detected architecture.

    Raises:
        CheckpointError: the file is missing or damaged, or no known architecture fits its keys.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        import spandrel

        weights = load_weights(Path(path).expanduser())
        _refuse_other_range(weights.state, path)
        state = detected_part(weights.state)
        try:
            # The registry itself, not ModelLoader, which moves the network: an outline has no values to move.
            found = spandrel.MAIN_REGISTRY.load(state)
        except spandrel.UnsupportedModelError as error:
            looks = recognize(weights.state)
            advice = "(type: EDSR, RCAN, SwinIR, ...)" if looks is None else f"(it looks like {looks})"
            keys = f"first keys: {', '.join(list(weights.state)[:3])}"
            raise CheckpointError(
                f"no architecture known to spandrel {getattr(spandrel, '__version__', '')} fits the weights in "
                f"'{path}' ({likeness(weights.state, weights.entry) if looks is None else keys}); "
                f"name the network in the option file instead "
                f"{advice} and give the file under path: pretrain_network_*"
            ) from error
        except Exception as error:  # whatever a network's constructor raises, or its loading
            raise CheckpointError(
                f"spandrel takes the weights in '{path}' for those of a {detected_name(state)}, and fails on them "
                f"({(str(error).splitlines() or [type(error).__name__])[-1].strip()}); name the network in the option "
                "file instead (type: EDSR, RCAN, SwinIR, ...) and give the file under path: pretrain_network_*"
            ) from error
        if not isinstance(found, spandrel.ImageModelDescriptor):
            raise CheckpointError(f"'{path}' holds a {found.architecture.name}, which takes more than one image")
        self.net = found.model
        self.architecture: str = found.architecture.name
        self.facts = descriptor_facts(found)
        self._call = special_call(found)

    def forward(self, x: Tensor) -> Tensor:
        if self.architecture in WRITES_INTO_ITS_INPUT:
            x = x.clone()
        if self._call is None:
            return self.net(x)
        if self.architecture in _ONE_BY_ONE:
            return torch.cat([self._call(self.net, image) for image in x.split(1)])
        return self._call(self.net, x)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the call, which may be a lambda; whether there is one stays."""
        return {**self.__dict__, "_call": self._call is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self._call:
            import spandrel

            self._call = special_call(spandrel.MAIN_REGISTRY.load(self.net.state_dict()))
        else:
            self._call = None


def _refuse_other_range(state: Mapping[str, Tensor], path: str) -> None:
    """Refuse an RCAN for which spandrel, which takes the range for 255 always, would compute something else."""
    published = from_published(state)
    unusual = {} if published is None else published.unusual
    if published is not None and "img_range" in unusual:
        raise CheckpointError(
            f"'{path}' holds an {published.layout.network} of range {unusual['img_range']:g}, which spandrel takes for "
            f"255; write network_*: {{type: {published.layout.network}, img_range: {unusual['img_range']}, ...}} "
            "and give the file under path: pretrain_network_*"
        )


def detected_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the part of ``state`` that spandrel detects: all, or what is behind a prefix; all if it detects none."""
    return dict(next((part for part in spellings(state) if detected_name(part) is not None), state))


def descriptor_facts(found: Any, *, channels_last: bool = False) -> ArchFacts:
    """Return the facts of a network that spandrel describes."""
    size = found.size_requirements
    return ArchFacts(
        scale=found.scale,
        multiple_of=size.multiple_of or 1,
        minimum=size.minimum or 1,
        square=size.square,
        input_channels=found.input_channels,
        output_channels=found.output_channels,
        channels_last=channels_last,
    )


def special_call(found: Any) -> Callable[[nn.Module, Tensor], Tensor] | None:
    """Return how spandrel calls a network that it found, None for the plain ``net(x)``.

    Some return several things, shift the range, or want a map beside the image.
    """
    call = getattr(found, "_call_fn", None)  # private, so it may go
    plain = getattr(call, "__qualname__", "").startswith(f"{type(found).__qualname__}.__init__")
    return None if plain else call


def detected_name(state: Mapping[str, Tensor]) -> str | None:
    """Return spandrel's name for the architecture of ``state``, from its keys alone, or None if it knows none."""
    import spandrel

    for support in spandrel.MAIN_REGISTRY.architectures("detection"):
        ours = getattr(support.architecture, "of_dckd_basicsr", False)  # registered by us: it knows no more than we
        if not ours and support.detect(dict(state)):
            return support.architecture.name
    return None
