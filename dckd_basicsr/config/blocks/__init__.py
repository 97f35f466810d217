"""One typed class for each block of an option file.

Its fields are the keys, with what they mean, their bounds, and who needs them. The check, the schema for editors and
the reference in docs/reference/options.md are made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...kinds import distils, extra_keys, trains_codebook
from .base import Block, fields_of, inner_block, with_keys
from .codebook import CodebookPath, CodebookTop, CodebookTrain
from .dataset import PairedBlock
from .judging import FILE, block_problems, missing_keys, needed_keys, settings_problems
from .path import DistillingPath, PathBlock, weight_keys
from .run import LoggerBlock, ValBlock
from .top import DistillingTop, EveryFile, TopBlock
from .train import TrainBlock

__all__ = [
    "BLOCKS",
    "FILE",
    "Block",
    "DistillingPath",
    "DistillingTop",
    "EveryFile",
    "LoggerBlock",
    "PairedBlock",
    "PathBlock",
    "TopBlock",
    "TrainBlock",
    "ValBlock",
    "block_problems",
    "blocks_for",
    "fields_of",
    "inner_block",
    "missing_keys",
    "needed_keys",
    "settings_problems",
    "weight_keys",
    "with_keys",
]


class AnyTop(CodebookTop, DistillingTop):
    """A file of any of this package's models."""


class AnyPath(CodebookPath, DistillingPath):
    """Weights, training states, folders."""


class AnyTrain(CodebookTrain, TrainBlock):
    """Losses, optimizers, schedule, settings."""


BLOCKS: Mapping[str, type[Block]] = {
    "top": AnyTop,
    "path": AnyPath,
    "datasets.NAME": PairedBlock,
    "train": AnyTrain,
    "val": ValBlock,
    "logger": LoggerBlock,
}
"""The blocks of a file that has everything, by their places."""


def blocks_for(model_type: Any) -> dict[str, type[Block]]:
    """Return the blocks of a file of one of this package's models, with what the model adds to them, by name.

    Args:
        model_type: None for what any of them may have.
    """
    blocks = {name: cls for name, cls in BLOCKS.items() if cls is not PairedBlock}
    if trains_codebook(model_type):
        blocks |= {"top": CodebookTop, "path": CodebookPath, "train": CodebookTrain}
    elif model_type is not None:
        own: dict[str, type[Block]] = {"top": TopBlock, "path": PathBlock, "train": TrainBlock}
        blocks |= {**own, "top": DistillingTop, "path": DistillingPath} if distils(model_type) else own
    return {name: with_keys(cls, extra_keys(name, model_type)) for name, cls in blocks.items()}
