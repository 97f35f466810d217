"""A sweep: a file that says which runs are to be compared.

Its keys are few, and everything about a run itself stands in ordinary option files::

    name: my_sweep
    bases:
      edsr: {train: dckd_x4_edsr.yml, test: test_x4_edsr.yml}
    variants:
      scratch: {with: [scratch]}
      logits: {with: [logits]}
      weak: {title: DCKD at 0.01, with: [dckd], options: {train:contrastive_opt:loss_weight: 0.01}}
    seeds: [0, 1, 2]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..config.blocks.judging import settings_problems
from ..config.load import load_yaml
from ..config.problems import report, unknown_key
from ..config.resources import as_path, is_there
from ..errors import ConfigError, near_miss
from ..methods import option_folders
from .record import TEACHER

__all__ = ["SWEEPS", "Base", "Sweep", "Variant", "find_sweep", "load_sweep", "packaged_sweeps"]

SWEEPS = "sweeps"
"""Their folder beside the option files."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_BASELINES = ("scratch", "logits")
_WITH = "with"
_MEASURED = "the run's student, or the teacher, is measured"
_GIVEN = {
    "options": {
        "name": "it is made of the names of sweep, base and variant",
        "manual_seed": "give seeds",
        "path:experiments_root": "every run has a folder of its own",
    },
    "test_options": {
        "name": "it is that of the training",
        "network_g": _MEASURED,
        "path:pretrain_network_g": _MEASURED,
        "path:param_key_g": "the moving average is measured where there is one",
        "val:save_img": "give save_images",
    },
}
"""Options that a sweep sets itself, and why; one of the file's own would be ignored."""


@dataclass(frozen=True)
class Base:
    """What all variants are put on.

    Attributes:
        train: option file of the training: a path, or a packaged one's name.
        test: option file of the test, whose data sets and metrics count; the student is put into it.
        title: in tables; the key where it is not given.
        options: overrides of the training, as after ``--force_yml``: ``train:total_iter: 1000``.
        test_options: the same for the test.
    """

    train: str
    test: str
    title: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    test_options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """What is compared.

    Attributes:
        methods: what ``--with`` names; its key in the file is ``with``.
        title: in tables; the key where it is not given.
        options: overrides, after those of base and sweep.
        seeds: in place of the sweep's.
        bases: keys of the bases it runs on; None for all.
    """

    methods: tuple[str, ...] = ()
    title: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    bases: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class _Top:
    """The keys of a sweep beside its bases and variants; :class:`Sweep` says what they mean."""

    name: str
    title: str | None = None
    seeds: tuple[int, ...] = (0,)
    baselines: tuple[str, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    test_options: dict[str, Any] = field(default_factory=dict)
    hours: float | None = None
    save_images: bool = True
    teacher: bool = True


@dataclass(frozen=True, kw_only=True)
class Sweep(_Top):
    """Runs to compare.

    Attributes:
        name: of the sweep; its runs are called ``NAME_BASE_VARIANT_sSEED``.
        bases: by key.
        variants: by key, in the order of the tables.
        title: above tables and page.
        seeds: ``manual_seed`` of the runs.
        baselines: variants to which gains are given.
        options: overrides of every training.
        test_options: overrides of every test.
        hours: training hours after which no further run starts; None for no limit.
        save_images: write the restored images of each variant's first seed, from which the page takes its pictures.
        teacher: measure each base's teacher, too.
        file: where it was read from.
    """

    bases: dict[str, Base]
    variants: dict[str, Variant]
    file: Path | None = None

    @property
    def heading(self) -> str:
        return self.title or self.name

    def title_of(self, variant: str) -> str:
        """Return what tables call a variant, the teacher among them."""
        return "teacher" if variant == TEACHER else self.variants[variant].title or variant

    def base_title(self, base: str) -> str:
        """Return what tables call a base."""
        return self.bases[base].title or base

    def seeds_of(self, variant: str) -> tuple[int, ...]:
        """Return the seeds of a variant's runs."""
        own = self.variants[variant].seeds
        return self.seeds if own is None else own

    def references(self) -> tuple[str, ...]:
        """Return the variants to which gains are given: the baselines, else those of the usual names that are there."""
        if self.baselines is not None:
            return self.baselines
        return tuple(name for name in _BASELINES if name in self.variants)


def packaged_sweeps() -> dict[str, Path]:
    """Return the sweeps that come with the package, by name."""
    return {file.stem: file for folder in option_folders() for file in sorted((folder / SWEEPS).glob("*.yml"))}


def find_sweep(name: str) -> Path:
    """Return the sweep file called ``name``: as given, else a packaged one, with or without ``sweeps/`` and ``.yml``.

    Raises:
        ConfigError: no such file; names the nearest packaged one.
    """
    path = as_path(name)
    if is_there(path):
        return path
    packaged = packaged_sweeps()
    if path.parent in (Path(), Path(SWEEPS), Path("options", SWEEPS)) and path.name.removesuffix(".yml") in packaged:
        return packaged[path.name.removesuffix(".yml")]
    hint = near_miss(path.name.removesuffix(".yml"), packaged)
    raise ConfigError(
        f"sweep '{name}' does not exist{hint or '.'} Give a path, or one of the packaged ones: "
        f"{', '.join(packaged) or 'none'}"
    )


def load_sweep(file: Path) -> Sweep:
    """Load and check a sweep; the option files that it names are not opened.

    Raises:
        ConfigError: whatever is wrong, all in one message.
    """
    found = load_yaml(file)
    problems = list(_problems(found))
    if problems:
        raise ConfigError(report(problems, f"sweep '{file}'"))
    top: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in found.items()}
    del top["bases"], top["variants"]
    bases = {str(key): Base(**block) for key, block in found["bases"].items()}
    variants = {str(key): Variant(**_variant(block)) for key, block in found["variants"].items()}
    return Sweep(**top, bases=bases, variants=variants, file=file)


def _variant(block: Any) -> Any:
    """Return a variant's block with ``with``, which is no name in Python, as ``methods``; lists as tuples."""
    if block is None:
        return {}
    if not isinstance(block, Mapping):
        return block
    found = {"methods" if key == _WITH else key: value for key, value in block.items()}
    if isinstance(found.get("methods"), str):
        found["methods"] = [found["methods"]]
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}


def _of_variant(where: str, block: Any) -> list[str]:
    if not isinstance(block, Mapping):
        return settings_problems(where, block, Variant)
    known = [_WITH, *(each.name for each in fields(Variant) if each.name != "methods")]
    unknown = [unknown_key(key, where, known) for key in block if key not in known]
    found = settings_problems(where, _variant({k: v for k, v in block.items() if k in known}), Variant)
    return unknown + [text.replace("'methods'", f"'{_WITH}'", 1) for text in found]


def _problems(found: Mapping[str, Any]) -> list[str]:
    blocks = {key: found.get(key) for key in ("bases", "variants")}
    problems = settings_problems("the sweep", {k: v for k, v in found.items() if k not in blocks}, _Top)
    for key, block in blocks.items():
        if not isinstance(block, Mapping) or not block:
            problems.append(f"{key} must be a block with one entry for each, by name")
            blocks[key] = {}
    bases, variants = blocks["bases"] or {}, blocks["variants"] or {}
    for key, block in bases.items():
        problems += settings_problems(f"bases.{key}", {} if block is None else block, Base)
    for key, block in variants.items():
        problems += _of_variant(f"variants.{key}", block)
    named = [("name", found.get("name")), *(("bases", key) for key in bases), *(("variants", key) for key in variants)]
    for place, name in named:
        if isinstance(name, str) and not _NAME.fullmatch(name):
            problems.append(f"'{name}' in {place} becomes part of folders' names; use letters, digits and _ . + - only")
        elif name is not None and not isinstance(name, str):
            problems.append(f"'{name}' in {place} must be text; put it into quotes")
    if TEACHER in variants:
        problems.append(f"'{TEACHER}' in variants is what the bases' own teachers are called; take another name")
    if problems:
        return problems
    places = {"": found, **{f"{kind}.{key}.": block for kind in blocks for key, block in (blocks[kind] or {}).items()}}
    for place, block in places.items():
        for kind, keys in _GIVEN.items():
            for key in keys.keys() & ((block or {}).get(kind) or {}).keys():
                problems.append(f"'{key}' in {place}{kind} is set by the sweep itself: {keys[key]}; remove it")
    owners: dict[str, tuple[str, str]] = {}
    for base, variant in ((base, variant) for base in bases for variant in variants):
        other = owners.setdefault(f"{base}_{variant}", (base, variant))
        if other != (base, variant):
            problems.append(
                f"the runs of base '{base}' with variant '{variant}' would have the names of those of base "
                f"'{other[0]}' with variant '{other[1]}'; rename one"
            )
    given = {"baselines": (found.get("baselines") or (), variants)}
    given |= {f"variants.{key}.bases": (_variant(block).get("bases") or (), bases) for key, block in variants.items()}
    for place, (names, known) in given.items():
        for name in names:
            if name not in known:
                problems.append(f"{place} names '{name}'{near_miss(name, known) or ', which is not there'}")
    seeds = {"seeds": found.get("seeds", (0,))}
    seeds |= {f"variants.{key}.seeds": _variant(block).get("seeds") or (0,) for key, block in variants.items()}
    for place, values in seeds.items():
        if not values or len(set(values)) < len(values):
            problems.append(f"{place} must name at least one seed, and none twice")
    return problems
