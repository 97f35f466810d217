"""The blocks ``val`` and ``logger``: what a run measures, logs and keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from ...inference.tiling import TileSettings
from .base import AsBlock, Block, Needed, key

__all__ = ["LoggerBlock", "ValBlock"]


class ValBlock(Block):
    """Measuring, during training and in a test."""

    val_freq: Annotated[float, Needed.TRAINING] = key("iterations between validations; training only", ge=1)
    save_img: bool = key("write the restored images; those without ground truth are always written")
    suffix: str | None = key("appended to their names")
    metrics: Mapping[str, Any] | None = key(
        "any names, each with the type of a metric and its arguments; better: higher or lower"
    )
    pbar: bool = key("show progress")
    batch: int = key("images of equal size that pass the network at once; 1 by default", ge=1)
    self_ensemble: bool = key(
        "average over the eight flips and transpositions of the input: about eight times the work"
    )
    tile: Annotated[TileSettings, AsBlock()] | None = key(
        "test in overlapping tiles where memory is short; null for whole images"
    )


class LoggerBlock(Block):
    """What is logged and saved how often."""

    print_freq: Annotated[float, Needed.TRAINING] = key("iterations between lines of the log", ge=1)
    save_checkpoint_freq: Annotated[float, Needed.TRAINING] = key("iterations between checkpoints", ge=1)
    keep_last: int | None = key("complete checkpoints to keep; null for all", ge=1)
    keep_best: str | None = key(
        "a metric of val.metrics: net_g_best.pth holds the best weights by it on the first validation set"
    )
    safetensors: bool = key("write weights as *.safetensors too: the moving average if there is one")
    use_tb_logger: bool = key("write TensorBoard files")
    report: bool = key("write report.html, the page of the run, when it ends; true by default")
    wandb: Mapping[str, Any] | None = key("{project: NAME, resume_id: ID}: log to Weights & Biases as well")
