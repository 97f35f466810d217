"""A wheel built from the tree works outside it: option files, shipped weights and scripts are found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import ROOT

PARTS = (
    "dckd_basicsr",
    "dckd_command.py",
    "options",
    "datasets_prep",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy so that the tree stays clean."""
    tree = tmp_path_factory.mktemp("tree")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / part)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "out", "."]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return next((tree / "out").glob("*.whl"))


def test_contents(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"dckd_basicsr/options/{p.name}" for p in (ROOT / "options").glob("*.yml")} <= names
    for folder in ("methods", "sweeps"):
        assert {f"dckd_basicsr/options/{folder}/{p.name}" for p in (ROOT / "options" / folder).glob("*.yml")} <= names
    assert {f"dckd_basicsr/datasets_prep/{p.name}" for p in (ROOT / "datasets_prep").iterdir() if p.is_file()} <= names
    assert "dckd_basicsr/weights/edsr_x4_f64b16.safetensors" in names
    assert "dckd_basicsr/weights/vqgan_f16_ch32_n1024.safetensors" in names
    templates = (ROOT / "dckd_basicsr/page/templates").iterdir()
    assert {f"dckd_basicsr/page/templates/{p.name}" for p in templates} <= names
    assert {"dckd_basicsr/py.typed", "dckd_command.py"} <= names
    (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
    assert "basicsr = dckd_command:main" in zipfile.ZipFile(wheel).read(entry_points).decode()
    assert not any(name.startswith(("tests/", "basicsr/")) for name in names)


def test_works_outside_the_repository(wheel, tmp_path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    code = (
        "import dckd_basicsr, dckd_basicsr.config as c;"
        "print(dckd_basicsr.__file__); print(c.find_options('options/dckd_x4_edsr.yml'));"
        "print(c.resolve_weights('builtin:edsr_x4_f64b16'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert len(paths) == 3
    assert all(path.is_relative_to(site) and path.is_file() for path in paths)
    # The main job's own option file is found; without data it ends in one report, before a folder is made.
    command = [sys.executable, "-m", "dckd_basicsr", "train", "-opt", "options/dckd_x4_edsr.yml"]
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    for text in ("datasets.train.dataroot_gt", "DIV2K", "path.pretrain_network_teacher", "basicsr convert vqgan"):
        assert text in done.stderr
    assert not list(elsewhere.iterdir())
    command = [sys.executable, "-m", "dckd_basicsr", "config", "dckd_x4_edsr", "--no-files", "--with", "scratch"]
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "name: dckd_x4_edsr_scratch\n" in done.stdout
