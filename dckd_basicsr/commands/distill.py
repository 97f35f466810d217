"""``basicsr distill``: from a teacher's weight file and a folder of photos to a small student, in one command.

Every step is a public command, printed before it runs; what was decided is in the folder's ``plan.json``, so that the
same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import install
from ..errors import ConfigError, Interrupted
from .arguments import count

if TYPE_CHECKING:
    from ..portable import Opened
    from ..project import Photos, Plan, Wish

__all__ = ["add_distill_parser", "run_distill"]

_TIME = "20m"
_WHAT = {
    "gt": "photos as ground truth, made smaller bicubically",
    "lq": "photos as inputs, without ground truth",
    "pairs": "pairs",
}


def add_distill_parser(commands: Any) -> None:
    """Add ``distill`` to the command line's subparsers."""
    parser = commands.add_parser(
        "distill",
        help="from a teacher's weight file and a folder of photos to a small student",
        description="Distil a small network from a strong one: pack photos, train, measure teacher and student on "
        "photos that were held out, export the student with a card. Stopped at any moment, the same command goes on.",
        epilog="basicsr distill 4x_teacher.pth holiday_photos -o small --student compact-s --time 1h",
    )
    parser.add_argument(
        "teacher",
        metavar="TEACHER",
        help="its weight file (any that spandrel detects, or of this package), the folder of its run, or builtin:NAME",
    )
    parser.add_argument("photos", nargs="?", type=Path, metavar="PHOTOS", help="folder of photos, with sub-folders")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="folder for everything")
    parser.add_argument(
        "--lq",
        action="store_true",
        help="the photos are inputs as they are, without ground truth: the student learns from the teacher alone "
        "(always so at scale 1 without --pairs); else they are ground truth, and made smaller bicubically for input",
    )
    parser.add_argument(
        "--pairs", nargs=2, type=Path, metavar=("LQ", "GT"), help="in place of PHOTOS: folders of inputs and truths"
    )
    parser.add_argument(
        "--student",
        metavar="NAME",
        help="a student of docs/guide/students.md, or an option file whose network_g it is (default: compact-s, and "
        "nafnet-16 at scale 1)",
    )
    parser.add_argument("--scale", type=int, metavar="N", help="what the teacher must have; it is found by itself")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--time", metavar="T", help=f"of training, such as 90s, 30m or 2h (default: {_TIME})")
    length.add_argument("--iterations", type=count, metavar="N", help="of training, in place of a time")
    parser.add_argument(
        "--method",
        metavar="NAME",
        help="of those that `basicsr train --with` lists (default: what measured best for the student)",
    )
    parser.add_argument(
        "--to",
        metavar="FORMATS",
        help="what the student is exported as, any of safetensors,pth,onnx,ncnn (default: safetensors, and onnx where "
        "its packages are installed)",
    )
    parser.add_argument("--batch", type=count, metavar="N", help="patches in an iteration (default: for the machine)")
    parser.add_argument("--patch", type=count, metavar="PX", help="side of LQ patches (default: for the machine)")
    parser.add_argument("--lr", type=float, metavar="RATE", help="peak of the learning rate (default: the student's)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of everything that is drawn (default: 0)")
    parser.set_defaults(func=run_distill)


def run_distill(options: argparse.Namespace) -> int:
    """Do, or go on with, the whole job; returns the exit status."""
    install.everything()
    from ..portable import open_network
    from ..project import (
        check_files,
        check_formats,
        chosen_formats,
        find_photos,
        has_begun,
        hold_folder,
        hold_out,
        make_plan,
        pack_photos,
        read_plan,
        remove_measured,
    )
    from ..project.plan import PLAN, write_plan

    started = time.monotonic()
    teacher = open_network(options.teacher)
    options.formats = chosen_formats(options.to)
    source, lq, kind = _photos(options, teacher)
    photos = find_photos(source, lq, kind, teacher.facts.scale)
    wish = _wish(options, teacher, kind, photos.digest)
    out: Path = options.out
    plan = read_plan(out, wish, training=has_begun(out))
    if plan is None:
        photos = hold_out(photos, kind, teacher.facts.scale)
        plan = make_plan(wish, teacher, tuple(job.key for job in photos.held_out))
    check_formats(plan, options.formats)
    if not has_begun(out):
        check_files(plan, teacher, options.teacher)
    out.mkdir(parents=True, exist_ok=True)
    with hold_folder(out) as lock:
        plan = read_plan(out, wish, training=has_begun(out)) or plan  # another process may have been here meanwhile
        photos = photos.held(plan.held_out)
        if plan.tiles is None and (out / PLAN).is_file():
            remove_measured(out)  # it is of another plan, in tiles perhaps
        write_plan(plan, out)
        _announce(plan, teacher, out)
        _tell_left_out(photos.unusable)
        packed = pack_photos(photos, plan, out)
        _tell_left_out(packed.unusable[len(photos.unusable) :])
        if packed.unusable:
            print(f"basicsr: note: leave such photos as they are: '{out}' goes on with the same ones only")
        train, held_out = len(packed.train), len(packed.held_out)
        print(f"Photos: {train} to train on, {held_out} held out; {_WHAT[kind]}", flush=True)
        plan = _with_test_images(plan, photos, teacher, out)
        try:
            plan = _with_iterations(plan, teacher, options, lock)
            _train_and_test(plan, out, lock)
            _finish(plan, teacher, options, started, lock)
        except Interrupted as stop:
            raise Interrupted(f"{stop}; the same command goes on from here", stop.signum) from stop
    return 0


def _photos(options: argparse.Namespace, teacher: Opened) -> tuple[Path, Path | None, Any]:
    """Return the folder to read, the folder of its inputs where they are pairs, and what the photos are."""
    scale = teacher.facts.scale
    if teacher.name == "ONNX":
        raise ConfigError(f"'{teacher.file}' is an ONNX file, which cannot teach here; give the weights it was made of")
    if options.scale not in (None, scale):
        raise ConfigError(f"--scale is {options.scale}, and teacher '{options.teacher}' upscales by {scale}")
    if (options.photos is None) == (options.pairs is None):
        raise ConfigError("give a folder of PHOTOS, or --pairs LQ GT: one of the two")
    for folder in options.pairs or [options.photos]:
        if options.out.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(
                f"-o {options.out} lies in '{folder}', and what is written there would be taken for photos; give -o a "
                "folder outside of it"
            )
    if options.pairs:
        if options.lq:
            raise ConfigError("--lq says that there is no ground truth, and --pairs gives one; leave one out")
        return options.pairs[1], options.pairs[0], "pairs"
    return options.photos, None, "lq" if options.lq or scale == 1 else "gt"


def _wish(options: argparse.Namespace, teacher: Opened, kind: Any, digest: str) -> Wish:
    from ..project import Wish, parse_time
    from ..project.plan import file_hash

    seconds = None if options.iterations else parse_time(options.time or _TIME)
    if options.lr is not None and not 0 < options.lr < 1:
        raise ConfigError(f"--lr must lie between 0 and 1, got {options.lr}")
    return Wish(
        teacher=file_hash(teacher.file),
        photos=digest,
        kind=kind,
        student=options.student,
        method=options.method,
        iterations=options.iterations,
        seconds=seconds,
        batch=options.batch,
        patch=options.patch,
        lr=options.lr,
        seed=options.seed,
    )


def _announce(plan: Plan, teacher: Opened, out: Path) -> None:
    print(
        f"Teacher: {teacher.name} x{plan.scale}, {teacher.file}\n"
        f"Student: {plan.student} ({plan.network['type']}), by the method {plan.method}\n"
        f"Folder: {out}",
        flush=True,
    )
    if teacher.guessed:
        print(
            f"basicsr: note: '{teacher.file}' does not tell all arguments of its {teacher.name}; the usual ones were "
            "taken. If the teacher's pictures in the comparison look wrong, give the folder of its run"
        )


def _tell_left_out(reasons: Sequence[str]) -> None:
    for reason in reasons[:5]:
        print(f"basicsr: note: left out: {reason}")
    if len(reasons) > 5:
        print(f"basicsr: note: and {len(reasons) - 5} more photos that cannot be used")


def _with_test_images(plan: Plan, photos: Photos, teacher: Opened, out: Path) -> Plan:
    """Write the held-out images with the teacher's answers."""
    from ..project import choose_tiles, write_teacher_outputs, write_test_images
    from ..project.plan import write_plan

    write_test_images(photos.held_out, plan, out)
    if plan.tiles is None:
        plan = replace(plan, tiles=choose_tiles(plan, teacher, out))
        write_plan(plan, out)
    write_teacher_outputs(plan, teacher, out)
    return plan


def _with_iterations(plan: Plan, teacher: Opened, options: argparse.Namespace, lock: int | None) -> Plan:
    """Write the option files, and time the steps where a time was given."""
    from ..project import OPTIONS, iterations_for, write_option_files
    from ..project.plan import write_plan

    out: Path = options.out
    if plan.iterations is None:
        assert plan.wish.seconds is not None
        write_option_files(plan, teacher, options.teacher, out)
        print("\nA few iterations are timed:", flush=True)
        iterations, step = iterations_for(plan.wish.seconds, out, lock)
        print(f"{1e3 * step:.3g} ms each: {_fitting(iterations, step, plan.wish.seconds, options.time or _TIME)}")
        plan = replace(plan, iterations=iterations)
        write_plan(plan, out)
    write_option_files(plan, teacher, options.teacher, out)
    print(f"\nOption file: {out / OPTIONS}")
    return plan


def _fitting(iterations: int, step: float, seconds: float, asked: str) -> str:
    """Say how many iterations are made of the time that was asked for, in its own words."""
    took = iterations * step
    if took <= seconds:
        return f"{iterations} in {asked}"
    return f"{iterations}, the fewest that are trained, which take {took:.0f} s and not {asked}"


def _train_and_test(plan: Plan, out: Path, lock: int | None) -> None:
    from ..project import OPTIONS, run_basicsr
    from ..project.option_files import RUN, TESTS

    trained = out / "experiments" / RUN / "models" / "net_g_latest.pth"
    if not trained.is_file():
        (out / "results" / "student" / "done").unlink(missing_ok=True)  # of a training that was removed
        run_basicsr(out, "train", "-opt", OPTIONS, "--auto_resume", lock=lock)
    for name, file in TESTS.items():
        if (out / file).is_file() and not (out / "results" / name / "done").is_file():
            run_basicsr(out, "test", "-opt", file, quiet=True, lock=lock)
            (out / "results" / name / "done").touch()


def _finish(plan: Plan, teacher: Opened, options: argparse.Namespace, started: float, lock: int | None) -> None:
    from ..portable import open_network
    from ..project import measure, run_basicsr
    from ..project.deliver import deliver
    from ..project.option_files import RUN
    from ..project.outcome import write_outcome

    out: Path = options.out
    student = open_network(out / "experiments" / RUN)
    outcome = measure(plan, teacher, student, out)
    write_outcome(outcome, out)
    run_basicsr(out, "report", RUN, "--out", "report.html", quiet=True, lock=lock)
    exported = deliver(plan, teacher, options.teacher, student, outcome, options.formats, out)
    print(f"\n{outcome.table()}\n\n{outcome.protocol}\n\nStrips: {out / outcome.strip}\nPage: {out / 'report.html'}")
    files = ", ".join(file.name for files in exported.files.values() for file in files)
    print(f"Student: {files} in {exported.card.parent}, with a card")
    if outcome.is_behind():
        print(
            "\nbasicsr: note: the student is not better than the first row yet; it needs more training: the same "
            f"command with a longer --time and another folder than '{out}'"
        )
    print(f"Done in {time.monotonic() - started:.0f} s")
