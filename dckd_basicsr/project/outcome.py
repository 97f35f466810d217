"""What came of a project: the student beside its teacher and the plain enlargement, in numbers and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from ..archs import ArchFacts, merged
from ..data.photos.images import Image, read_image
from ..inference import read_results
from ..portable import Opened
from ..report import (
    Box,
    Panel,
    comparison_strip,
    markdown_table,
    milliseconds_per_megapixel,
    parameter_count,
    stack_strips,
    write_png,
)
from ..weight_files import atomic_write
from .held_out import HELD_OUT, held_out_names
from .plan import Plan

__all__ = ["Outcome", "Row", "measure", "protocol_of", "tiles_of", "write_outcome"]

_STRIPS, _SIDE = 3, 96
_TIMED = 192
"""Side of the LQ image that is timed."""


@dataclass(frozen=True)
class Row:
    """One method; what was not measured is None.

    Attributes:
        title: of it.
        parameters: of the network that runs.
        milliseconds: per million pixels of output.
        psnr, ssim: to the ground truth.
        to_teacher: PSNR to the teacher's output.
    """

    title: str
    parameters: int | None
    milliseconds: float | None
    psnr: float | None
    ssim: float | None
    to_teacher: float | None


@dataclass(frozen=True)
class Outcome:
    """What was measured.

    Attributes:
        rows: the input, the student, the teacher.
        strip: where the pictures are.
        device: on which was timed.
        protocol: how all of it was measured.
    """

    rows: tuple[Row, ...]
    strip: str
    device: str
    protocol: str

    @property
    def gain(self) -> tuple[float, float] | None:
        """PSNR of the input, enlarged, and of the student: to the ground truth, or to the teacher without one."""
        plain, student = self.rows[0], self.rows[1]
        pairs = [(plain.psnr, student.psnr), (plain.to_teacher, student.to_teacher)]
        return next(((a, b) for a, b in pairs if a is not None and b is not None), None)

    def is_behind(self) -> bool:
        """Tell whether the student is farther from what it was trained on than its input, enlarged."""
        return self.gain is not None and self.gain[1] <= self.gain[0]

    def table(self) -> str:
        """Return the table in Markdown; columns that nobody has values for are left out."""
        columns: list[tuple[str, Any]] = [
            ("method", lambda row: row.title),
            ("parameters", lambda row: _text(row.parameters, ",")),
            ("ms / megapixel", lambda row: _text(row.milliseconds, ".0f")),
            ("PSNR (dB)", lambda row: _text(row.psnr, ".2f")),
            ("SSIM", lambda row: _text(row.ssim, ".4f")),
            ("PSNR to the teacher (dB)", lambda row: _text(row.to_teacher, ".2f")),
        ]
        kept = [(head, read) for head, read in columns if any(read(row) != "-" for row in self.rows)]
        return markdown_table([head for head, _ in kept], [[read(row) for _, read in kept] for row in self.rows])


def measure(plan: Plan, teacher: Opened, student: Opened, folder: Path) -> Outcome:
    """Read what the tests of a project measured, time the networks, and draw strips where the student gains most.

    Args:
        plan: of the project.
        teacher, student: the networks.
        folder: of the project, after its tests.
    """
    has_gt = plan.wish.kind != "lq"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, _TIMED, _TIMED, generator=generator).to(device)

    def timed(net: nn.Module, facts: ArchFacts) -> float:
        return milliseconds_per_megapixel(net.to(device), facts, x, repeats=3)

    plain, large = merged(student.net), merged(teacher.net)
    rows = [
        _row("bicubic" if plan.scale > 1 else "input", "input", folder, has_gt),
        _row(
            f"student ({plan.student})",
            "student",
            folder,
            has_gt,
            parameter_count(plain),
            timed(plain, student.facts),
        ),
        _row(
            f"teacher ({teacher.name})",
            "teacher",
            folder,
            has_gt,
            parameter_count(large),
            timed(large, teacher.facts),
        ),
    ]
    strip = "comparison.png"
    write_png(_strips(plan, folder, has_gt), folder / strip)
    protocol = (
        f"PSNR and SSIM: {protocol_of(plan)}; mean over {_counted(len(plan.held_out), 'held-out image')}, "
        f"{_passed(plan)}. ms / megapixel: of output, for an input of {_TIMED} x {_TIMED} px on this "
        f"{'GPU' if device.type == 'cuda' else 'CPU'}, median of 3."
    )
    return Outcome(tuple(rows), strip, device.type, protocol)


def protocol_of(plan: Plan) -> str:
    """Return the colours and the border that PSNR and SSIM are taken with, as a card says it."""
    scale = plan.scale
    return f"{'Y channel' if scale > 1 else 'RGB'}, {scale if scale > 1 else 0} px cropped at the border"


def tiles_of(plan: Plan, network: str) -> str:
    """Return the tiles in which a network restored the test images, in words; empty for whole images."""
    tile = plan.tile_of(network).get("tile")
    return f"in tiles of {tile['size']} px with an overlap of {tile['overlap']}, for want of memory" if tile else ""


def _passed(plan: Plan) -> str:
    """Say of each network whether the images passed it whole."""
    tiles = {network: tiles_of(plan, network) for network in ("student", "teacher")}
    if not any(tiles.values()):
        return "restored whole"
    return ", ".join(f"by the {network} {how or 'whole'}" for network, how in tiles.items())


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def write_outcome(outcome: Outcome, folder: Path) -> None:
    """Keep the rows as ``results.json``, and the table and how it was measured as ``results.md``."""
    rows = json.dumps([asdict(row) for row in outcome.rows], indent=1) + "\n"
    for name, text in (("results.json", rows), ("results.md", f"{outcome.table()}\n\n{outcome.protocol}\n")):
        atomic_write(folder / name, partial(Path.write_text, data=text, encoding="utf-8"))


def _row(
    title: str, name: str, folder: Path, has_gt: bool, parameters: int | None = None, milliseconds: float | None = None
) -> Row:
    file = folder / "results" / name
    found: Mapping[str, Any] = read_results(file) if file.is_dir() else {}
    truth = found["held_out"]["mean"] if has_gt and "held_out" in found else {}
    likeness = found["teacher"]["mean"]["psnr"] if name != "teacher" and "teacher" in found else None
    return Row(title, parameters, milliseconds, truth.get("psnr"), truth.get("ssim"), likeness)


def _strips(plan: Plan, folder: Path, has_gt: bool) -> Image:
    """Draw the test images on which the student gains most over the input, each where it does so."""
    found = []
    for name in held_out_names(folder):
        pictures = {key: read_image(folder / HELD_OUT / key / f"{name}.png") for key in ("LQ", "teacher")}
        pictures |= {key: _restored(folder, key, name) for key in ("input", "student")}
        if has_gt:
            pictures["GT"] = read_image(folder / HELD_OUT / "GT" / f"{name}.png")
        box, gain = _box(pictures)
        found.append((gain, name, pictures, box))
    found.sort(key=lambda each: (-each[0], each[1]))
    strips = []
    for _, _, pictures, box in found[:_STRIPS]:
        titles = {"LQ": "LQ", "input": "bicubic", "student": "student", "teacher": "teacher", "GT": "GT"}
        shown = [key for key in titles if key in pictures and not (key == "input" and plan.scale == 1)]
        panels = [Panel(titles[key], pictures[key]) for key in shown]
        strips.append(comparison_strip(panels, box, pictures["teacher"], side=224))
    return stack_strips(strips)


def _restored(folder: Path, method: str, name: str) -> Image:
    return read_image(folder / "results" / method / "visualization" / "teacher" / f"{name}_{method}.png")


def _box(pictures: Mapping[str, Image]) -> tuple[Box, float]:
    """Return the square in which the student is nearer to the teacher than the input by most, and by how much."""
    teacher = pictures["teacher"].astype(np.float32)
    error = {key: np.abs(pictures[key].astype(np.float32) - teacher).mean(axis=2) for key in ("input", "student")}
    side = min(_SIDE, *teacher.shape[:2])
    gain = cv2.boxFilter(error["input"] - error["student"], -1, (side, side), anchor=(0, 0))
    gain = gain[: teacher.shape[0] - side + 1, : teacher.shape[1] - side + 1]
    top, left = np.unravel_index(int(gain.argmax()), gain.shape)
    return Box(int(top), int(left), side), float(gain.max())


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
