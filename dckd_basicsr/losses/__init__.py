"""Losses: a pure function per formula, and a thin class that BasicSR builds from an option file."""

from .contrastive_loss import ContrastiveLoss, contrast_terms, contrastive_ratio, mean_distances
from .distribution_loss import DistributionLoss, code_cross_entropy
from .psnr_loss import PSNRLoss, psnr_loss

__all__ = [
    "ContrastiveLoss",
    "DistributionLoss",
    "PSNRLoss",
    "code_cross_entropy",
    "contrast_terms",
    "contrastive_ratio",
    "mean_distances",
    "psnr_loss",
]
