"""The multiply-adds of a training step, part by part."""

from __future__ import annotations

from typing import Any

from torch import nn

from dckd_basicsr.archs.complexity import multiply_adds
from dckd_basicsr.distill import Need, Sources

__all__ = ["step_budget"]


def step_budget(
    student: nn.Module, sources: Sources, needs: frozenset[Any], batch: int, lq_side: int, scale: int
) -> dict[str, int]:
    """Count one training step over ``batch`` square patches.

    A backward pass costs the forward pass once for the gradient of the input, and once more for that of the weights,
    which only the student has.

    Returns:
        Multiply-adds by part: student, teacher, history model, encoder (student), encoder (others).
    """
    lq, image = (1, 3, lq_side, lq_side), (1, 3, lq_side * scale, lq_side * scale)
    budget = {"student": 3 * batch * multiply_adds(student, lq)}
    for teacher in sources.teachers.values():
        budget["teacher"] = batch * (1 + (Need.CONSISTENCY in needs)) * multiply_adds(teacher, lq)
    negatives = sources.negatives.num if sources.history is not None else 0
    if sources.history is not None:
        budget["history model"] = batch * negatives * multiply_adds(sources.history.net, lq)
    if sources.encoder is not None:
        taps = multiply_adds(sources.encoder.vqgan, image, lambda net, x: net.analyse(x, taps=True))
        whole = multiply_adds(sources.encoder.vqgan, image, lambda net, x: net.analyse(x, logits=True))
        codes, contrast = Need.CODES in needs, Need.TAPS in needs
        budget["encoder, student"] = 2 * batch * (whole if codes else taps)
        budget["encoder, others"] = batch * ((whole if codes else taps) + negatives * taps * contrast)
    return budget
