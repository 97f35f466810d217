"""Pictures: where they are found, which part of them is worth showing, and how they stand in a page."""

from .gathering import comparison_pictures
from .scenes import Restored, Scene, make_scene
from .sources import GT, LQ, Pictures, gather_pictures

__all__ = [
    "GT",
    "LQ",
    "Pictures",
    "Restored",
    "Scene",
    "comparison_pictures",
    "gather_pictures",
    "make_scene",
]
