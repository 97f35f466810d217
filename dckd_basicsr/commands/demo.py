"""``basicsr demo``: the whole job on photographs that scikit-image ships, in a few minutes on a laptop.

Packs photos into LMDB, trains a small EDSR x4 student twice through ``basicsr train``, alone and distilled from the
shipped teacher, with the same start, the same samples and as many iterations; measures bicubic, both students and the
teacher with ``basicsr test`` on held-out photos; prints a table and writes a comparison strip. Every step is the public
command a user would type; it is printed before it runs.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.metrics import calculate_psnr
from numpy.typing import NDArray

from ..archs import Built, WeightSource, build
from ..config import find_options, load_options, resolve_weights
from ..data.lmdb.reader import LmdbImages
from ..data.photos.images import read_image
from ..errors import DCKDError
from ..inference import read_results
from ..project import run_basicsr
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
from .report import REPORT

__all__ = ["run_demo"]

# Public-domain or CC0 photographs in scikit-image's wheel (skimage/data/README.txt); no download.
_TRAIN = ("astronaut", "coffee", "hubble_deep_field", "immunohistochemistry", "retina", "rocket")
_TEST = ("chelsea", "stereo_motorcycle")
_CROPS = {"chelsea": Box(90, 120, 112), "stereo_motorcycle": Box(250, 300, 112)}

_OPTIONS = "demo_x4_edsr.yml"
_SCALE = 4
_RUN, _ALONE = "demo_x4_edsr", "demo_x4_edsr_alone"
_METHODS = {_ALONE: "scratch", _RUN: "dckd_shallow"}
"""What is put on the option file, by run; for DCKD as published the run is too short (docs/method/results.md)."""


@dataclass(frozen=True)
class _Method:
    """A row of the table: a network with weights, None for one that has none.

    Attributes:
        name: of its results' folder.
        title: in table and strip.
        network: option block.
        weights: as ``path.pretrain_network_g`` gives them.
    """

    name: str
    title: str
    network: dict[str, Any]
    weights: str | None

    @property
    def overrides(self) -> list[str]:
        """What ``basicsr test`` needs to measure it."""
        weights = "~" if self.weights is None else self.weights
        return [f"name=demo_{self.name}", f"network_g={json.dumps(self.network)}", f"path:pretrain_network_g={weights}"]

    def built(self, out: Path) -> Built:
        weights = None if self.weights is None else WeightSource(out / resolve_weights(self.weights), "params_ema")
        return build(self.network, weights=weights, scale=_SCALE, frozen=True)


def _methods() -> list[_Method]:
    options, _ = load_options(find_options(_OPTIONS))
    student, teacher = options["network_g"], options["network_teacher"]
    return [
        _Method("bicubic", "bicubic", {"type": "Bicubic", "upscale": _SCALE}, None),
        _Method("alone", "student alone", student, f"experiments/{_ALONE}/models/net_g_latest.pth"),
        _Method("student", "student, distilled", student, f"experiments/{_RUN}/models/net_g_latest.pth"),
        _Method("teacher", "teacher", teacher, options["path"]["pretrain_network_teacher"]),
    ]


def run_demo(out: Path) -> int:
    """Run everything under ``out``; returns the exit status."""
    started = time.monotonic()
    methods = _methods()
    out.mkdir(parents=True, exist_ok=True)
    _write_photos(out / "photos")
    scale = ("--scale", str(_SCALE), "--overwrite")
    run_basicsr(out, "prepare", "sr", "photos/train", "data/train", "--crop", "240", "--step", "120", *scale)
    run_basicsr(out, "prepare", "sr", "photos/test", "data/test", "--crop", "0", *scale)
    for run, overlay in _METHODS.items():
        run_basicsr(out, "train", "-opt", _OPTIONS, "--with", overlay, "--force_yml", f"name={run}")
    for method in methods:
        run_basicsr(out, "test", "-opt", "demo_test_x4.yml", "--force_yml", *method.overrides)
    run_basicsr(out, "report", _ALONE, _RUN, "--out", REPORT)
    table = _table(out, methods)
    strip = out / "comparison.png"
    write_png(_strips(out, methods), strip)
    (out / "results.md").write_text(table + "\n", encoding="utf-8")
    print(f"\nHeld-out photos, Y channel, {_SCALE} pixels cropped at the border; time per megapixel of output:")
    print(f"\n{table}\n\nComparison strip: {strip}\nDistilled student: {out / str(methods[2].weights)}")
    print(f"Both trainings as a page: {out / REPORT}")
    print(f"Done in {time.monotonic() - started:.0f} s. Next: docs/guide/your_own_data.md")
    return 0


def _write_photos(folder: Path) -> None:
    try:
        from skimage import data, io
    except ImportError as error:
        raise DCKDError("the demo's photographs come with scikit-image: pip install scikit-image") from error
    for part, names in (("train", _TRAIN), ("test", _TEST)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for name in names:
            photo = getattr(data, name)()
            if isinstance(photo, tuple):  # a stereo pair with its disparity
                photo = photo[0]
            io.imsave(folder / part / f"{name}.png", photo[..., :3], check_contrast=False)


def _table(out: Path, methods: list[_Method]) -> str:
    """What a student is bought for: size, time, likeness to the ground truth and to the teacher."""
    header = ["method", "parameters", "ms / megapixel", "PSNR (dB)", "SSIM", "PSNR to the teacher (dB)"]
    rows = []
    for method in methods:
        mean = read_results(out / "results" / f"demo_{method.name}")["demo"]["mean"]
        size, speed = "-", "-"
        if method.weights is not None:
            net, facts = method.built(out)
            size, speed = f"{parameter_count(net):,}", f"{milliseconds_per_megapixel(net, facts, _input(out)):.0f}"
        rows.append([method.title, size, speed, f"{mean['psnr']:.2f}", f"{mean['ssim']:.4f}", _likeness(out, method)])
    return markdown_table(header, rows)


def _input(out: Path) -> torch.Tensor:
    """The larger of the two photos, as a network takes it."""
    pixels = LmdbImages(out / "data/test" / f"LQ_x{_SCALE}.lmdb").image("stereo_motorcycle")
    return torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255


def _likeness(out: Path, method: _Method) -> str:
    """PSNR to the teacher's output, measured as that to the ground truth is; nothing for the teacher itself."""
    if method.name == "teacher":
        return "-"
    found = [
        calculate_psnr(_restored(out, method.name, photo), _restored(out, "teacher", photo), _SCALE, "HWC", True)
        for photo in _TEST
    ]
    return f"{sum(found) / len(found):.2f}"


def _restored(out: Path, name: str, photo: str) -> NDArray[np.uint8]:
    return read_image(out / f"results/demo_{name}/visualization/demo/{photo}_demo_{name}.png")


def _strips(out: Path, methods: list[_Method]) -> NDArray[np.uint8]:
    results = {m.name: read_results(out / "results" / f"demo_{m.name}")["demo"]["images"] for m in methods}
    strips = []
    for photo, box in _CROPS.items():
        truth = read_image(out / "photos" / "test" / f"{photo}.png")
        truth = truth[: truth.shape[0] // _SCALE * _SCALE, : truth.shape[1] // _SCALE * _SCALE]
        panels = [Panel("LQ", LmdbImages(out / f"data/test/LQ_x{_SCALE}.lmdb").image(photo), "input, 1/4 size")]
        for method in methods:
            psnr = results[method.name][photo]["psnr"]
            panels.append(Panel(method.title, _restored(out, method.name, photo), f"{psnr:.2f} dB"))
        panels.append(Panel("GT", truth, "ground truth"))
        strips.append(comparison_strip(panels, box, truth, side=224))
    return stack_strips(strips)
