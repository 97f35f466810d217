"""Installing: the Pythons that are promised are those that are tested, and pip is called with what was asked for."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from dckd_basicsr import basicsr_wheel
from dckd_basicsr.commands.doctor import diagnose
from tests import ROOT

NEEDS_MAKE = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this system")
SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")


def constant(name: str) -> list[str]:
    """A list or tuple at the top of setup.py."""
    (found,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(SETUP).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )
    return list(found)


def steps(job: dict) -> str:
    return "\n".join(step["run"] for step in job["steps"] if "run" in step)


def test_every_python_that_is_promised_is_tested() -> None:
    pythons = constant("PYTHONS")
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["tests"]["strategy"]["matrix"]["python"] == pythons
    tools = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'python_version = "{pythons[0]}"' in tools
    assert f'target-version = "py{pythons[0].replace(".", "")}"' in tools
    assert f"v >= ({pythons[0].replace('.', ', ')})" in (ROOT / "Makefile").read_text(encoding="utf-8")
    table = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (3\.\d+) ", table, re.MULTILINE) == pythons
    goals = {goal for job in jobs.values() for goal in re.findall(r"^make (\w+)", steps(job), re.MULTILINE)}
    assert goals == {"lint", "setup", "test"}
    assert "mkdocs build --strict" in steps(jobs["docs"])
    assert "twine check --strict dist/*" in steps(jobs["package"])
    assert all(step.keys() <= {"uses", "with", "run"} for job in jobs.values() for step in job["steps"])


def recipe(*arguments: str) -> str:
    """What ``make setup`` would run."""
    command = ["make", "-n", "-B", "setup", f"PYTHON={sys.executable}", "VENV=venv", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@NEEDS_MAKE
def test_make_calls_pip_with_what_was_asked_for() -> None:
    plain, cpu, own = recipe(), recipe("TORCH=cpu"), recipe("TORCH=torch==2.9.1 torchvision==0.24.1")
    index = "--index-url https://download.pytorch.org/whl/cpu"
    (release,) = re.findall(r"install --quiet (torch==\S+ torchvision==\S+)\n", plain)
    assert index not in plain
    assert f"install --quiet {release} {index}\n" in cpu
    assert "install --quiet torch==2.9.1 torchvision==0.24.1\n" in own
    assert "basicsr_wheel.py -o venv/wheels" in plain
    assert 'install --quiet venv/wheels/basicsr-*.whl -e ".[' in plain
    offline = recipe("TORCH=system", "WHEELS=wheels", "EXTRAS=test")
    assert "venv --clear --system-site-packages" in offline
    assert 'install --quiet basicsr==1.4.2 -e ".[test]"' in offline
    assert "torch==" not in offline
    assert "basicsr_wheel.py" not in offline


@NEEDS_MAKE
def test_an_older_python_is_told_in_one_line(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9, 2); $1"\n')
    old.chmod(0o755)
    command = ["make", "setup", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    first, *_ = done.stderr.splitlines()
    assert first == "Python 3.10 or newer is needed, this is 3.9; if there is another: make PYTHON=python3.12"
    assert not (tmp_path / "venv").exists()


def test_basicsr_is_no_requirement_that_pip_would_build() -> None:
    (call,) = (
        node for node in ast.walk(ast.parse(SETUP)) if isinstance(node, ast.Call) and ast.unparse(node.func) == "setup"
    )
    (required,) = (ast.literal_eval(each.value) for each in call.keywords if each.arg == "install_requires")
    assert "torch>=2.4" in required
    assert not [name for name in required if name.startswith("basicsr")]


def test_doctor_names_who_built_basicsr_and_the_gpu_of_apple(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    found = {finding.subject: finding for finding in diagnose()}
    assert found["GPU"].text.startswith("Apple's (MPS), used by option files with `device: mps`")
    assert found["GPU"].ok is None
    assert re.fullmatch(rf"{basicsr_wheel.VERSION}, built by (dckd_basicsr|setuptools.*)", found["basicsr"].text)

    def version(name: str) -> str:
        if name != "basicsr":
            raise metadata.PackageNotFoundError(name)
        return "1.4.2"

    monkeypatch.setattr("dckd_basicsr.commands.doctor.VERSION", "1.5.0")
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr("dckd_basicsr.commands.doctor._PACKAGES", ("basicsr", "opencv-python", "no-such-package"))
    monkeypatch.setattr(metadata, "version", version)
    found = {finding.subject: finding for finding in diagnose()}
    assert found["opencv-python"].text.endswith(": pip install opencv-python")
    assert found["no-such-package"].text == "not installed: pip install no-such-package"
    assert (found["basicsr"].ok, found["basicsr"].text) == (
        False, "1.4.2; this package is written for 1.5.0: basicsr setup",
    )  # fmt: skip
