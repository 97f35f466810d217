"""Feature maps: where they are taken, and the hooks that take them."""

from .feature_maps import FeatureMaps
from .positions import Place, located

__all__ = ["FeatureMaps", "Place", "located"]
