"""What the command imports: nothing of PyTorch for help and packing, no compiler for a training that compiles nothing.

Read from the processes themselves (``-X importtime``), their workers included.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.tiny import write_job, write_photos

HEAVY = {"torch", "torchvision", "scipy", "basicsr", "pydantic", "safetensors", "spandrel", "PIL"}
READING = {"numpy", "cv2", "lmdb"}


def imported(folder: Path, *arguments: str, path: Path | None = None) -> tuple[list[str], str]:
    """Run ``python ARGUMENTS`` as a user would; return the modules that were imported, and all else it printed."""
    paths = [str(path)] * (path is not None) + [os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    lines = re.findall(r"^import time:.*\| +(\S+)$", done.stderr, flags=re.MULTILINE)
    said = done.stdout + re.sub(r"^import time:.*\n", "", done.stderr, flags=re.MULTILINE)
    assert done.returncode == 0, said
    return lines, said


def tops(modules: list[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


@pytest.mark.parametrize(
    "arguments",
    [
        ("-m", "dckd_basicsr", "--version"),
        ("-m", "dckd_basicsr", "prepare", "sr", "--help"),
        ("-m", "dckd_basicsr", "config", "--help"),
        ("-c", "import sys, dckd_command; sys.exit(dckd_command.main(['--help']))"),
        (str(ROOT / "datasets_prep" / "gopro.py"), "--help"),
    ],
    ids=["version", "help of prepare", "help of config", "help as the installed command", "a script's help"],
)
def test_help_imports_nothing_large(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    modules, said = imported(tmp_path, *arguments)
    assert "dckd_basicsr.cli" in modules
    assert not tops(modules) & (HEAVY | READING)
    assert "usage: basicsr" in said or said.startswith("dckd_basicsr ")


def test_the_list_of_methods_imports_nothing_large(tmp_path: Path) -> None:
    modules, said = imported(tmp_path, "-m", "dckd_basicsr", "train", "--with")
    assert not tops(modules) & (HEAVY | READING | {"yaml"})
    assert "\n  scratch " in said


def test_packing_and_its_workers_import_what_reads_and_writes(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    packing = ("prepare", "sr", "photos", "out", "--scale", "2", "--crop", "32", "--workers", "2", "--verify")
    modules, said = imported(tmp_path, "-m", "dckd_basicsr", *packing)
    assert "pairs from 3 photos" in said
    assert not tops(modules) & HEAVY
    assert tops(modules) >= READING
    # once in the command, once in the process that its workers are forked from
    assert modules.count("dckd_basicsr.prepare.packing") == 2


LOSS = """
import dckd_basicsr
from basicsr.utils.registry import LOSS_REGISTRY, DATASET_REGISTRY
from basicsr.data.paired_image_dataset import PairedImageDataset
from torch import nn

@LOSS_REGISTRY.register()
class TheirLoss(nn.Module):
    def __init__(self, loss_weight: float = 1.0, power: int = 1) -> None:
        super().__init__()
        self.loss_weight, self.power = loss_weight, power

    def forward(self, pred, target, weight=None):
        return self.loss_weight * ((pred - target).abs() ** self.power).mean()

@DATASET_REGISTRY.register()
class TheirDataset(PairedImageDataset):
    pass
"""
METRIC = """
from basicsr.utils.registry import METRIC_REGISTRY

@METRIC_REGISTRY.register()
def calculate_sevens(img, img2, **kwargs):
    return 7.0
"""


def test_training_with_modules_of_others_imports_no_compiler(tmp_path: Path) -> None:
    """A loss and a data set (read by a worker process) of --import, a metric of an installed distribution."""
    write_job(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "parts.py").write_text(LOSS)
    info = tmp_path / "site" / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dckd_basicsr]\nany = acme_metric\n")
    (tmp_path / "site" / "acme_metric.py").write_text(METRIC)
    arguments = ("-opt", "job.yml", "--import", "mine.parts", "--force_yml", "train:total_iter=2", "val:val_freq=2",
                 "train:pixel_opt={type: TheirLoss, power: 2}", "datasets:train:type=TheirDataset",
                 "datasets:train:num_worker_per_gpu=1", "val:metrics={sevens: {type: calculate_sevens}}")  # fmt: skip
    modules, said = imported(tmp_path, "-m", "dckd_basicsr", "train", *arguments, path=tmp_path / "site")
    assert len(re.findall(r"l_pix: ", said)) == 2
    assert "# sevens: 7.0000" in said
    assert {name for name in modules if name.startswith("torch._dynamo")} <= {"torch._dynamo", "torch._dynamo.utils"}
    assert not {"torch._inductor", "tensorboard", "spandrel"} & set(modules)


def test_what_a_command_has_imported_is_not_looked_through_at_its_end(tmp_path: Path) -> None:
    program = (
        "import dckd_command, gc; from dckd_basicsr import install; install.everything(); print(gc.get_freeze_count())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) > 100_000
