"""A block of ``datasets``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from .base import BY_RUN, Block, Needed, key

__all__ = [
    "DESCRIBED_TYPES",
    "IGNORED_BY_INPUTS",
    "IGNORED_BY_PATCHES",
    "INPUTS_TYPE",
    "LMDB_TYPE",
    "PAIRED_TYPES",
    "PATCH_TYPES",
    "SINGLE_TYPE",
    "PairedBlock",
]

LMDB_TYPE = "PairedLMDBDataset"
"""The dataset that lists of databases, ``weights`` and raw pixels need."""
INPUTS_TYPE = "SinglePatchDataset"
"""The dataset of inputs without ground truth that trains."""
PATCH_TYPES = ("PairedPatchDataset", LMDB_TYPE, INPUTS_TYPE)
"""The datasets that ``progressive`` and images smaller than a patch need, the usual one first."""
PAIRED_TYPES = ("PairedImageDataset", "PairedPatchDataset", LMDB_TYPE)
"""The datasets that have ground truth, as far as they are known."""
DESCRIBED_TYPES = (*PAIRED_TYPES, INPUTS_TYPE)
"""The datasets that a :class:`PairedBlock` describes; the keys of other types are their own."""
SINGLE_TYPE = "SingleImageDataset"
"""BasicSR's dataset of inputs without ground truth: restored, not measured."""
IGNORED_BY_PATCHES = ("mean", "std", "color", "meta_info_file")
"""Keys of the stock dataset that :data:`PATCH_TYPES` do not have."""
IGNORED_BY_INPUTS = ("dataroot_gt", "filename_tmpl", "weights", *IGNORED_BY_PATCHES)
"""Keys of a :class:`PairedBlock` that :data:`INPUTS_TYPE` does not have."""


class PairedBlock(Block):
    """A data set. To train, it needs ``gt_size`` and ``batch_size_per_gpu``, or ``progressive`` instead."""

    name: Annotated[str, Needed.EVERY_FILE] = key(
        "for logs, tables and the folder of the pictures; no two validation or test sets share one"
    )
    type: Annotated[str, Needed.EVERY_FILE] = key(
        "PairedImageDataset; PairedPatchDataset for progressive sizes and images smaller than a patch; "
        "PairedLMDBDataset, fastest: these too, lists of LMDBs, raw pixels; SinglePatchDataset: inputs alone, to train "
        "on what a teacher says, or a codebook; SingleImageDataset: inputs alone, whole, to be restored"
    )
    dataroot_gt: Annotated[str | Sequence[str], Needed.EVERY_FILE] = key(
        "ground truth: a folder of images, or an LMDB; PairedLMDBDataset takes a list of LMDBs, SinglePatchDataset none"
    )
    dataroot_lq: Annotated[str | Sequence[str], Needed.EVERY_FILE] = key("inputs, as dataroot_gt")
    weights: Sequence[float] | None = key(
        "share of the patches from each LMDB of a list, in any unit; by default images come equally often"
    )
    meta_info_file: str | None = key("text file of image names, to use these alone; folders only")
    filename_tmpl: str = key("an input's name for a ground truth's; '{}x4' finds baby.png in babyx4.png")
    io_backend: Mapping[str, Any] = key("{type: lmdb} or {type: disk}; by default told from the name of the roots")
    gt_size: int | None = key("side of the ground-truth patches in pixels, a multiple of scale", ge=1)
    progressive: Sequence[Sequence[int]] | None = key(
        "rows of [until iteration, patch size, images over all processes], instead of gt_size and batch"
    )
    use_hflip: bool = key("flip patches left to right at random")
    use_rot: bool = key("flip them upside down and transpose them at random")
    use_shuffle: bool = key("accepted, without effect, as in BasicSR")
    mean: Sequence[float] | None = key("subtracted per channel; PairedImageDataset only")
    std: Sequence[float] | None = key("divided by per channel; PairedImageDataset only")
    color: Literal["y"] | None = key("y: luma alone; PairedImageDataset only")
    num_worker_per_gpu: int = key("processes that read, per training process", ge=0)
    batch_size_per_gpu: int = key("patches per batch of each process", ge=1)
    dataset_enlarge_ratio: float = key("length of an epoch in passes over the images; workers restart after each", ge=1)
    prefetch_mode: Literal["cpu", "cuda"] | None = key("cpu or cuda: fetch batches ahead")
    num_prefetch_queue: int = key("batches ahead, for prefetch_mode: cpu", ge=1)
    pin_memory: bool = key("page-locked batches: faster to a GPU; prefetch_mode: cuda needs it")
    persistent_workers: bool = key("workers outlive an epoch")
    phase: Annotated[str, BY_RUN] = key()
    scale: Annotated[int, BY_RUN] = key(ge=1)
