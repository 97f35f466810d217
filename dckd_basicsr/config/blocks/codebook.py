"""What a file has to train a VQGAN, instead of what distils."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from ...codebook.settings import CodebookSettings
from ...training.divergence import DivergenceSettings
from ...training.runtime import RuntimeSettings
from .base import AsBlock, Block, key
from .path import LOADS, PathBlock
from .top import TopBlock
from .train import OptimizedBlock

__all__ = ["AdversarialBlock", "CodebookPath", "CodebookTop", "CodebookTrain"]


class CodebookTop(TopBlock):
    """A file of a model that trains a VQGAN."""

    network_d: Mapping[str, Any] | None = key(
        "VQGANModel: the discriminator, for instance {type: PatchDiscriminator}; null for none"
    )


class CodebookPath(PathBlock):
    """And the weights of its discriminator."""

    pretrain_network_d: str | None = key("VQGANModel: weights of the discriminator to start from")
    strict_load_d: bool = key(LOADS)
    param_key_d: str | None = key("the entry of the file that holds the weights; null searches for one")


class AdversarialBlock(Block):
    """The discriminator's part in the loss."""

    start: int = Field(1, alias="from", description="the first iteration with the discriminator", ge=1)
    weight: float = Field(0.8, description="of the adversarial loss", ge=0)
    adaptive: bool = Field(
        True, description="multiply the weight so that it pulls at the decoder as hard as the reconstruction"
    )


class CodebookTrain(OptimizedBlock):
    """Losses of a VQGAN, optimizers, schedule."""

    optim_d: Mapping[str, Any] | None = key("VQGANModel: the optimizer of network_d, as optim_g")
    pixel_opt: Mapping[str, Any] | None = key("loss against the ground truth; null or left out: off, as every term")
    perceptual_opt: Mapping[str, Any] | None = key(
        "VQGANModel: a second such loss, for instance {type: VGGFeatureLoss, weights: FILE}; null or left out: off"
    )
    adversarial: AdversarialBlock | None = key("VQGANModel: when and how strongly network_d counts")
    codebook: Annotated[CodebookSettings, AsBlock()] | None = key("VQGANModel: how the codes are learned")
    divergence: Annotated[DivergenceSettings, AsBlock()] | None = key(
        "what happens when a loss or gradient is not finite"
    )
    runtime: Annotated[RuntimeSettings, AsBlock()] | None = key(
        "how fast a step runs: precision, memory layout, compilation, CUDA graphs; VQGANModel takes the first two"
    )
