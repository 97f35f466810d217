"""The loss terms that compare feature maps, one a file: those that S and T have inside, and those of images."""

from .affinity import AffinityTerm
from .attention import AttentionTerm
from .csd import CsdTerm
from .feature import FeatureTerm
from .fitnet import FitnetTerm
from .mclir import MclirTerm
from .mipkd import MiPKDTerm

__all__ = ["AffinityTerm", "AttentionTerm", "CsdTerm", "FeatureTerm", "FitnetTerm", "MclirTerm", "MiPKDTerm"]
