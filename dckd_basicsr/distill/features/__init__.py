"""Feature maps: where they are taken, the hooks that take or replace them, their form; and features of images."""

from .feature_maps import FeatureMaps
from .positions import Place, located
from .replacement import Replacement
from .scale import has_layer_norm, unit_columns, unit_images, unit_positions
from .spatial import as_map, positions_of
from .vgg import FrozenVGG

__all__ = [
    "FeatureMaps",
    "FrozenVGG",
    "Place",
    "Replacement",
    "as_map",
    "has_layer_norm",
    "located",
    "positions_of",
    "unit_columns",
    "unit_images",
    "unit_positions",
]
