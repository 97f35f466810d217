"""The loss terms that compare feature maps of S and T, one a file."""

from .affinity import AffinityTerm
from .attention import AttentionTerm
from .feature import FeatureTerm
from .fitnet import FitnetTerm
from .mipkd import MiPKDTerm

__all__ = ["AffinityTerm", "AttentionTerm", "FeatureTerm", "FitnetTerm", "MiPKDTerm"]
