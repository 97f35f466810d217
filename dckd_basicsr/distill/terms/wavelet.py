"""MTKD's wavelet loss: the Haar bands of the student's output against those of a teacher's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from .base import register_term
from .logits import LogitsTerm
from .output import Gate

__all__ = ["WaveletTerm"]

_HAAR = {"type": "HaarLoss", "levels": 4}


@register_term("wavelet")
class WaveletTerm(LogitsTerm):
    """A loss between the Haar bands of S and T (MTKD: Jiang et al., ECCV 2024, arXiv 2404.09571).

    Args:
        loss: the block of a ``HaarLoss``, with ``levels``; or another image loss.
        gate: ``teacher_better``: only pixels where T is nearer to GT than S.
        taught_by: name of the teacher, of several; the first by default.
    """

    def __init__(
        self, loss: Mapping[str, Any] | nn.Module = _HAAR, gate: Gate = None, taught_by: str | None = None
    ) -> None:
        super().__init__(loss, gate, taught_by)
