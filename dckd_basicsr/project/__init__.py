"""From a teacher and a folder of photos to a finished student: what `basicsr distill` decides, writes and measures."""

from .budget import iterations_for, parse_time
from .deliver import check_formats, chosen_formats
from .held_out import HELD_OUT, write_teacher_outputs
from .option_files import OPTIONS, has_begun, write_option_files
from .outcome import Outcome, measure
from .photos import Photos, choose_photos, pack_photos
from .plan import Plan, Wish, make_plan, read_plan
from .steps import run_basicsr

__all__ = [
    "HELD_OUT",
    "OPTIONS",
    "Outcome",
    "Photos",
    "Plan",
    "Wish",
    "check_formats",
    "choose_photos",
    "chosen_formats",
    "has_begun",
    "iterations_for",
    "make_plan",
    "measure",
    "pack_photos",
    "parse_time",
    "read_plan",
    "run_basicsr",
    "write_option_files",
    "write_teacher_outputs",
]
