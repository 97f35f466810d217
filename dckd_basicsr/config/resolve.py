"""From a file's name and overrides to the options that are checked and run, and back to a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .files import is_lmdb
from .inherit import Source, load_options
from .load import FLOAT, FLOAT_TAG
from .overlays import load_overlays, overlaid
from .overrides import apply_overrides, overridden

__all__ = ["dump_yaml", "fill_defaults", "made_of", "resolve_options"]

_TRAIN_SET = {"use_hflip": True, "use_rot": True, "num_worker_per_gpu": 4, "dataset_enlarge_ratio": 1}


def resolve_options(
    file: Path, overrides: Iterable[str], methods: Iterable[str] = (), is_train: bool = True
) -> tuple[dict[str, Any], Source]:
    """Load ``file`` with what it inherits, put methods on it, apply overrides, leave out data sets that are null.

    Args:
        file: the option file.
        overrides: ``KEY:SUBKEY=VALUE``.
        methods: what ``--with`` names.
        is_train: for training (else for testing).

    Returns:
        The options, unchecked and without defaults; and what to call their source in messages.

    Raises:
        ConfigError: as :func:`.inherit.load_options`, :func:`.overlays.overlaid`, :func:`.overrides.apply_overrides`.
    """
    overrides = list(overrides)
    options, source = load_options(file)
    if overlays := load_overlays(methods):
        options, source = overlaid(options, source, overlays, overridden(overrides), is_train)
    apply_overrides(options, overrides)
    datasets = options.get("datasets")
    if isinstance(datasets, dict):  # `datasets:test_4=~` leaves a set of the file out
        options["datasets"] = {name: dataset for name, dataset in datasets.items() if dataset is not None}
    return options, source


def _set(block: Any, defaults: Mapping[str, Any]) -> None:
    for key, value in defaults.items() if isinstance(block, dict) else ():
        block.setdefault(key, value)


def fill_defaults(opt: dict[str, Any], is_train: bool) -> None:
    """Add missing optional keys to an option dict, in place; where a block is not one, it stays as it is."""
    opt.setdefault("num_gpu", "auto")
    opt["path"] = opt.get("path") or {}
    if is_train:
        _set(opt.get("logger"), {"use_tb_logger": False})
    else:
        opt["val"] = opt.get("val") or {}
    _set(opt.get("val"), {"save_img": False, "suffix": None})
    datasets = opt.get("datasets")
    for name, dataset in datasets.items() if isinstance(datasets, dict) else ():
        if not isinstance(dataset, dict):
            continue
        if str(name).split("_")[0] == "train":
            _set(dataset, _TRAIN_SET)
        if "dataroot_gt" in dataset or "dataroot_lq" in dataset:
            dataset.setdefault("io_backend", {"type": "lmdb" if is_lmdb(dataset) else "disk"})


class _Dumper(yaml.SafeDumper):
    """Quotes text that the loader would take for a number (``1e-4``), and writes shared blocks out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    # PyYAML writes the line breaks of Unicode as they are, and reads them back as spaces, unless it may escape them.
    style = '"' if any(mark in value for mark in "\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_implicit_resolver(FLOAT_TAG, *FLOAT)
_Dumper.add_representer(str, _text)


def made_of(file: Path, methods: Sequence[str]) -> str:
    """Return the comment that opens resolved options with methods on them; empty where there are none."""
    return f"# {file.name} --with {' '.join(methods)}\n" if methods else ""


def dump_yaml(options: Mapping[str, Any]) -> str:
    """Return ``options`` as an option file: keys in their order, innermost blocks and lists on one line."""
    return yaml.dump(
        dict(options), Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120
    )
