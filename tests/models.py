"""A few iterations of a model without the pipelines; the fixture ``build`` makes it."""

from __future__ import annotations

import torch

BATCH = {"lq": torch.rand(2, 3, 16, 16), "gt": torch.rand(2, 3, 32, 32)}


def train(model, iterations) -> list[dict[str, float]]:
    logs = []
    for i in iterations:
        model.update_learning_rate(i)
        model.feed_data(BATCH)
        model.optimize_parameters(i)
        logs.append(model.get_current_log())
    return logs


def tensors(model) -> list[torch.Tensor]:
    nets = (model.net_g, model.net_g_ema, model.history)
    return [value.clone() for net in nets for value in net.state_dict().values()]
