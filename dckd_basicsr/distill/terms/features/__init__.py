"""The loss terms that compare feature maps, one a file: those that S and T have inside, and those of images."""

from .affinity import AffinityTerm
from .attention import AttentionTerm
from .csd import CSDTerm
from .feature import FeatureTerm
from .fitnet import FitnetTerm
from .mclir import MCLIRTerm
from .mipkd import MiPKDTerm

__all__ = ["AffinityTerm", "AttentionTerm", "CSDTerm", "FeatureTerm", "FitnetTerm", "MCLIRTerm", "MiPKDTerm"]
