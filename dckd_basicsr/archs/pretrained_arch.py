"""Any published restoration network as teacher or student, detected from its weight file."""

from __future__ import annotations

from pathlib import Path

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from ..checkpoint import load_weights
from ..compat import register
from ..errors import CheckpointError
from .facts import ArchFacts

__all__ = ["PretrainedNet"]


@register(ARCH_REGISTRY)
class PretrainedNet(nn.Module):
    """A network whose architecture, scale and size rules are read from its weights by spandrel.

    Args:
        path: a ``.pth`` or ``.safetensors`` file of any image-to-image architecture that spandrel knows (SwinIR,
            RCAN, HAT, DAT, CRAFT, NAFNet, Restormer-like and some forty more).

    Attributes:
        facts: scale and padding rules of the detected architecture.

    Raises:
        CheckpointError: the file is missing or damaged, or no known architecture fits its keys.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        import spandrel

        state = load_weights(Path(path).expanduser()).state
        try:
            found = spandrel.ModelLoader(device="cpu").load_from_state_dict(state)
        except spandrel.UnsupportedModelError as error:
            raise CheckpointError(
                f"no architecture known to spandrel {getattr(spandrel, '__version__', '')} fits the weights in "
                f"'{path}' (first keys: {', '.join(list(state)[:3])}); name the network in the option file instead "
                "(type: EDSR, RCAN, SwinIR, ...) and give the file under path: pretrain_network_*"
            ) from error
        if not isinstance(found, spandrel.ImageModelDescriptor):
            raise CheckpointError(f"'{path}' holds a {found.architecture.name}, which takes more than one image")
        self.net = found.model
        self.architecture: str = found.architecture.name
        size = found.size_requirements
        self.facts = ArchFacts(
            scale=found.scale,
            multiple_of=size.multiple_of or 1,
            minimum=size.minimum or 1,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)
