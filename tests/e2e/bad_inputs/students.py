"""From a teacher to a student and to restored photos: `distill`, `export`, `restore`, `profile`."""

from __future__ import annotations

from pathlib import Path

import torch

from .row import BadInput, forced

__all__ = ["STUDENTS"]

_DISTILL = "distill teacher.pth photos -o small"
_EXPORT = "export teacher.pth -o files"
_RESTORE = "restore photos -o restored --weights teacher.pth"


def _stranger() -> None:
    torch.save({"params": {"who.knows": torch.ones(3)}}, "stranger.pth")


def _alone() -> None:
    Path("alone").mkdir()
    Path("alone/photo.png").write_bytes(Path("photos/photo0.png").read_bytes())


def _begun() -> None:
    Path("small").mkdir()
    Path("small/plan.json").write_text("{", encoding="utf-8")


STUDENTS = (
    BadInput(
        "a teacher that nobody knows",
        "distill stranger.pth photos -o small",
        (
            "stranger.pth",
            "no network known here or to spandrel",
            "1 tensor under 'params', first keys: who.knows; no known",
        ),
        _stranger,
    ),
    BadInput("a misspelt student", f"{_DISTILL} --student span-x", ("no student 'span-x'; did you mean 'span-",)),
    BadInput(
        "a student of another scale",
        f"{_DISTILL} --student nafnet-16",
        ("nafnet-16 is made for scale 1, and this is scale 2", "compact-s"),
    ),
    BadInput("a misspelt method", f"{_DISTILL} --method logit", ("no method 'logit'; did you mean 'logits'",)),
    BadInput(
        "a method whose file is not there",
        f"{_DISTILL} --method csd_vgg",
        ("method csd_vgg", "vgg19-dcbb9e9d.pth' does not exist", "torchvision's file"),
    ),
    BadInput("a teacher of another scale", f"{_DISTILL} --scale 4", ("--scale is 4", "upscales by 2")),
    BadInput("a time without a unit", f"{_DISTILL} --time 30", ("90s, 30m, 2h or 1h30m, got '30'",)),
    BadInput("neither photos nor pairs", "distill teacher.pth -o small", ("PHOTOS, or --pairs LQ GT",)),
    BadInput("one photo to distil on", "distill teacher.pth alone -o small", ("at least 2 are needed",), _alone),
    BadInput("an unknown format of a student", f"{_DISTILL} --to onx", ("'onx' to export to; did you mean 'onnx'",)),
    BadInput("a project's plan that is damaged", _DISTILL, ("plan.json' is damaged", "give another one"), _begun),
    BadInput("an unknown format to export", f"{_EXPORT} --to onx", ("'onx'", "onnx")),
    BadInput(
        "a folder that is no run to export", "export photos -o files", ("'photos' is no folder of a run", "options.yml")
    ),
    BadInput("photos to restore that are not there", _RESTORE.replace("photos", "fotos", 1), ("fotos",)),
    forced(
        "a network of spandrel that is misspelt",
        "network_g:type=spandrel:SPANN",
        "unknown network 'spandrel:SPANN' in network_g; did you mean 'spandrel:SPAN'?",
    ),
    BadInput("a misspelt network to profile", "profile compact-z", ("compact-z", "compact-")),
)
