"""The command line's entry: without a command, without a reader, without room for what it prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dckd_basicsr.cli import main


def basicsr(*arguments: str, stdout: int, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess:
    """Run the command with buffered output, as a shell does, into the file descriptor ``stdout``."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"} | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, "-m", "dckd_basicsr", *arguments],
        stdout=stdout, stderr=stderr, env=environment, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture
def unread():
    """The end to write to of a pipe whose reader has gone, as after ``| head``."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("arguments", [["config", "--schema"], ["--help"], ["--version"]])
def test_a_reader_that_has_gone_ends_the_command_quietly(unread, arguments):
    done = basicsr(*arguments, stdout=unread)
    assert (done.returncode, done.stderr) == (141, "")  # as a shell reports SIGPIPE


def test_messages_without_a_reader_end_it_too(unread):
    assert basicsr("config", "nowhere.yml", stdout=unread, stderr=unread).returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("arguments", [["config", "--schema"], ["--version"]])
def test_output_without_room_is_one_error(arguments):
    with Path("/dev/full").open("w") as full:
        done = basicsr(*arguments, stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr.strip() == "basicsr: error: standard output cannot be written (No space left on device)"


def test_a_broken_pipe_of_something_else_is_no_end_of_output(monkeypatch, capsys):
    def broken(arguments):
        raise BrokenPipeError(32, "a worker's pipe")

    monkeypatch.setattr("dckd_basicsr.cli._run", broken)
    with pytest.raises(BrokenPipeError, match="a worker's pipe"):
        main(["demo"])


def test_without_a_command_it_shows_them(capsys):
    assert main([]) == 2
    shown = capsys.readouterr().err
    for command in ("train", "test", "prepare", "convert", "config", "demo", "doctor"):
        assert f"\n    {command}" in shown
