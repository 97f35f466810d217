"""What surrounds a training step: loop, step runner, precision, processes, schedules, checkpoints, run folder."""

from ..moved import names_of

__all__: list[str] = []

__getattr__ = names_of(__name__)
