"""The block ``train``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict

from ...distill.settings import ConsistencySettings, EncoderSettings, HistorySettings, NegativesSettings
from ...training.divergence import DivergenceSettings
from ...training.runtime import RuntimeSettings
from .base import AsBlock, Block, Needed, key

__all__ = ["GATE", "LossBlock", "NamedTermBlock", "OptimizedBlock", "TermBlock", "TrainBlock"]

GATE = Literal["teacher_better"] | None


class OptimizedBlock(Block):
    """What every training run has: its length, optimizer, schedule."""

    total_iter: Annotated[float, Needed.TRAINING] = key("iterations in all", ge=1)
    warmup_iter: float = key("the learning rate rises from 0 over so many iterations; -1 for none")
    ema_decay: float | None = key(
        "of the moving average of the student, which is what is validated; 0 for none", ge=0, lt=1
    )
    optim_g: Annotated[Mapping[str, Any], Needed.OWN_TRAINING] = key(
        "type: any of torch.optim, and its arguments; lr must be given"
    )
    scheduler: Annotated[Mapping[str, Any], Needed.OWN_TRAINING] = key(
        "type and arguments of the learning-rate schedule"
    )
    clip_grad_norm: float | None = key("largest norm of all gradients together; null for no clipping", ge=0)


class TrainBlock(OptimizedBlock):
    """Loss terms, optimizer, schedule, the method's settings."""

    accumulate: int = key(
        "parts into which each process cuts its batch, one after the other: total batch = per GPU x processes x "
        "accumulate",
        ge=1,
    )
    pixel_opt: Mapping[str, Any] | None = key("loss against the ground truth; null or left out: off, as every term")
    logits_opt: Mapping[str, Any] | None = key("loss against the teacher's output")
    contrastive_opt: Mapping[str, Any] | None = key(
        "near the teacher, far from the history model's outputs for degraded inputs, in VQGAN taps"
    )
    distribution_opt: Mapping[str, Any] | None = key(
        "cross entropy between the code distributions of student and teacher"
    )
    consistency_opt: Mapping[str, Any] | None = key(
        "loss against the teacher's output for a flipped, inverted input, brought back"
    )
    losses: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = key(
        "further loss terms: a list, or a block of them by name, which merges with an inherited one and in which null "
        "is off"
    )
    history: Annotated[HistorySettings, AsBlock()] | None = key(
        "the history model, whose outputs for degraded inputs are the negatives"
    )
    negatives: Annotated[NegativesSettings, AsBlock()] | None = key("the degraded inputs")
    encoder: Annotated[EncoderSettings, AsBlock()] | None = key("how images enter the VQGAN")
    consistency: Annotated[ConsistencySettings, AsBlock()] | None = key("the transforms of consistency_opt")
    divergence: Annotated[DivergenceSettings, AsBlock()] | None = key(
        "what happens when a loss or gradient is not finite"
    )
    runtime: Annotated[RuntimeSettings, AsBlock()] | None = key(
        "how fast a step runs: precision, memory layout, compilation, CUDA graphs"
    )


class LossBlock(Block):
    """`pixel_opt` and the other short names: a loss of the registry, its arguments, and these."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Needed.OWN_TRAINING] = key("the loss: its other keys are its constructor's arguments")
    loss_weight: float | Mapping[str, Any] = key("a number, or a block that says how the weight goes over the run")
    gate: GATE = key(
        "`logits_opt` and `consistency_opt` only; teacher_better: only the pixels where the teacher is nearer to the "
        "ground truth than the student; null for all"
    )
    taught_by: str | None = key("`logits_opt` only: the name of one of network_teachers; by default the first")


class TermBlock(Block):
    """A term of a list `train.losses`: the options of the term that it names, and these."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Needed.OWN_TRAINING] = key("the term; its other keys are its own options")
    weight: float | Mapping[str, Any] = key(
        "a number, or a block that says how the weight goes over the run; 0 switches the term off, 1 by default"
    )
    name: str | None = key("what the log calls it; by default as its type, no two alike")


class NamedTermBlock(TermBlock):
    """A term of a block `train.losses`, under a name of the file's choice; null in its place is off."""

    type: str = key("the term; by default the NAME")
    name: str | None = key("what the log calls it; by default `l_NAME`")
