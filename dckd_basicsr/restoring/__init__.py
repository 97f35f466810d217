"""Folders of pictures through a network: which files become which, tiles by memory, reading beside the network."""

from .folder import Outcome, restore_jobs
from .jobs import Job, find_jobs, prepare_folder
from .memory import TileChoice
from .restorer import PictureRestorer

__all__ = ["Job", "Outcome", "PictureRestorer", "TileChoice", "find_jobs", "prepare_folder", "restore_jobs"]
