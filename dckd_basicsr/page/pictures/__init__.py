"""Pictures: where they are found, which part of them is worth showing, and how they stand in a page."""

from .scenes import Restored, Scene, make_scene
from .sources import GT, LQ, Pictures, gather_pictures

__all__ = ["GT", "LQ", "Pictures", "Restored", "Scene", "gather_pictures", "make_scene"]
