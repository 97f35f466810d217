"""The Dockerfile, the slurm scripts and the repository's forms agree with what is there."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time

import pytest
import yaml

from dckd_basicsr.version import __version__
from tests import ROOT

SCRIPTS = sorted(ROOT.glob("slurm/*.sbatch"))


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, comments and line ends taken out."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], " ".join(line.split()[1:])) for line in lines if line.strip()]


def given(instruction: str) -> list[str]:
    return [arguments for name, arguments in instructions() if name == instruction]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path at the top, or below it, out of the build."""
    result = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n"):
        pattern = line.removeprefix("!")
        top = path.split("/")[0]
        if line and not line.startswith("#") and pattern in ("*", top):
            result = not line.startswith("!")
    return result


def test_the_image_is_made_of_what_is_there():
    sources = {source for arguments in given("COPY") for source in shlex.split(arguments)[:-1]} - {"."}
    assert sources >= {"setup.py", "pyproject.toml", "dckd_basicsr/version.py"}
    for source in sources:
        assert (ROOT / source).is_file(), source
        assert not ignored(source), source
    for needed in ("dckd_basicsr", "options", "datasets_prep", "dckd_command.py", "README.md", "LICENSE"):
        assert (ROOT / needed).exists()
        assert not ignored(needed)
    for unwanted in (".git", ".venv", "experiments", "datasets", "tests", "docs", "demo"):
        assert ignored(unwanted), unwanted


def test_the_image_installs_and_starts_as_the_makefile_and_setup_do():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    torch = next(line.split("=", 1)[1].strip('"') for line in given("ARG") if line.startswith("TORCH="))
    assert f"RELEASE = {torch}\n" in makefile
    (entry,) = given("ENTRYPOINT")
    assert yaml.safe_load(entry) == ["basicsr"]
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert '"console_scripts": ["basicsr=' in setup
    assert '"export": EXPORT' in setup
    order = [arguments for name, arguments in instructions() if name in ("RUN", "COPY")]
    torch_step, requirements, code = (
        next(i for i, line in enumerate(order) if text in line) for text in ("${TORCH}", "[export]", "--no-deps")
    )
    assert torch_step < requirements < order.index(". .") < code, "what changes seldom comes first"
    (user,) = given("USER")
    assert f" {user}" in " ".join(order)
    assert user not in ("root", "0")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize(
    ("sent", "ends", "status", "requeued"),
    [
        (signal.SIGUSR1, 1, 1, True),
        (signal.SIGUSR1, 0, 0, False),  # it was through in that moment
        (signal.SIGTERM, 1, 1, False),  # preempted or cancelled: Slurm decides
        (None, 7, 7, False),
        (None, 0, 0, False),
    ],
)
def test_a_job_saves_on_a_signal_and_is_queued_again(tmp_path, script, sent, ends, status, requeued):
    """With stand-ins: ``srun`` waits for SIGTERM, takes its time to save, and ends with the status of torchrun."""
    wait = "trap 'sleep 0.1; touch saved; exit %d' TERM; touch started; while :; do sleep 0.02; done" % ends  # noqa: UP031
    programs = {
        "srun": f'echo "$@" > command\n{wait if sent else f"exit {ends}"}',
        "scontrol": 'echo "$@" >> slurm\necho node1; echo node2',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    told = {"SLURM_JOB_ID": "41234", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    environment = {**os.environ, **told, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    job = subprocess.Popen(["bash", str(script), "-opt", "my job.yml"], cwd=tmp_path, env=environment)
    try:
        if sent:
            until = time.monotonic() + 120
            while not (tmp_path / "started").exists() and time.monotonic() < until:
                time.sleep(0.01)
            job.send_signal(sent)
        assert job.wait(120) == status
    finally:
        job.kill()
    assert (tmp_path / "saved").exists() == bool(sent)
    slurm = (tmp_path / "slurm").read_text() if (tmp_path / "slurm").exists() else ""
    assert ("requeue 41234" in slurm) == requeued
    command = (tmp_path / "command").read_text()
    assert command.rstrip().endswith("-m dckd_basicsr train -opt my job.yml --launcher pytorch --auto_resume")
    assert ("--rdzv_endpoint=node1:21234 --rdzv_id=41234" in command) == (script.name == "several_nodes.sbatch")


def test_slurm_scripts_ask_for_the_signal_that_they_listen_to():
    assert [path.name for path in SCRIPTS] == ["one_node.sbatch", "several_nodes.sbatch"]
    for script in SCRIPTS:
        text = script.read_text(encoding="utf-8")
        told = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", text, re.MULTILINE))
        assert told["signal"] == "B:USR1@600"
        assert "requeue" in told
        assert told["ntasks-per-node"] == "1"  # torchrun starts the processes
        kill = int(re.search(r"TORCH_ELASTIC_SHUTDOWN_TIMEOUT=(\d+)", text)[1])
        assert 30 < kill < 600


def test_forms_ask_for_what_is_needed_and_the_citation_is_of_this_version():
    forms = {path.stem: yaml.safe_load(path.read_text()) for path in ROOT.glob(".github/ISSUE_TEMPLATE/*.yml")}
    assert forms.keys() == {"bug", "question", "feature", "config"}
    for name in ("bug", "question", "feature"):
        assert forms[name].keys() == {"name", "description", "labels", "body"}
        fields = [field for field in forms[name]["body"] if field["type"] == "textarea"]
        assert len({field["id"] for field in fields}) == len(fields)
        assert any(field.get("validations", {}).get("required") for field in fields)
    asked = yaml.safe_dump(forms["bug"])
    assert "basicsr doctor" in asked
    assert "basicsr config FILE" in asked
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == __version__
    paper = citation["preferred-citation"]
    assert paper["authors"][0] == {"family-names": "Zhou", "given-names": "Yunshuai"}
    assert "2412.08939" in paper["url"]
    for named in re.findall(r"`(tests/\S+\.py)`", (ROOT / "SECURITY.md").read_text()):
        assert (ROOT / named).is_file()
