"""The table of bad inputs: what a user has got wrong, the command, and what the message must say.

``python -m tests.e2e.bad_inputs`` prints ``docs/reference/messages.md`` from it; ``test_bad_inputs.py`` runs every row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .configs import CONFIGS
from .databases import DATABASES
from .evaluation import EVALUATION
from .files import FILES
from .photos import PHOTOS
from .row import BadInput
from .runs import RUNS
from .students import STUDENTS
from .weights import WEIGHTS

__all__ = ["GROUPS", "ROWS", "BadInput"]

GROUPS: Mapping[str, Sequence[BadInput]] = {
    "Option files and overrides": CONFIGS,
    "Files that an option file names": FILES,
    "Databases": DATABASES,
    "Validation and test sets": EVALUATION,
    "Photos and `basicsr prepare`": PHOTOS,
    "Weights": WEIGHTS,
    "Runs, checkpoints, processes": RUNS,
    "Students and restored photos": STUDENTS,
}
ROWS = tuple(row for rows in GROUPS.values() for row in rows)
