"""A student in a process group: its buckets have its layout, and recordings' stream is used only for recordings."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from dckd_basicsr.models import base
from dckd_basicsr.training import step_runner
from dckd_basicsr.training.runtime import RuntimeSettings
from tests.models import BATCH


@pytest.fixture
def build_in_a_group(build, tmp_path, monkeypatch):
    """Build models as one process of a job does."""
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1, timeout=timedelta(seconds=60))
    monkeypatch.setattr("tests.unit.conftest.build_model", lambda opt: _built({**opt, "dist": True}))
    yield build
    dist.destroy_process_group()


def _built(opt):
    from basicsr.models import build_model

    return build_model(opt)


@pytest.mark.parametrize("layout", ["true", "false"])
def test_buckets_have_the_strides_of_the_gradients(build_in_a_group, layout):
    """PyTorch says where they have not: it then copies each gradient into another layout, and back."""
    torch.set_warn_always(True)  # once in a process is not enough here
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = build_in_a_group(f"train:runtime={{channels_last: {layout}}}")
            for i in (1, 2):  # buckets are built anew after the first
                model.feed_data(BATCH)
                model.optimize_parameters(i)
    finally:
        torch.set_warn_always(False)
    assert [str(w.message) for w in caught if "bucket view strides" in str(w.message)] == []
    last = torch.channels_last if layout == "true" else torch.contiguous_format
    kernels = [p for p in model.net_g.parameters() if p.dim() == 4]
    assert all(p.is_contiguous(memory_format=last) for p in kernels)


@pytest.mark.parametrize(("recorded", "streams"), [(False, []), (True, ["recording"])])
def test_the_stream_of_recordings_is_for_recordings(build_in_a_group, monkeypatch, recorded, streams):
    """On a CPU there is neither, so both are stand-ins; a step is not recorded here, only wrapped for it."""
    used = []

    @contextmanager
    def stream(which):
        used.append(which)
        yield

    monkeypatch.setattr(base, "settled", lambda *_: RuntimeSettings(cuda_graph=recorded))
    monkeypatch.setattr(step_runner, "recording_stream", lambda: "recording")
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    model = build_in_a_group()
    assert used == streams
    assert isinstance(model.wrapped, torch.nn.parallel.DistributedDataParallel)
    assert (model.runner.recorded is not None) == recorded


def test_average_and_history_have_the_students_strides(build):
    """Else what follows the student goes tensor by tensor instead of in one operation for all."""
    model = build("train:runtime={channels_last: true}")
    followed = dict(model.net_g.named_parameters())
    for copy in (model.net_g_ema, model.sources.history.net):
        assert {name: p.stride() for name, p in copy.named_parameters()} == {n: p.stride() for n, p in followed.items()}
    assert any(p.dim() == 4 and not p.is_contiguous() for p in followed.values())
