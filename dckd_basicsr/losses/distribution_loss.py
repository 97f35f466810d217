"""Distribution mapping: cross entropy between code distributions (Zhou et al., AAAI 2025, Eqs. 6 to 8)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from ..install import register

__all__ = ["DistributionLoss", "Form", "code_cross_entropy"]

Form = Literal["paper", "released"]


def code_cross_entropy(student_logits: Tensor, teacher_logits: Tensor, form: Form = "paper") -> Tensor:
    r"""Cross entropy of the student's code distribution against the teacher's, mean over latent pixels.

    .. math:: L_{ce} = \operatorname{mean}_p \; -\sum_k C^T_{pk} \log C^S_{pk}, \qquad C = \mathrm{softmax}(logits)

    Eq. 8 as printed lacks the minus. The paper's form uses log_softmax; ``released`` repeats the published code, which
    hands the student's *probabilities* to a cross entropy that applies log_softmax again: it stays within
    about [ln M - 1, ln M] for M codes and gives about a thousandth of the gradient.

    Args:
        student_logits: minus the squared distances to the codes, (P, M).
        teacher_logits: as ``student_logits``; no gradient flows to it.
        form: ``paper`` or ``released``.

    Returns:
        float32 scalar, >= 0.

    Raises:
        ValueError: shapes differ or ``form`` is unknown.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student and teacher logits must have one shape, got {tuple(student_logits.shape)} "
            f"and {tuple(teacher_logits.shape)}"
        )
    if form not in ("paper", "released"):
        raise ValueError(f"form must be 'paper' or 'released', got {form!r}")
    target = F.softmax(teacher_logits.detach().float(), dim=1)
    student = student_logits.float()
    if form == "released":
        student = F.softmax(student, dim=1)
    return -(target * F.log_softmax(student, dim=1)).sum(1).mean()


@register(LOSS_REGISTRY)
class DistributionLoss(nn.Module):
    """:func:`code_cross_entropy` times ``loss_weight`` (0.001 on every task of the paper)."""

    def __init__(self, loss_weight: float = 0.001, form: Form = "paper") -> None:
        super().__init__()
        if form not in ("paper", "released"):
            raise ValueError(f"form must be 'paper' or 'released', got {form!r}")
        self.loss_weight = loss_weight
        self.form: Form = form

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """See :func:`code_cross_entropy`."""
        return self.loss_weight * code_cross_entropy(student_logits, teacher_logits, self.form)
