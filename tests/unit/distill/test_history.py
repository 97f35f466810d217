"""History model: the update by hand, the schedule, the source's buffers, saving and restoring."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from dckd_basicsr.distill import HistoryModel, HistorySettings, settings_from
from dckd_basicsr.errors import ConfigError


def net(value: float) -> nn.Module:
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    for p in module.parameters():
        p.data.fill_(value)
    module[1].running_mean.fill_(10 * value)
    return module


def test_update_by_hand():
    history = HistoryModel(net(1.0), HistorySettings(decay=0.1))
    history.update(net(2.0))
    assert all(torch.allclose(p, torch.tensor(1.9)) for p in history.parameters())
    history.update(net(2.0))
    assert all(torch.allclose(p, torch.tensor(1.99)) for p in history.parameters())


def test_buffers_are_copied_not_averaged():
    history = HistoryModel(net(1.0), HistorySettings(decay=0.1))
    source = net(2.0)
    source[1].num_batches_tracked.fill_(7)
    history.update(source)
    assert history.net[1].running_mean.item() == 20.0
    assert history.net[1].num_batches_tracked.item() == 7


def test_it_is_a_copy_without_gradient_that_never_trains():
    student = net(1.0)
    history = HistoryModel(student).train()
    student[0].weight.data.fill_(5.0)
    assert history.net[0].weight.item() == 1.0
    assert not history.training
    assert not history.net[1].training
    assert not history(torch.rand(2, 1, 4, 4, requires_grad=True)).requires_grad
    assert not any(p.requires_grad for p in history.parameters())


@pytest.mark.parametrize(
    ("iteration", "every"),
    [(1, 1000), (100_000, 1000), (100_001, 2000), (200_000, 2000), (200_001, 3000), (300_000, 3000), (900_000, 3000)],
)
def test_paper_schedule(iteration, every):
    assert HistoryModel(net(0.0)).every(iteration) == every


def test_updates_come_on_schedule_and_the_last_entry_goes_on():
    history = HistoryModel(net(0.0), HistorySettings(schedule=((6, 2), (12, 5))))
    assert [i for i in range(1, 31) if history.is_due(i)] == [2, 4, 6, 10, 15, 20, 25, 30]


def test_state_survives_a_file():
    history = HistoryModel(net(1.0))
    history.update(net(3.0))
    file = io.BytesIO()
    torch.save(history.training_state(), file)
    file.seek(0)
    restored = HistoryModel(net(0.0))
    restored.load_training_state(torch.load(file, weights_only=True))
    assert restored.updates == 1
    for a, b in zip(history.state_dict().values(), restored.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_equals_the_plain_formula_on_a_real_network():
    from basicsr.archs.edsr_arch import EDSR

    first, second = EDSR(3, 3, 8, 2), EDSR(3, 3, 8, 2)
    history = HistoryModel(first, HistorySettings(decay=0.3))
    wanted = copy.deepcopy(first)
    for a, b in zip(wanted.parameters(), second.parameters(), strict=True):
        a.data = 0.3 * a.data + 0.7 * b.data
    history.update(second)
    for a, b in zip(history.net.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decya": 0.1}, "unknown key 'decya' in train.history; did you mean 'decay'"),
        ({"decay": 1.5}, "probability"),
        ({"schedule": []}, "at least one"),
        ({"schedule": [[100, 10], [50, 5]]}, "growing"),
        ({"schedule": [[100, 0]]}, "at least 1"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ConfigError, match=message):
        settings_from(HistorySettings, options, "train.history")
