"""``device: mps``, as far as a machine without Apple's GPU can tell: what it is refused with, and that it is taken."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from basicsr.models import build_model

from dckd_basicsr.config import parse
from dckd_basicsr.config.rules import device_problems
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.training.compiling import can_compile
from dckd_basicsr.training.runtime import PrecisionSettings, RuntimeSettings, settled
from tests.tiny import STUDENT

MPS = torch.device("mps")


def options(**top: Any) -> dict[str, Any]:
    return {"model_type": "RestorationModel", "device": "mps", "num_gpu": "auto", "train": {}, "datasets": {}, **top}


def test_without_such_a_gpu_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device_problems(options()) == ["device is mps, but PyTorch finds no Apple GPU here; leave it out"]
    assert device_problems(options(device=None)) == []


@pytest.mark.parametrize(
    ("top", "said"),
    [
        ({"num_gpu": 1}, "device is mps, but num_gpu is 1, which counts CUDA devices; set num_gpu: auto"),
        ({"dist": True}, "device is mps, which serves one process; start it without --launcher"),
        (
            {"model_type": "SRModel"},
            "device is mps, which only this package's models know, not 'SRModel'; leave it out",
        ),
        (
            {"train": {"runtime": {"cuda_graph": True}}},
            "train.runtime.cuda_graph is true, but device is mps; set it to ",
        ),
        ({"datasets": {"train": {"prefetch_mode": "cuda"}}}, "datasets.train.prefetch_mode is cuda, but device is mps"),
    ],
)
def test_what_does_not_go_with_it_is_named(top: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device_problems(options()) == []
    (found,) = device_problems(options(**top))
    assert found.startswith(said)


def test_auto_settles_on_what_is_known_to_work_there() -> None:
    decided = settled(RuntimeSettings(preset="auto"), MPS)
    assert (decided.compile, decided.cuda_graph, decided.precision) == (False, False, PrecisionSettings(None, None))
    assert not can_compile(MPS)
    with pytest.raises(ConfigError, match="cuda_graph is true, but the run is on device mps"):
        settled(RuntimeSettings(cuda_graph=True), MPS)


def test_the_model_takes_it_and_nothing_counts_on_cuda(tmp_path) -> None:
    opt = options(scale=2, network_g=dict(STUDENT), path={}, is_train=False, dist=False, rank=0, world_size=1)
    opt["num_gpu"] = parse._num_gpu(opt)
    assert opt["num_gpu"] == 0
    if torch.backends.mps.is_available():
        assert build_model(opt).device == MPS
        return
    with pytest.raises((RuntimeError, NotImplementedError), match=r"(?i)\bmps\b"):  # of PyTorch: it was asked for it
        build_model(opt)
