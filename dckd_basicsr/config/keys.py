"""The keys of each block of an option file, with what kind of value each takes.

A key that is not here is reported as unknown for the package's own models: add new ones in this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..distill.settings import ConsistencySettings, EncoderSettings, HistorySettings, NegativesSettings
from ..distill.terms import TERM_KEYS
from ..inference.tiling import TileSettings
from ..training.divergence import DivergenceSettings
from ..training.processes import DistSettings
from ..training.runtime import RuntimeSettings

__all__ = [
    "AT_LEAST",
    "DIST",
    "DISTILLED",
    "IGNORED_BY_PATCHES",
    "LMDB_TYPE",
    "LOGGER",
    "PAIRED",
    "PAIRED_TYPES",
    "PATCH_TYPES",
    "PATH",
    "SETTINGS",
    "SINGLE_TYPE",
    "TAUGHT_TERMS",
    "TILE",
    "TOP",
    "TRAIN",
    "VAL",
    "VQGAN_TERMS",
    "Block",
]

DISTILLED = "DCKDModel"
"""The model that messages advise; which models are ours is said by ``kinds.py``."""

TAUGHT_TERMS = tuple(key for key in TERM_KEYS if key != "pixel_opt")
"""Terms that need a teacher."""
VQGAN_TERMS = ("contrastive_opt", "distribution_opt")
"""Terms that need the VQGAN encoder."""

Block = Mapping[str, Any]
Keys = dict[str, Any]

SETTINGS: dict[str, type] = {
    "history": HistorySettings,
    "negatives": NegativesSettings,
    "encoder": EncoderSettings,
    "consistency": ConsistencySettings,
    "divergence": DivergenceSettings,
    "runtime": RuntimeSettings,
}
"""Blocks of ``train`` that become settings classes, whose fields are their keys."""

TILE = TileSettings
"""The class behind ``val.tile``."""
DIST = DistSettings
"""The class behind ``dist_params``."""

TOP: Keys = {
    "name": str,
    "model_type": str,
    "scale": int,
    "num_gpu": int | Literal["auto"],
    "manual_seed": int | None,
    "deterministic": bool,
    "datasets": Block,
    "path": Block | None,
    "train": Block,
    "val": Block | None,
    "logger": Block,
    "dist_params": Block | None,
    "find_unused_parameters": bool,
    # added by parse_options and the pipelines, so that a parsed file passes the same check
    "dist": bool,
    "rank": int,
    "world_size": int,
    "auto_resume": bool,
    "is_train": bool,
    "root_path": str,
}

PATH: Keys = {
    "resume_state": str | None,
    "ignore_resume_networks": Sequence[str] | None,
    "experiments_root": str,
    # added by parse_options
    "models": str,
    "training_states": str,
    "log": str,
    "visualization": str,
    "results_root": str,
}

TRAIN: Keys = {
    "total_iter": float,
    "warmup_iter": float,
    "ema_decay": float | None,
    "optim_g": Block,
    "scheduler": Block,
    "clip_grad_norm": float | None,
    "accumulate": int,
    **dict.fromkeys(TERM_KEYS, Block | None),
    **dict.fromkeys(SETTINGS, Any),  # judged field by field
}

VAL: Keys = {
    "val_freq": float,
    "save_img": bool,
    "suffix": str | None,
    "metrics": Block | None,
    "pbar": bool,
    "batch": int,
    "self_ensemble": bool,
    "tile": Block | None,
}

LOGGER: Keys = {
    "print_freq": float,
    "save_checkpoint_freq": float,
    "keep_last": int | None,
    "keep_best": str | None,
    "safetensors": bool,
    "use_tb_logger": bool,
    "wandb": Block | None,
}

PAIRED: Keys = {
    "name": str,
    "type": str,
    "dataroot_gt": str | Sequence[str],
    "dataroot_lq": str | Sequence[str],
    "weights": Sequence[float] | None,
    "meta_info_file": str | None,
    "filename_tmpl": str,
    "io_backend": Block,
    "gt_size": int | None,
    "progressive": Sequence[Sequence[int]] | None,
    "use_hflip": bool,
    "use_rot": bool,
    "use_shuffle": bool,  # BasicSR reads it nowhere, but all its option files have it
    "mean": Sequence[float] | None,
    "std": Sequence[float] | None,
    "color": Literal["y"] | None,
    "num_worker_per_gpu": int,
    "batch_size_per_gpu": int,
    "dataset_enlarge_ratio": float,
    "prefetch_mode": Literal["cpu", "cuda"] | None,
    "num_prefetch_queue": int,
    "pin_memory": bool,
    "persistent_workers": bool,
    # added by parse_options
    "phase": str,
    "scale": int,
}
"""Keys of a paired dataset; those of other dataset types are their own."""

IGNORED_BY_PATCHES = ("mean", "std", "color", "meta_info_file")
"""Keys of the stock dataset that :data:`PATCH_TYPES` do not have."""

LMDB_TYPE = "PairedLMDBDataset"
"""The dataset that lists of databases, ``weights`` and raw pixels need."""
PATCH_TYPES = ("PairedPatchDataset", LMDB_TYPE)
"""The datasets that ``progressive`` and images smaller than a patch need, the usual one first."""
PAIRED_TYPES = ("PairedImageDataset", *PATCH_TYPES)
SINGLE_TYPE = "SingleImageDataset"
"""BasicSR's dataset of inputs without ground truth: restored, not measured."""

AT_LEAST: dict[str, float] = {
    "scale": 1,
    "num_gpu": 0,
    "total_iter": 1,
    "ema_decay": 0,
    "clip_grad_norm": 0,
    "val_freq": 1,
    "print_freq": 1,
    "save_checkpoint_freq": 1,
    "accumulate": 1,
    "batch": 1,
    "keep_last": 1,
    "gt_size": 1,
    "num_worker_per_gpu": 0,
    "batch_size_per_gpu": 1,
    "dataset_enlarge_ratio": 1,
    "num_prefetch_queue": 1,
}
"""Least values, whichever block the key is in."""
