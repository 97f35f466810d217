"""Losses: a pure function per formula, and a thin class that BasicSR builds from an option file."""

from .contrastive_loss import ContrastiveLoss, contrast_terms, contrastive_ratio, mean_distances
from .distribution_loss import DistributionLoss, code_cross_entropy
from .haar_loss import HaarBands, HaarLoss, haar_bands, haar_l1, haar_step
from .psnr_loss import PSNRLoss, psnr_loss

__all__ = [
    "ContrastiveLoss",
    "DistributionLoss",
    "HaarBands",
    "HaarLoss",
    "PSNRLoss",
    "code_cross_entropy",
    "contrast_terms",
    "contrastive_ratio",
    "haar_bands",
    "haar_l1",
    "haar_step",
    "mean_distances",
    "psnr_loss",
]
