"""The published algorithm of a DCKD step, written from its description: the reference that ours is timed against.

Float32; the negatives pass the history model one after another, the encoder sees image after image, and the outputs of
student and teacher are encoded twice, once for the contrast and once for the code distributions. The same draws, losses
and networks as :class:`dckd_basicsr.distill.DistillStep`, so that the values can be compared.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dckd_basicsr.distill import Sources
from dckd_basicsr.distill.consistency import draw_transform
from dckd_basicsr.distill.degradation import Degradation
from dckd_basicsr.losses import code_cross_entropy, contrastive_ratio

__all__ = ["published_losses"]


def published_losses(
    sources: Sources, student: nn.Module, lq: Tensor, gt: Tensor, weights: list[float], *, consistency: bool
) -> dict[str, Tensor]:
    """Return the terms of one batch by name, with gradients to the student."""
    teacher, history, encoder = sources.teachers["teacher"], sources.history, sources.encoder
    assert history is not None
    assert encoder is not None
    settings = sources.negatives
    out = student(lq)
    losses = {"l_pix": (out - gt).abs().mean()}
    with torch.no_grad():
        if consistency:
            transform = draw_transform(len(lq), sources.consistency, sources.generators, lq.device)
            consistent = transform.inverse(teacher(transform(lq)))
        target = teacher(lq)
        degrade = Degradation(settings.degradation, sources.generators)
        inputs = [degrade(lq) for _ in range(settings.num - int(settings.include_clean))]
        inputs += [lq] if settings.include_clean else []
        negatives = [history(x) for x in inputs]
    losses["l_logits"] = (out - target).abs().mean()
    student_taps, teacher_taps, *negative_taps = (
        encoder(image, taps=True, logits=False).taps for image in (out, target, *negatives)
    )
    losses["l_contrast"] = 0.1 * contrastive_ratio(student_taps, teacher_taps, negative_taps, weights)
    codes = [encoder(image, taps=False, logits=True).logits for image in (out, target)]
    losses["l_dist"] = 0.001 * code_cross_entropy(*codes)
    if consistency:
        losses["l_consist"] = (out - consistent).abs().mean()
    return losses
