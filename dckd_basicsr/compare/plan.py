"""The runs of a sweep: what each is told, as the commands that a user would type."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..config.problems import block_of
from ..config.resolve import fill_defaults, resolve_options
from ..config.resources import find_options
from ..errors import ConfigError
from .record import TEACHER
from .sameness import are_equal
from .sweep import Base, Sweep

__all__ = ["PlannedRun", "entries", "planned_runs", "same_trainings"]

_BARE = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep, done or not.

    Attributes:
        sweep: that it belongs to.
        base: key of its base.
        variant: key of its variant, or ``teacher``.
        seed: None for a teacher, which is tested and not trained.
    """

    sweep: Sweep
    base: str
    variant: str
    seed: int | None

    @property
    def name(self) -> str:
        """Of the run, of its folders and of its record."""
        seed = "" if self.seed is None else f"_s{self.seed}"
        return f"{self.sweep.name}_{self.base}_{self.variant}{seed}"

    @property
    def is_first(self) -> bool:
        """Whether it is the one of its variant whose restored images are kept."""
        return self.seed is None or self.seed == self.sweep.seeds_of(self.variant)[0]

    @property
    def _base(self) -> Base:
        return self.sweep.bases[self.base]

    @property
    def test_file(self) -> str:
        """The option file of the test, as the sweep names it."""
        return self._base.test

    @property
    def methods(self) -> tuple[str, ...]:
        return () if self.variant == TEACHER else self.sweep.variants[self.variant].methods

    @cached_property
    def overrides(self) -> dict[str, Any]:
        """Of the training: those of the sweep, then the base's, then the variant's; the later win."""
        own = {} if self.variant == TEACHER else self.sweep.variants[self.variant].options
        seed = {} if self.seed is None else {"manual_seed": self.seed}
        return _in_order(self.sweep.options, self._base.options, own, {"name": self.name, **seed})

    @cached_property
    def options(self) -> dict[str, Any]:
        """Of the training, as one option file would have them; unchecked.

        Raises:
            ConfigError: the option file, a method or an override cannot be understood.
        """
        found, _ = resolve_options(find_options(self._base.train), entries(self.overrides), self.methods)
        fill_defaults(found, is_train=True)
        return found

    @property
    def iterations(self) -> int:
        """How many the training has."""
        total = block_of(self.options, "train").get("total_iter")
        return int(total) if isinstance(total, int | float) and self.seed is not None else 0

    @property
    def weights(self) -> Any:
        """What the training leaves."""
        return f"experiments/{self.name}/models/net_g_latest.pth"

    @cached_property
    def train_arguments(self) -> list[str]:
        """What follows ``basicsr``, without ``--auto_resume``; empty for a teacher."""
        if self.seed is None:
            return []
        methods = ["--with", *self.methods] if self.methods else []
        return ["train", "-opt", self._base.train, *methods, "--force_yml", *entries(self.overrides)]

    @cached_property
    def test_overrides(self) -> dict[str, Any]:
        """Of the test: the network that is measured is put into its option file."""
        found = _in_order(self.sweep.test_options, self._base.test_options, {"name": self.name})
        if self.seed is None:
            paths = block_of(self.options, "path")
            found["network_g"] = self.options["network_teacher"]
            found["path:pretrain_network_g"] = paths.get("pretrain_network_teacher")
            found["path:param_key_g"] = paths.get("param_key_teacher")
        else:  # of a student, whose file has a moving average if it was kept
            found["network_g"] = self.options.get("network_g")
            found["path:pretrain_network_g"], found["path:param_key_g"] = self.weights, None
        return {**found, "val:save_img": self.sweep.save_images and self.is_first}

    @cached_property
    def test_arguments(self) -> list[str]:
        """What follows ``basicsr``."""
        return ["test", "-opt", self._base.test, "--force_yml", *entries(self.test_overrides)]

    @cached_property
    def test_options(self) -> dict[str, Any]:
        """Of the test, as one option file would have them; unchecked."""
        found, _ = resolve_options(find_options(self._base.test), entries(self.test_overrides), is_train=False)
        fill_defaults(found, is_train=False)
        return found


def planned_runs(sweep: Sweep) -> list[PlannedRun]:
    """Return the runs of a sweep in the order in which they are made.

    All variants have their first seed before one has its second, so that a sweep that is stopped early compares
    something. Teachers come first: they take no training.
    """
    return [*_teachers(sweep), *_students(sweep)]


def same_trainings(runs: Sequence[PlannedRun]) -> list[str]:
    """Return a note for each variant whose training is told the same as that of a variant before it.

    A method after ``with`` switches off the terms of the option file that are not its own: a variant that was meant to
    add one can so become another one under a second name.
    """
    found: list[str] = []
    seen: dict[str, list[PlannedRun]] = {}
    for run in runs:
        before = seen.setdefault(run.base, [])
        if run.seed is None or any(run.variant == other.variant for other in before):
            continue
        if twin := next((other for other in before if are_equal(other.options, run.options)), None):
            found.append(
                f"variants '{twin.variant}' and '{run.variant}' train the same on base '{run.base}'; "
                "a method after `with` switches off the terms that are not its own, those of the base's file too"
            )
        before.append(run)
    return found


def _students(sweep: Sweep) -> Iterator[PlannedRun]:
    rounds = max(len(sweep.seeds_of(variant)) for variant in sweep.variants)
    for row in range(rounds):
        for base in sweep.bases:
            for key, variant in sweep.variants.items():
                seeds = sweep.seeds_of(key)
                if row < len(seeds) and (variant.bases is None or base in variant.bases):
                    yield PlannedRun(sweep, base, key, seeds[row])


def _teachers(sweep: Sweep) -> Iterator[PlannedRun]:
    for base in sweep.bases if sweep.teacher else ():
        run = PlannedRun(sweep, base, TEACHER, None)
        if isinstance(run.options.get("network_teacher"), Mapping):
            yield run


def _in_order(*blocks: Mapping[str, Any]) -> dict[str, Any]:
    """Return overrides in one; one given again counts where it is given last, after what sets keys inside of it."""
    found: dict[str, Any] = {}
    for key, value in (item for block in blocks for item in block.items()):
        found.pop(key, None)
        found[key] = value
    return found


def entries(overrides: Mapping[str, Any]) -> list[str]:
    """Return overrides as ``--force_yml`` takes them.

    >>> entries({"name": "a_b", "train:ema_decay": 0.999, "train:pixel_opt": None, "x": {"type": "EDSR", "y": [1, 2]}})
    ['name=a_b', 'train:ema_decay=0.999', 'train:pixel_opt=~', 'x={"type": "EDSR", "y": [1, 2]}']
    """
    return [f"{key}={_value(value)}" for key, value in overrides.items()]


def _value(value: Any) -> str:
    if value is None:
        return "~"
    if isinstance(value, str) and _BARE.fullmatch(value) and value.lower() not in _WORDS:
        return value
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{value!r} cannot be given on a command line ({error}); put it into an overlay") from error
