"""``basicsr demo``: the whole job on photographs that scikit-image ships, in a few minutes on a laptop.

Packs photos into LMDB, distils a small EDSR x4 student from the shipped teacher through ``basicsr train``, measures
bicubic, student and teacher with ``basicsr test`` on held-out photos, prints a table and writes a comparison strip.
Every step is the public command a user would type; it is printed before it runs.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.lmdb.reader import LmdbImages
from ..data.photos.images import read_image
from ..errors import DCKDError
from ..inference import read_results
from ..report import Box, Panel, comparison_strip, markdown_table, stack_strips, write_png

__all__ = ["run_demo"]

# Public-domain or CC0 photographs in scikit-image's wheel (skimage/data/README.txt); no download.
_TRAIN = ("astronaut", "coffee", "hubble_deep_field", "immunohistochemistry", "retina", "rocket")
_TEST = ("chelsea", "stereo_motorcycle")
_CROPS = {"chelsea": Box(90, 120, 112), "stereo_motorcycle": Box(250, 300, 112)}

_STUDENT_WEIGHTS = "experiments/demo_x4_edsr/models/net_g_latest.pth"
_TEACHER = "{type: EDSR, num_in_ch: 3, num_out_ch: 3, num_feat: 64, num_block: 16, upscale: 4}"
_METHODS: dict[str, list[str]] = {
    "bicubic": ["network_g={type: Bicubic, upscale: 4}", "path:pretrain_network_g=~"],
    "student": [],
    "teacher": [f"network_g={_TEACHER}", "path:pretrain_network_g=builtin:edsr_x4_f64b16"],
}


def run_demo(out: Path) -> int:
    """Run everything under ``out``; returns the exit status."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    _write_photos(out / "photos")
    _basicsr(out, "prepare", "sr", "photos/train", "data/train", "--scale", "4", "--crop", "240", "--step", "120",
             "--overwrite")  # fmt: skip
    _basicsr(out, "prepare", "sr", "photos/test", "data/test", "--scale", "4", "--crop", "0", "--overwrite")
    _basicsr(out, "train", "-opt", "demo_x4_edsr.yml")
    for method, overrides in _METHODS.items():
        _basicsr(out, "test", "-opt", "demo_test_x4.yml", "--force_yml", f"name=demo_{method}", *overrides)
    table = _table(out)
    strip = out / "comparison.png"
    write_png(_strips(out), strip)
    (out / "results.md").write_text(table + "\n", encoding="utf-8")
    print(f"\nHeld-out photos, Y channel, 4 pixels cropped at the border:\n\n{table}\n")
    print(f"Comparison strip: {strip}\nDistilled student: {out / _STUDENT_WEIGHTS}")
    print(f"Done in {time.monotonic() - started:.0f} s. Next: docs/your_own_data.md")
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


def _basicsr(folder: Path, *arguments: str) -> None:
    """Run one command line in ``folder``, in a process of its own, as a user would."""
    print(f"\n$ basicsr {shlex.join(arguments)}", flush=True)
    finished = subprocess.run([sys.executable, "-m", "dckd_basicsr", *arguments], cwd=folder, check=False)
    if finished.returncode:
        raise DCKDError(f"the demo stopped: `basicsr {arguments[0]}` ended with status {finished.returncode}")


def _table(out: Path) -> str:
    rows = []
    for method in _METHODS:
        results = read_results(out / "results" / f"demo_{method}")["demo"]
        mean = results["mean"]
        rows.append([method, _parameters(out, method), f"{mean['psnr']:.2f}", f"{mean['ssim']:.4f}"])
    return markdown_table(["method", "parameters", "PSNR (dB)", "SSIM"], rows)


def _parameters(out: Path, method: str) -> str:
    from ..config.resources import resolve_weights
    from ..weight_files import load_weights

    if method == "bicubic":
        return "-"
    path = out / _STUDENT_WEIGHTS if method == "student" else resolve_weights("builtin:edsr_x4_f64b16")
    return f"{sum(tensor.numel() for tensor in load_weights(path).state.values()):,}"


def _strips(out: Path) -> NDArray[np.uint8]:
    results = {method: read_results(out / "results" / f"demo_{method}")["demo"]["images"] for method in _METHODS}
    strips = []
    for photo, box in _CROPS.items():
        truth = read_image(out / "photos" / "test" / f"{photo}.png")
        truth = truth[: truth.shape[0] // 4 * 4, : truth.shape[1] // 4 * 4]
        panels = [Panel("LQ", LmdbImages(out / "data/test/LQ_x4.lmdb").image(photo), "input, 1/4 size")]
        for method in _METHODS:
            image = read_image(out / f"results/demo_{method}/visualization/demo/{photo}_demo_{method}.png")
            panels.append(Panel(method, image, f"{results[method][photo]['psnr']:.2f} dB"))
        panels.append(Panel("GT", truth, "ground truth"))
        strips.append(comparison_strip(panels, box, truth, side=224))
    return stack_strips(strips)
