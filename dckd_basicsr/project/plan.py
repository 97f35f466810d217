"""What a project is to make, and what was decided for it; kept in its folder, so that the same command goes on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from ..archs import PRESETS, ArchFacts, outline, preset, short_training
from ..config import find_options, load_options
from ..config.problems import block_of
from ..errors import ConfigError, DCKDError, near_miss
from ..methods import packaged_methods
from ..portable import Opened
from ..restoring.memory import TileChoice
from ..weight_files import atomic_write

__all__ = ["PLAN", "Kind", "Plan", "Wish", "file_hash", "make_plan", "read_plan", "whole_paths", "write_plan"]

PLAN = "plan.json"
Kind = Literal["gt", "lq", "pairs"]
_STEP = 16
"""Sides of LQ patches are multiples of this, which suits windows and encoders."""


@dataclass(frozen=True)
class Wish:
    """What the command line asks for; a project that was begun with another one is left alone.

    Attributes:
        teacher: its file's SHA-256.
        photos: SHA-256 over names and sizes of all photo files.
        kind: whether the photos are ground truth, inputs alone, or pairs.
        student: a preset's name, or an option file.
        method: a packaged method, or a file of one; None lets the student decide.
        iterations: None where ``seconds`` says how long.
        seconds: of training.
        batch, patch, lr: None lets the machine and the network decide; the patch in LQ pixels.
        seed: of everything that is drawn.
    """

    teacher: str
    photos: str
    kind: Kind
    student: str | None
    method: str | None
    iterations: int | None
    seconds: float | None
    batch: int | None
    patch: int | None
    lr: float | None
    seed: int


@dataclass(frozen=True)
class Plan:
    """What was decided.

    Attributes:
        wish: what it was decided for.
        scale: the teacher's.
        student: name of the student.
        network: its block ``network_g``.
        method: its overlay.
        batch: patches an iteration.
        patch: side of an LQ patch.
        lr: peak of the learning rate.
        held_out: keys of the photos for testing.
        iterations: None until the budget in seconds has been timed.
        tiles: sides of the tiles in which ``student`` and ``teacher`` restore the test images, None for whole ones;
            None until it was decided.
    """

    wish: Wish
    scale: int
    student: str
    network: Mapping[str, Any]
    method: str
    batch: int
    patch: int
    lr: float
    held_out: tuple[str, ...]
    iterations: int | None = None
    tiles: Mapping[str, int | None] | None = None

    @property
    def gt_size(self) -> int:
        return self.patch * self.scale

    def tile_of(self, network: str) -> dict[str, Any]:
        """Return what a block ``val`` says of a network's tiles: nothing for whole images."""
        size = (self.tiles or {}).get(network)
        return {} if size is None else {"tile": {"size": size, "overlap": TileChoice.overlap}}


def make_plan(wish: Wish, teacher: Opened, held_out: tuple[str, ...]) -> Plan:
    """Decide what the command line leaves open.

    Raises:
        ConfigError: no such student or method, or one that does not fit the teacher; a patch that a network refuses.
    """
    scale = teacher.facts.scale
    if teacher.facts.input_channels not in (None, 3) or teacher.facts.output_channels not in (None, 3):
        raise ConfigError(
            f"teacher '{teacher.file}' takes {teacher.facts.input_channels} channels and gives "
            f"{teacher.facts.output_channels}; networks from colour images to colour images are distilled"
        )
    student = wish.student or ("nafnet-16" if scale == 1 else "compact-s")
    network, rate, best = _student(student, scale)
    method = wish.method or best
    if method not in packaged_methods() and not Path(method).is_file():
        hint = near_miss(method, packaged_methods()) or f". There are: {', '.join(packaged_methods())}"
        raise ConfigError(f"there is no method '{method}'{hint}")
    gpu = torch.cuda.is_available()
    facts = [teacher.facts, _outlined(student, network, scale)]
    if facts[1].scale != scale:
        raise ConfigError(f"student {student} upscales by {facts[1].scale}, teacher '{teacher.file}' by {scale}")
    return Plan(
        wish=wish,
        scale=scale,
        student=student,
        network=network,
        method=method,
        batch=wish.batch or (16 if gpu else 8),
        patch=_patch(wish.patch, scale, facts, gpu),
        lr=wish.lr or rate,
        held_out=held_out,
        iterations=wish.iterations,
    )


def _outlined(name: str, network: Mapping[str, Any], scale: int) -> ArchFacts:
    try:
        return outline(network, scale=scale).facts
    except DCKDError:
        raise
    except Exception as error:  # whatever its constructor raises
        text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        unknown = isinstance(error, KeyError) and ":" not in str(network["type"])
        reason = f"there is no network {network['type']}" if unknown else text
        raise ConfigError(f"student '{name}' cannot be built: {reason}; change its network_g") from error


def _student(name: str, scale: int) -> tuple[dict[str, Any], float, str]:
    """Return a student's block, the peak of its learning rate (an option file may say it), and its method."""
    if name in PRESETS or not name.endswith((".yml", ".yaml")):
        block = preset(name).block(scale)
        suits = short_training(block["type"])
        return block, suits.lr, suits.method
    options, _ = load_options(find_options(name))
    network = options.get("network_g")
    if not isinstance(network, dict) or "type" not in network:
        raise ConfigError(f"option file '{name}' has no network_g with a type, which is to be the student")
    suits, rate = short_training(str(network["type"])), block_of(options, "train", "optim_g").get("lr")
    own = float(rate) if isinstance(rate, int | float) and rate > 0 else None
    return whole_paths(network), own or suits.lr, suits.method


def whole_paths(network: Mapping[str, Any]) -> dict[str, Any]:
    """Return a network's block with the file of a PretrainedNet as a path that holds in any folder."""
    file = network.get("path")
    if network.get("type") != "PretrainedNet" or not isinstance(file, str) or file.startswith("builtin:"):
        return dict(network)
    return {**network, "path": str(Path(file).expanduser().resolve())}


def _patch(asked: int | None, scale: int, facts: list[ArchFacts], gpu: bool) -> int:
    """Return the side of an LQ patch that both networks take: about 64 px of GT on a CPU, 192 on a GPU."""
    if asked is not None:
        refusing = [each for each in facts if not each.admits(asked)]
        if refusing:
            multiple, least = refusing[0].multiple_of, refusing[0].minimum
            raise ConfigError(f"--patch {asked}: a network takes multiples of {multiple} px, at least {least}")
        return asked
    side = math.ceil((192 if gpu else 64) / scale / _STEP) * _STEP
    for patch in range(side, 1025, _STEP):
        if all(each.admits(patch) for each in facts):
            return patch
    raise ConfigError("no LQ patch of up to 1024 px suits both networks; give one with --patch")


def read_plan(folder: Path, wish: Wish, *, training: bool = True) -> Plan | None:
    """Return the plan of a project that was begun, None where there is none that holds.

    Args:
        folder: of the project.
        wish: what the command line asks for.
        training: whether its training has begun. Before that only teacher, photos and what these are must be the same:
            with another student, method, length, batch, patch, rate or seed there is no plan that holds.

    Raises:
        ConfigError: what must be the same is not; names what differs.
    """
    file = folder / PLAN
    if not file.is_file():
        return None
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        begun = Wish(**kept.pop("wish"))
        plan = Plan(wish=begun, **{**kept, "held_out": tuple(kept["held_out"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"'{file}' is damaged ({error}); remove the folder, or give another one") from error
    mine, theirs = asdict(wish), asdict(begun)
    changed = [key for key in mine if mine[key] != theirs[key]]
    if not training and not {*changed} & {"teacher", "photos", "kind"}:
        return plan if not changed else None
    if changed:
        told = [
            f"the {key} have changed" if key == "photos" else f"{key} was {_shown(theirs[key])}, is {_shown(mine[key])}"
            for key in changed
        ]
        raise ConfigError(
            f"'{folder}' was begun with another command: {'; '.join(told)}. Give -o another folder, or the same command"
        )
    return plan


def write_plan(plan: Plan, folder: Path) -> None:
    """Keep a plan; the file is whole or absent."""
    text = json.dumps(asdict(plan), indent=1)
    atomic_write(folder / PLAN, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _shown(value: Any) -> str:
    text = "not given" if value is None else str(value)
    return text if len(text) < 60 else f"{text[:12]}..."
