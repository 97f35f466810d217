"""Losses: a pure function per formula, and a thin class that BasicSR builds from an option file."""

from .contrastive_loss import ContrastiveLoss, contrast_terms, contrastive_ratio
from .distribution_loss import DistributionLoss, code_cross_entropy

__all__ = ["ContrastiveLoss", "DistributionLoss", "code_cross_entropy", "contrast_terms", "contrastive_ratio"]
