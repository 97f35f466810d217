"""From a teacher and a folder of photos to a finished student: what `basicsr distill` decides, writes and measures."""

from .budget import iterations_for, parse_time
from .deliver import check_formats, chosen_formats
from .held_out import HELD_OUT, choose_tiles, write_teacher_outputs, write_test_images
from .option_files import OPTIONS, check_files, has_begun, remove_measured, write_option_files
from .outcome import Outcome, measure
from .photos import Photos, find_photos, hold_out, pack_photos
from .plan import Plan, Wish, make_plan, read_plan
from .steps import hold_folder, run_basicsr

__all__ = [
    "HELD_OUT",
    "OPTIONS",
    "Outcome",
    "Photos",
    "Plan",
    "Wish",
    "check_files",
    "check_formats",
    "choose_tiles",
    "chosen_formats",
    "find_photos",
    "has_begun",
    "hold_folder",
    "hold_out",
    "iterations_for",
    "make_plan",
    "measure",
    "pack_photos",
    "parse_time",
    "read_plan",
    "remove_measured",
    "run_basicsr",
    "write_option_files",
    "write_teacher_outputs",
    "write_test_images",
]
