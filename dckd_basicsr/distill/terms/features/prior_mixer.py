"""The layers of MiPKD: feature maps of S and T in one latent space, where they are mixed, and back."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Mixed", "PriorMixer"]


class Mixed(NamedTuple):
    """What is decoded of a mixed latent map.

    Attributes:
        for_teacher: in the teacher's width, (B, D, h, w).
        for_student: in the student's, (B, C, h, w); None where it is not asked for.
        teacher_again: of the teacher's latent map alone, (B, D, h, w).
        student_again: of the student's alone, with a gradient to the decoder only; None like ``for_student``.
    """

    for_teacher: Tensor
    for_student: Tensor | None
    teacher_again: Tensor
    student_again: Tensor | None


class PriorMixer(nn.Module):
    """Encoders of their own for S and T into one width, a choice of entries by mask, and a decoder for each width.

    ``Z = I * Enc_S(F_S) + (1 - I) * Enc_T(F_T)``, ``F^ = Dec(Z)`` (MiPKD, ICLR 2025, arXiv 2404.02573). That encoders
    are separate and convolutional is the paper's; two 3x3 layers with a ReLU in between are chosen here.

    Args:
        student: channels of the student's map.
        teacher: channels of the teacher's.
        width: channels of the latent map.
        both: decode to the student's width, too.
    """

    def __init__(self, student: int, teacher: int, width: int, both: bool) -> None:
        super().__init__()
        self.student_encoder = _two_layers(student, width, width)
        self.teacher_encoder = _two_layers(teacher, width, width)
        self.teacher_decoder = _two_layers(width, width, teacher)
        self.student_decoder = _two_layers(width, width, student) if both else None

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Mixed:
        """Mix two maps.

        Args:
            student: (B, C, h, w).
            teacher: (B, D, h, w).
            mask: bool, (B, width, h, w): where the latent map is the student's.
        """
        ours, theirs = self.student_encoder(student), self.teacher_encoder(teacher)
        latent = torch.where(mask, ours, theirs)
        # one pass of each decoder: the mixture, then one network's own
        for_teacher, teacher_again = self.teacher_decoder(torch.cat([latent, theirs])).chunk(2)
        if self.student_decoder is None:
            return Mixed(for_teacher, None, teacher_again, None)
        for_student, student_again = self.student_decoder(torch.cat([latent, ours.detach()])).chunk(2)
        return Mixed(for_teacher, for_student, teacher_again, student_again)


def _two_layers(before: int, middle: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, middle, 3, padding=1), nn.ReLU(), nn.Conv2d(middle, after, 3, padding=1))
