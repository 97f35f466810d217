"""Feature maps: where they are taken, and the hooks that take them; and a network that measures images."""

from .feature_maps import FeatureMaps
from .positions import Place, located
from .vgg import FrozenVGG

__all__ = ["FeatureMaps", "FrozenVGG", "Place", "located"]
