"""What must hold between blocks, and what only a rule of its own can say of one; the keys themselves are `blocks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...kinds import is_own
from .channels import channel_problems, loaded_channel_problems
from .codebook import codebook_problems, files_of_codebook
from .datasets import dataset_problems
from .evaluation import evaluation_rules, is_evaluated, single_problems, size_problems
from .names import name_problems
from .numbers import number_problems
from .run import device_problems, run_rules
from .schedules import option_notes, schedule_problems
from .sizes import facts_problems, size_rules
from .teachers import teacher_problems
from .terms import files_of_terms, is_used, tap_problems, term_problems

__all__ = [
    "channel_problems",
    "dataset_problems",
    "device_problems",
    "facts_problems",
    "files_of_codebook",
    "files_of_terms",
    "is_evaluated",
    "is_used",
    "loaded_channel_problems",
    "name_problems",
    "number_problems",
    "option_notes",
    "rule_problems",
    "schedule_problems",
    "single_problems",
    "size_problems",
    "tap_problems",
]


def rule_problems(opt: Mapping[str, Any], is_train: bool) -> list[str]:
    """Return contradictions between blocks; only the package's own models have these rules."""
    if not is_own(opt.get("model_type")):
        return []
    problems = [*size_rules(opt, is_train), *evaluation_rules(opt), *teacher_problems(opt)]
    problems += codebook_problems(opt, is_train)
    return problems + ([*run_rules(opt), *term_problems(opt)] if is_train else [])
