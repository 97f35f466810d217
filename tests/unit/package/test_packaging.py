"""Installing: the Pythons that are promised are those that are tested, and pip is called with what was asked for."""

from __future__ import annotations

import ast
import os
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
    assert "venv --clear --system-site-packages venv ||" in offline
    assert f"venv/bin/python dckd_basicsr/system_packages.py {sys.executable}\n" in offline
    assert "system_packages.py" not in plain
    assert 'install --quiet basicsr==1.4.2 -e ".[test]"' in offline
    assert "torch==" not in offline
    assert "basicsr_wheel.py" not in offline


@NEEDS_MAKE
def test_make_wheels_leaves_out_what_the_other_machine_has() -> None:
    def pattern(*arguments: str) -> re.Pattern[str]:
        command = ["make", "-n", "wheels", "FOR=3.12", "VENV=venv", *arguments]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        (found,) = re.findall(r"grep -Eiv '(.*)'", said)
        return re.compile(found, re.IGNORECASE)

    def kept(pattern: re.Pattern[str]) -> list[str]:
        names = ["torch", "torchvision", "nvidia-nccl-cu13", "scipy", "dckd_basicsr", "opencv-python", "opencv", "lmdb"]
        return [name for name in names if not pattern.search(f"{name}==1.0")]

    assert kept(pattern()) == ["scipy", "opencv-python", "opencv", "lmdb"]
    assert kept(pattern("WITHOUT=opencv-python  scipy ")) == ["opencv", "lmdb"]


@NEEDS_MAKE
def test_make_gpu_passes_on_what_was_asked_for() -> None:
    def command(*arguments: str) -> list[str]:
        own = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PARTS", "JSON", "LIMIT", "TOTAL")  # of a make that runs the tests
        environment = {key: value for key, value in os.environ.items() if key not in own}
        words = ["make", "-n", "gpu", "VENV=venv", *arguments]
        said = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
        return next(line.split() for line in said.splitlines() if "-m tests.gpu" in line)

    start = ["venv/bin/python", "-m", "tests.gpu"]
    assert command() == [*start, "--json", "gpu.json"]
    asked = command("PARTS=doctor swinir", "JSON=two.json", "LIMIT=60", "TOTAL=450")
    assert asked == [*start, "doctor", "swinir", "--json", "two.json", "--limit", "60", "--total", "450"]


def new_environment(folder: Path, python: Path | str = sys.executable) -> tuple[Path, Path]:
    """Make a virtual environment without pip; return its Python and where its packages are."""
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    own = folder / "bin/python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return own, Path(subprocess.run([own, "-c", ask], capture_output=True, text=True, check=True).stdout.strip())


@pytest.mark.skipif(sys.platform == "win32", reason="environments are laid out otherwise")
@pytest.mark.parametrize(
    ("opencv", "package", "known"),
    [
        ("__version__ = '4.9.0'", "opencv_python_headless", True),
        ("__version__ = '4.9.0'", "opencv_python", False),  # pip knows it already
        ("raise OSError('libGL.so.1')", "opencv_python_headless", False),
        (None, "", False),
    ],
)
def test_packages_of_another_environment_are_seen_and_known_to_pip(
    tmp_path: Path, opencv: str | None, package: str, known: bool
) -> None:
    parent, packages = new_environment(tmp_path / "parent")
    (packages / "torch.py").write_text("")
    if opencv:
        (packages / "cv2.py").write_text(opencv)
        info = packages / f"{package}-4.9.0.80.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 4.9.0.80\n")
    child, own = new_environment(tmp_path / "child", parent)
    script = ROOT / "dckd_basicsr/system_packages.py"
    said = subprocess.run([child, script, parent], capture_output=True, text=True, check=True).stdout
    assert said == ("opencv-python: cv2 4.9.0 is there\n" if known else "")
    seen = subprocess.run([child, "-c", "import torch; print(torch.__file__)"], capture_output=True, text=True)
    assert seen.stdout.strip() == str(packages / "torch.py"), seen.stderr
    assert {path.name for path in own.glob("*.dist-info")} == ({"opencv_python-4.9.0.dist-info"} if known else set())

    def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pip", "--python", str(child), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = pip("install", "--no-index", "opencv-python>=4.5")
    assert (done.returncode == 0) == (known or package == "opencv_python"), done.stderr
    if known:
        assert pip("uninstall", "--yes", "opencv-python").returncode == 0
        assert not list(own.glob("*.dist-info"))


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
