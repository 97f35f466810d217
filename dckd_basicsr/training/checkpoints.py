"""The checkpoints of a run: which are complete, which is the newest, which may go.

A checkpoint of iteration N is ``models/*_N.*`` and ``training_states/N.state``. Each file is written atomically, and
``training_states/N.complete`` last: it lists them with their sizes and SHA-256 sums. So a checkpoint without it, or
with a file that is not what it says, was interrupted or damaged, and an older one is taken.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Iterable
from pathlib import Path

from ..errors import CheckpointError
from ..weight_files import atomic_write, load_training_state

__all__ = ["Checkpoints"]

_LOG = logging.getLogger("basicsr")
_BLOCK = 1 << 20


class Checkpoints:
    """The checkpoints under an experiment folder.

    Args:
        run: the folder that holds ``models`` and ``training_states``.
    """

    def __init__(self, run: Path | str) -> None:
        self.run = Path(run)
        self.states = self.run / "training_states"
        self.models = self.run / "models"

    def iterations(self) -> list[int]:
        """Return the iterations that have a training state, ascending, complete or not."""
        return sorted(int(path.stem) for path in self.states.glob("*.state") if path.stem.isdigit())

    def state(self, iteration: int) -> Path:
        """Return the path of a training state."""
        return self.states / f"{iteration}.state"

    def complete(self, iteration: int) -> None:
        """Declare a checkpoint complete: every file of it is on disk.

        Raises:
            CheckpointError: the marker cannot be written.
        """
        files = {str(path.relative_to(self.run)): _identity(path) for path in self._files(iteration)}
        text = json.dumps({"iteration": iteration, "files": files}, indent=1)
        atomic_write(self._marker(iteration), lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def problem(self, iteration: int) -> str:
        """Return what is wrong with a checkpoint, or an empty string if it is complete."""
        try:
            listed = json.loads(self._marker(iteration).read_text(encoding="utf-8"))["files"]
        except FileNotFoundError:
            return "saving it was interrupted"
        except (OSError, ValueError, KeyError, TypeError):
            return f"{self._marker(iteration).name} is damaged"
        for name, identity in listed.items():
            path = self.run / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != identity["bytes"] or _identity(path) != identity:
                return f"{name} is not what was saved"
        return ""

    def newest(self) -> Path | None:
        """Return the state of the newest complete checkpoint, or None if there is no state at all.

        Says which newer ones were passed over. A folder without any marker was written by stock BasicSR, or the run
        ended between its first state and the marker: there the newest state that can be read is taken.

        Raises:
            CheckpointError: there are states, but none that could be gone on from.
        """
        iterations = self.iterations()
        marked = any(self.states.glob("*.complete"))
        problems = []
        for iteration in reversed(iterations):
            problem = self.problem(iteration) if marked else self._unreadable(iteration)
            if not problem:
                return self.state(iteration)
            problems.append(f"{iteration} ({problem})")
            _LOG.warning("The checkpoint of iteration %d is not complete: %s", iteration, problem)
        if problems:
            raise CheckpointError(
                f"no checkpoint in '{self.run}' can be gone on from: iteration {', '.join(problems[:4])}; restore the "
                "files, or start afresh without --auto_resume, which archives the folder"
            )
        return None

    def _unreadable(self, iteration: int) -> str:
        try:
            load_training_state(self.state(iteration))
        except CheckpointError as error:
            return str(error)
        return ""

    def keep_last(self, count: int, current: int) -> None:
        """Remove what is older than the ``count`` newest complete checkpoints up to ``current``, which is kept."""
        done = [i for i in self.iterations() if i <= current and self._marker(i).is_file()]
        for iteration in done[:-count]:
            self._remove([self._marker(iteration), *self._files(iteration)])  # the marker first: half is not whole
        for folder in (self.states, self.models):
            self._remove(folder.glob(".*.tmp-*"))

    def set_aside(self, after: int) -> Path | None:
        """Move the checkpoints beyond an iteration that a run goes on from into a folder of their own.

        They belong to another continuation of the run, or are damaged; left here, they would be taken for newer ones.

        Returns:
            The folder, or None if there were none.
        """
        later = [i for i in self.iterations() if i > after]
        if not later:
            return None
        kept = self.run / f"set_aside_{time.strftime('%Y%m%d_%H%M%S')}"
        for iteration in later:
            for path in [self._marker(iteration), *self._files(iteration)]:
                if path.is_file():
                    target = kept / path.relative_to(self.run)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    path.rename(target)
        return kept

    def weights(self, iteration: int, label: str = "net_g") -> Path:
        """Return the path of a network's weights."""
        return self.models / f"{label}_{iteration}.pth"

    def _marker(self, iteration: int) -> Path:
        return self.states / f"{iteration}.complete"

    def _files(self, iteration: int) -> list[Path]:
        named = re.compile(rf"net_\w+_{iteration}\.(pth|safetensors)")
        weights = [path for path in sorted(self.models.glob("*")) if named.fullmatch(path.name)]
        return [*weights, *([self.state(iteration)] if self.state(iteration).is_file() else [])]

    @staticmethod
    def _remove(paths: Iterable[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)


def _identity(path: Path) -> dict[str, int | str]:
    """Return size and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be read ({error})") from error
    return {"bytes": size, "sha256": digest.hexdigest()}
