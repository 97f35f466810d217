"""The three steps of CONTRIBUTING.md, "Add a loss term", followed as they stand there, by somebody with a folder."""

from __future__ import annotations

import re
import shlex
import textwrap
from pathlib import Path

import pytest
import torch

from dckd_basicsr.weight_files import load_state
from tests import ROOT
from tests.tiny import run, write_job

CONTRIBUTING = ROOT / "CONTRIBUTING.md"


def steps() -> tuple[str, str, list[str]]:
    """The module, the option file and the command."""
    section = CONTRIBUTING.read_text(encoding="utf-8").split("## Add a loss term")[1].split("\n## ")[0]
    blocks = dict(re.findall(r"```(python|yaml|bash)\n(.*?)```", section, re.DOTALL))
    module, options, command = (textwrap.dedent(blocks[kind]) for kind in ("python", "yaml", "bash"))
    return module, options, shlex.split(command)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own_term")
    write_job(folder, logits_opt=None, contrastive_opt=None, distribution_opt=None, consistency_opt=None)
    module, options, _ = steps()
    (folder / "my_terms.py").write_text(module, encoding="utf-8")
    # The only change: the tiny job in the place of the paper's, which needs its data and weights.
    assert options.startswith("   _base_: dckd_x4_edsr.yml\n") or options.startswith("_base_: dckd_x4_edsr.yml\n")
    (folder / "my_job.yml").write_text(options.replace("dckd_x4_edsr.yml", "job.yml"), encoding="utf-8")
    return folder


def test_the_term_trains(folder: Path) -> None:
    program, *arguments = steps()[2]
    assert program == "basicsr"
    done = run(folder, *arguments)
    assert done.returncode == 0, done.stderr
    log = next((folder / "experiments/my_job/log").glob("*.log") if (folder / "experiments/my_job/log").is_dir() else
               (folder / "experiments/my_job").glob("*.log")).read_text(encoding="utf-8")  # fmt: skip
    values = [float(value) for value in re.findall(r"l_channel_mean: ([\d.e+-]+)", log)]
    assert len(values) == 6
    assert all(value > 0 for value in values)
    student = load_state(folder / "experiments/my_job/models/net_g_latest.pth")["params"]
    assert all(isinstance(value, torch.Tensor) for value in student.values())


def test_without_the_import_the_term_is_unknown_and_the_command_says_so(folder: Path) -> None:
    done = run(folder, "train", "-opt", "my_job.yml")
    assert done.returncode == 1
    assert "unknown term 'channel_mean' in train.losses[0]" in done.stderr
    assert "Traceback" not in done.stderr
