"""Bad names after ``--with``, methods that contradict each other, terms by name."""

from __future__ import annotations

from pathlib import Path

from .row import TRAIN, BadInput, forced

__all__ = ["METHODS"]

METHODS = (
    BadInput(
        "method misspelt",
        f"{TRAIN} --with scrach",
        (
            "unknown method 'scrach' after --with; did you mean 'scratch'?",
            "Give the path of a YAML file, or one of: ",
        ),
    ),
    BadInput(
        "methods that contradict each other",
        f"{TRAIN} --with dckd_fading dckd",
        (
            "--with dckd dckd_fading: 1 problem",
            "train.contrastive_opt.loss_weight is 0.1 in dckd and {'type': 'cosine'",
            "say which: --force_yml train:contrastive_opt:loss_weight=0.1",
        ),
    ),
    BadInput(
        "method in the place of the option file",
        "train -opt logits",
        ("option file 'logits' is a method, which changes an option file and is none: -opt FILE --with logits",),
    ),
    BadInput(
        "option file in the place of a method",
        f"{TRAIN} --with mine.yml",
        ("option file 'mine.yml' has _base_, so it is no overlay; train it by itself (-opt mine.yml)",),
        lambda: Path("mine.yml").write_text("_base_: job.yml\nname: mine\n"),
    ),
    BadInput(
        "key misspelt in a method of one's own",
        f"{TRAIN} --with mine.yml",
        (
            "job.yml --with mine.yml: 1 problem",
            "unknown key 'loss_wieght' in train.pixel_opt (L1Loss); did you mean 'loss_weight'?",
        ),
        lambda: Path("mine.yml").write_text("train: {pixel_opt: {loss_wieght: 2}}\n"),
    ),
    BadInput(
        "option file after the names of methods",
        "config --with scratch job.yml",
        ("`basicsr config` needs an option file, before --with, which takes all names that follow it",),
    ),
    forced(
        "name of a term misspelt",
        "'train:losses={logit: {weight: 0.5}}'",
        "unknown term 'logit' in train.losses.logit; did you mean 'logits'?",
    ),
    forced(
        "option of a named term misspelt",
        "'train:losses={second: {type: pixel, weigth: 0.5}}'",
        "unknown key 'weigth' in train.losses.second (pixel); did you mean 'weight'?",
    ),
)
