"""Signals that reach a step, and the lock that keeps a second command out."""

from __future__ import annotations

import os
import signal

import pytest

from dckd_basicsr.errors import DCKDError
from dckd_basicsr.project import hold_folder
from dckd_basicsr.project.steps import _told

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has neither SIGHUP nor such locks")


class Step:
    def __init__(self) -> None:
        self.got: list[int] = []

    def send_signal(self, number: int) -> None:
        self.got.append(number)


@pytest.fixture
def hangup():
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("number", "told"),
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGHUP, signal.SIGTERM)],
)
def test_a_step_is_told_of_what_asks_to_stop(hangup, number, told):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    step = Step()
    with _told(step) as came:
        os.kill(os.getpid(), number)
    assert came == [number]
    assert step.got == [told], "a training saves after this one"
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_closed_terminal_says_nothing_to_a_command_that_ignores_it(hangup):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    step = Step()
    with _told(step) as came:
        os.kill(os.getpid(), signal.SIGHUP)
    assert came == step.got == []


def test_a_folder_is_held_by_one(tmp_path):
    with hold_folder(tmp_path) as lock:
        assert isinstance(lock, int)
        with (
            pytest.raises(DCKDError, match=r"another process is at work in .*wait until it has ended"),
            hold_folder(tmp_path),
        ):
            pass
    with hold_folder(tmp_path):
        pass


def test_a_folder_that_cannot_be_locked_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.raises(DCKDError, match=r"cannot be locked .No locks available.*give -o a folder"),
        hold_folder(tmp_path),
    ):
        pass
