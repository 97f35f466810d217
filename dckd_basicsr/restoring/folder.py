"""Many pictures through a network, in order: the next is read and the last written while one is restored."""

from __future__ import annotations

import errno
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tqdm import tqdm

from ..data.photos.encoding import drops_profile, encode_picture
from ..data.photos.pictures import Picture, read_picture
from ..errors import CheckpointError, DatasetError, Interrupted
from ..weight_files import atomic_write
from .jobs import Job
from .restorer import PictureRestorer
from .strips import strip_of

__all__ = ["Outcome", "restore_jobs"]

_AHEAD = 2
"""Pictures that may wait for the network, and as many that may wait to be written."""
_WAITING_BYTES = 512 << 20
"""What those may take together before reading goes one by one, and writing is waited for."""


@dataclass
class Outcome:
    """What became of the jobs.

    Attributes:
        restored: pictures that are written, whole.
        failed: a line for each that could not be restored.
    """

    restored: int = 0
    failed: list[str] = field(default_factory=list)


def restore_jobs(
    jobs: Sequence[Job],
    restorer: PictureRestorer,
    *,
    quality: int = 95,
    quiet: bool = False,
    overlapping: bool = True,
) -> Outcome:
    """Restore files; one that cannot be is reported on standard error, and the others go on.

    Args:
        jobs: in the order in which they are done.
        restorer: the network.
        quality: of JPEG and WebP.
        quiet: no bar and no notes; errors are printed.
        overlapping: read and write beside the network; else one after the other, for comparisons.

    Raises:
        Interrupted: by a KeyboardInterrupt, which may carry a ``signum``; what was restored is written.
        DCKDError: nothing can be written any more (no space, no permission), or the network takes no pictures.
    """
    outcome, said = Outcome(), _Saying(quiet)
    bar = tqdm(total=len(jobs), unit="image", disable=quiet or not sys.stderr.isatty())
    readers, writers = ThreadPoolExecutor(1), ThreadPoolExecutor(_AHEAD)
    writing: deque[tuple[Job, int, Future[None]]] = deque()

    def collect(most: int, waiting_bytes: int) -> None:
        """Wait until so much is still to be written."""
        while len(writing) > most or sum(size for _, size, _ in writing) > waiting_bytes:
            job, _, future = writing.popleft()
            _finish(job, future.result, outcome, said)
            bar.update()

    try:
        ahead = _AHEAD if overlapping else 0
        for job, reading in _read_ahead(jobs, restorer, readers, ahead):
            done = _attempt(job, partial(_restored, reading, restorer), outcome, said)
            if done is None:
                bar.update()
                continue
            before, after = done
            for note in after.notes:
                said.note(f"'{job.source}' {note}")
            if drops_profile(after, job.kind):
                said.note(f"'{job.source}' has a colour profile for grey pictures, which WebP does not hold: left out")
            writing.append((job, _size(after), writers.submit(_write, job, before, after, quality)))
            del done, before, after
            collect(ahead, _WAITING_BYTES if ahead else 0)
        collect(0, 0)
    except KeyboardInterrupt as stop:
        _settle(writing, outcome)
        raise Interrupted(
            f"stopped: {outcome.restored} of {len(jobs)} images are restored; the same command goes on with the others",
            getattr(stop, "signum", signal.SIGINT),
        ) from stop
    finally:
        bar.close()
        readers.shutdown(cancel_futures=True)
        writers.shutdown(cancel_futures=True)
    return outcome


def _read_ahead(
    jobs: Sequence[Job], restorer: PictureRestorer, readers: ThreadPoolExecutor, ahead: int
) -> Iterator[tuple[Job, Callable[[], Picture]]]:
    """Yield each job with what gives its picture, the next ones being read meanwhile."""
    coming = iter(jobs)
    waiting: deque[tuple[Job, Future[Picture]]] = deque()
    while True:
        while len(waiting) < 1 + (ahead if _held(waiting) < _WAITING_BYTES else 0):
            job = next(coming, None)
            if job is None:
                break
            waiting.append((job, readers.submit(read_picture, job.source, restorer.admit)))
        if not waiting:
            return
        job, future = waiting.popleft()
        yield job, future.result
        del future


def _held(waiting: deque[tuple[Job, Future[Picture]]]) -> int:
    ready = [f.result() for _, f in waiting if f.done() and not f.cancelled() and f.exception() is None]
    return sum(_size(picture) for picture in ready)


def _size(picture: Picture) -> int:
    return picture.pixels.nbytes + (0 if picture.alpha is None else picture.alpha.nbytes)


def _restored(reading: Callable[[], Picture], restorer: PictureRestorer) -> tuple[Picture, Picture]:
    picture = reading()
    return picture, restorer(picture)


def _write(job: Job, before: Picture, after: Picture, quality: int) -> None:
    data = encode_picture(after, job.kind, quality)  # type: ignore[arg-type]
    try:
        if job.strip is not None:  # first: a picture that is there is not restored again
            strip = strip_of(before, after)
            atomic_write(job.strip, lambda temporary: temporary.write_bytes(strip))
        atomic_write(job.target, lambda temporary: temporary.write_bytes(data))
    except CheckpointError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENAMETOOLONG:
            raise DatasetError(str(error)) from error  # of this picture; all else is of the disk
        raise


def _attempt(job: Job, do: Callable[[], Any], outcome: Outcome, said: _Saying) -> Any:
    """Return what ``do`` gives, or None and a line in ``outcome`` where that picture fails."""
    try:
        return do()
    except DatasetError as error:
        text = str(error)
        line = text if f"'{job.source}'" in text else f"'{job.source}': {text}"
        outcome.failed.append(line)
        said.error(line)
        return None


def _finish(job: Job, written: Callable[[], None], outcome: Outcome, said: _Saying) -> None:
    def done() -> bool:
        written()
        return True

    outcome.restored += bool(_attempt(job, done, outcome, said))


def _settle(writing: deque[tuple[Job, int, Future[None]]], outcome: Outcome) -> None:
    """Let what is restored be written; whatever fails is not counted."""
    for _, _, future in writing:
        outcome.restored += future.exception() is None


class _Saying:
    """Lines on standard error, above the bar."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def note(self, text: str) -> None:
        if not self.quiet:
            tqdm.write(f"basicsr: note: {text}", file=sys.stderr)

    def error(self, text: str) -> None:
        tqdm.write(f"basicsr: error: {text}", file=sys.stderr)
