"""What surrounds a training step: loop, step runner, precision, processes, schedules, checkpoints, run folder."""

from typing import Any

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    if name == "train_pipeline":  # where version 0.1 had it
        raise ImportError(f"{__name__}.train_pipeline is no more: write `from basicsr.train import train_pipeline`")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
