"""The attention kernel: what Triton's interpreter says, and machines that cannot run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dckd_basicsr.archs.swin import arranging
from dckd_basicsr.archs.swin.arranging import arrange_windows
from tests import ROOT
from tests.unit.swin.test_swin_blocks import network

CHECKS = Path(__file__).with_name("kernel_in_interpreter.py")


def test_the_kernel_in_the_interpreter():
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CHECKS)],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 passed" in done.stdout
    assert "skipped" not in done.stdout


def test_without_triton_or_a_gpu_attention_runs_as_it_is(said):
    arranging._warn.cache_clear()  # a process is told once, and this one may have been
    assert arrange_windows(network(), frozen=True, attention="triton") == ""
    assert said[-1].startswith("train.runtime.attention: the kernel cannot be used here, so attention runs as without")
