"""What surrounds a training step: loop, step runner, precision, processes, schedules, checkpoints, run folder."""
