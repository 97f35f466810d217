"""The finished student as files for other programs, with a card that says where it comes from and what it is worth."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from ..archs import PRESETS, outline
from ..data.photos.images import read_image
from ..disk import temporary_folder
from ..inference import read_results
from ..portable import CardFacts, Exported, Opened, earlier_files, export_network, file_stem
from ..portable.card_facts import Measured, facts_of_run
from ..portable.checking import LEAST_SIDE
from ..portable.exporting import known_formats, require_formats
from .held_out import HELD_OUT
from .option_files import TESTS
from .outcome import Outcome, protocol_of, tiles_of
from .plan import Plan

__all__ = ["STUDENT", "check_formats", "chosen_formats", "deliver"]

_ONNX = ("onnx", "onnxruntime", "onnxscript", "onnxslim")


STUDENT = "student"
"""The folder of the files; beside it are the runs of the project."""


def chosen_formats(asked: str | None) -> list[str]:
    """Return the formats to export: those asked for, else safetensors, and ONNX where its packages are installed.

    Raises:
        ConfigError: one is unknown.
    """
    if asked is None:
        onnx = all(find_spec(name) for name in _ONNX)
        return ["safetensors", "onnx"] if onnx else ["safetensors"]
    return known_formats(asked)


def check_formats(plan: Plan, formats: Sequence[str]) -> None:
    """Refuse, before hours of training, formats that the student has no form for or whose packages are missing.

    Raises:
        DCKDError: as the export would.
    """
    require_formats(type(outline(plan.network, scale=plan.scale).net).__name__, formats, f"student {plan.student}")


def deliver(
    plan: Plan,
    teacher: Opened,
    named: str,
    student: Opened,
    outcome: Outcome,
    formats: Sequence[str],
    folder: Path,
) -> Exported:
    """Export the student of a project into ``folder/student``, compared on its held-out photos.

    Args:
        plan: of the project.
        teacher: the network.
        named: its file as the user named it.
        student: the network.
        outcome: what was measured.
        formats: of the files.
        folder: of the project.

    Raises:
        DCKDError: as :func:`.portable.export_network` does.
    """
    out = folder / STUDENT
    name = file_stem(f"{plan.scale}x_{Path(plan.student).stem}_{_slug(named)}")
    has_gt = plan.wish.kind != "lq"
    photos, gt = (sorted((folder / HELD_OUT / part).glob("*.png")) for part in ("LQ", "GT"))
    photos = [photo for photo in photos if min(read_image(photo).shape[:2]) >= LEAST_SIDE]
    with temporary_folder(folder) as new:
        done = export_network(
            student,
            formats,
            new,
            name=name,
            photos=photos,
            gt=gt if has_gt and photos else (),
            about=_about(plan, teacher, named, student, outcome, folder),
        )
        shutil.copyfile(folder / outcome.strip, new / outcome.strip)
        out.mkdir(exist_ok=True)
        made = sorted(new.iterdir())
        for stale in {*earlier_files(out)} - {out / file.name for file in made}:  # of the same command, other formats
            stale.unlink()
        for file in made:
            file.replace(out / file.name)
    files = {kind: [out / file.name for file in written] for kind, written in done.files.items()}
    return replace(done, files=files, card=out / done.card.name)


def _about(plan: Plan, teacher: Opened, named: str, student: Opened, outcome: Outcome, folder: Path) -> CardFacts:
    row = outcome.rows[1]
    sources = {
        "gt": "the user's photos as ground truth, made smaller bicubically",
        "lq": "the user's photos as inputs, without ground truth",
        "pairs": "the user's pairs of inputs and ground truth",
    }
    return replace(
        facts_of_run(student),
        title=f"{_called(plan, student)} x{plan.scale}, distilled from {_slug(named)}",
        description=f"{_called(plan, student)}, trained to do what {_slug(named)} ({teacher.name}) does. "
        f"{_compared(outcome)}",
        teacher=f"{teacher.name} ({Path(named).name})",
        teacher_licence="Apache-2.0" if named.startswith("builtin:") else None,
        data=sources[plan.wish.kind],
        metrics=tuple(_measured(plan, folder)),
        psnr_to_teacher=row.to_teacher,
        milliseconds=row.milliseconds,
        machine=_cpu() if outcome.device == "cpu" else outcome.device,
        strips=(outcome.strip,),
        limits=tuple(_limits(plan, outcome)),
    )


def _called(plan: Plan, student: Opened) -> str:
    """Return the student's name for people: of an option file it is the network's."""
    return plan.student if plan.student in PRESETS else student.name


def _compared(outcome: Outcome) -> str:
    """Say what the student costs beside its teacher, as it was measured."""
    _, mine, theirs = outcome.rows
    size = _beside(mine.parameters, theirs.parameters, ("smaller", "larger", "as large"))
    speed = _beside(mine.milliseconds, theirs.milliseconds, ("faster", "slower", "as fast"))
    return (
        f"It is {size} ({mine.parameters:,} parameters, the teacher {theirs.parameters:,}) and {speed} "
        f"({mine.milliseconds:.0f} ms per megapixel of output, the teacher {theirs.milliseconds:.0f})."
    )


def _beside(mine: float | None, theirs: float | None, words: tuple[str, str, str]) -> str:
    assert mine is not None
    assert theirs is not None
    less, more, equal = words
    return less if mine < theirs else more if mine > theirs else equal


def _cpu() -> str:
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' * (threads > 1)} of a CPU with {os.cpu_count()} cores"


def _limits(plan: Plan, outcome: Outcome) -> Iterator[str]:
    if outcome.gain is not None and outcome.is_behind():
        to = "the teacher's outputs" if plan.wish.kind == "lq" else "the ground truth"
        enlarged = " enlarged bicubically" if plan.scale > 1 else ""
        plain, student = (f"{value:.2f} dB" for value in outcome.gain)
        yield f"On the held-out photos it is no nearer to {to} than its input{enlarged} ({student}, the input {plain})."
    if plan.wish.kind == "gt":
        yield (
            "It was trained on inputs made smaller bicubically: on photos that are blurred, noisy or compressed it has "
            "learnt nothing of its own."
        )
    if len(plan.held_out) < 5:
        photos = "1 photo" if len(plan.held_out) == 1 else f"{len(plan.held_out)} photos"
        yield f"It was measured on {photos}, too few for small differences."


def _measured(plan: Plan, folder: Path) -> Iterator[Measured]:
    tiled = {network: tiles_of(plan, network) for network in ("student", "teacher")}
    how = f"{protocol_of(plan)}, {tiled['student'] or 'whole images'}"
    protocols = {"held_out": how, "teacher": how + (f", the teacher {tiled['teacher']}" if tiled["teacher"] else "")}
    names = {"held_out": "held-out photos", "teacher": "the teacher's outputs for the held-out photos"}
    for name, values in read_results(folder / "results" / "student").items():
        for metric, value in values["mean"].items():
            yield Measured(names[name], metric, protocols[name], float(value), f"basicsr test -opt {TESTS['student']}")


def _slug(named: str) -> str:
    return Path(named.removeprefix("builtin:")).resolve().stem
