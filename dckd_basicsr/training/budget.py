"""The multiply-adds of a training step, part by part, counted without computing anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..archs.valueless import without_values
from ..distill.step import DistillParts, Need

__all__ = ["multiply_adds", "shown", "step_budget"]


def multiply_adds(net: nn.Module, shape: tuple[int, ...], run: Callable[[Any, Any], Any] | None = None) -> int:
    """Count the multiply-adds of ``net(x)``, or of ``run(net, x)``, for an ``x`` of this shape.

    Convolutions, linear layers and matrix products, attention's included; half of what PyTorch's FLOP counter counts.
    """
    counter = FlopCounterMode(display=False)
    # Fake tensors, unlike meta tensors, keep their device: networks may ask for it, for autocast for instance. The
    # counter knows attention's matrix products and its GPU kernels, but takes its CPU kernel for nothing.
    math = sdpa_kernel(SDPBackend.MATH)
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    with without_values(net), math, counter:
        x = torch.empty(shape, device=device)
        _ = net(x) if run is None else run(net, x)
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def step_budget(
    student: nn.Module, parts: DistillParts, needs: frozenset[str], batch: int, lq_side: int, scale: int
) -> dict[str, int]:
    """Count one training step over ``batch`` square patches.

    A backward pass costs the forward pass once for the gradient of the input, and once more for that of the weights,
    which only the student has.

    Returns:
        Multiply-adds by part: student, teacher, history model, encoder (student), encoder (others).
    """
    lq, image = (1, 3, lq_side, lq_side), (1, 3, lq_side * scale, lq_side * scale)
    budget = {"student": 3 * batch * multiply_adds(student, lq)}
    if parts.teacher is not None:
        budget["teacher"] = batch * (1 + (Need.CONSISTENCY in needs)) * multiply_adds(parts.teacher, lq)
    negatives = parts.negatives.num if parts.history is not None else 0
    if parts.history is not None:
        budget["history model"] = batch * negatives * multiply_adds(parts.history, lq)
    if parts.encoder is not None:
        taps = multiply_adds(parts.encoder.vqgan, image, lambda net, x: net.analyse(x, taps=True))
        whole = multiply_adds(parts.encoder.vqgan, image, lambda net, x: net.analyse(x, logits=True))
        codes, contrast = Need.CODES in needs, Need.TAPS in needs
        budget["encoder, student"] = 2 * batch * (whole if codes else taps)
        budget["encoder, others"] = batch * ((whole if codes else taps) + negatives * taps * contrast)
    return budget


def shown(budget: Mapping[str, int]) -> str:
    """Return a budget as a line of the log."""
    total = max(1, sum(budget.values()))
    shares = ", ".join(f"{name} {100 * value / total:.0f} %" for name, value in budget.items())
    return f"{total / 1e9:.4g} G multiply-adds: {shares}"
