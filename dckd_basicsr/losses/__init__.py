"""Losses: a pure function per formula, and a thin class that BasicSR builds from an option file."""

from .adversarial import adaptive_weight, hinge_of_discriminator, hinge_of_generator
from .contrastive_loss import ContrastiveLoss, contrast_terms, contrastive_ratio, mean_distances
from .distribution_loss import DistributionLoss, code_cross_entropy
from .feature_distance import feature_distance
from .haar_loss import HaarBands, HaarLoss, haar_bands, haar_l1, haar_step
from .psnr_loss import PSNRLoss, psnr_loss
from .quantization import code_figures, commitment_loss

__all__ = [
    "ContrastiveLoss",
    "DistributionLoss",
    "HaarBands",
    "HaarLoss",
    "PSNRLoss",
    "adaptive_weight",
    "code_cross_entropy",
    "code_figures",
    "commitment_loss",
    "contrast_terms",
    "contrastive_ratio",
    "feature_distance",
    "haar_bands",
    "haar_l1",
    "haar_step",
    "hinge_of_discriminator",
    "hinge_of_generator",
    "mean_distances",
    "psnr_loss",
]
