"""From a file's name and overrides to the options that are checked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .inherit import Source, load_options
from .overrides import apply_overrides

__all__ = ["resolve_options"]


def resolve_options(file: Path, overrides: Iterable[str]) -> tuple[dict[str, Any], Source]:
    """Load ``file`` with what it inherits, then apply ``overrides``, then leave out data sets that are null.

    Returns:
        The options, unchecked and without defaults; and what to call their source in messages.

    Raises:
        ConfigError: as :func:`.inherit.load_options` and :func:`.overrides.apply_overrides`.
    """
    options, source = load_options(file)
    apply_overrides(options, overrides)
    datasets = options.get("datasets")
    if isinstance(datasets, dict):  # `datasets:test_4=~` leaves a set of the file out
        options["datasets"] = {name: dataset for name, dataset in datasets.items() if dataset is not None}
    return options, source
