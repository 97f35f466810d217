"""Stopping on SIGINT and SIGTERM where nothing is lost: after an iteration, on all processes at the same one."""

from __future__ import annotations

import signal
import threading
from datetime import timedelta
from types import FrameType, TracebackType
from typing import Any

import torch
import torch.distributed as dist

__all__ = ["StopRequest"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Listens for signals while its ``with`` block runs; :meth:`agreed` is asked once after every iteration.

    A signal may reach the processes of a job in different iterations. Each tells the others through a small reduction
    that is started after one iteration and read after the next, so nobody waits for it, and all see it together.

    A second Ctrl-C stops a run without a launcher at once. With one it does not: launchers deliver one signal twice.

    Args:
        timeout: of the processes' reductions.
    """

    def __init__(self, timeout: timedelta | None = None) -> None:
        self.signum = 0
        """The signal that came first; 0 for none."""
        self._before: dict[int, Any] = {}
        self._launched = dist.is_available() and dist.is_initialized()
        self._shared = self._launched and dist.get_world_size() > 1
        # Not the default group: on GPUs that is nccl, which would put this on the device.
        self._group: Any = dist.new_group(backend="gloo", timeout=timeout) if self._shared else None
        self._flag = torch.zeros(1, dtype=torch.int32)
        self._pending: Any = None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python forbids it
            self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._pending is not None and error is None:
            self._pending.wait()

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self.signum and signum == signal.SIGINT and not self._launched:
            raise KeyboardInterrupt
        self.signum = self.signum or signum

    def agreed(self) -> int:
        """Return the signal that all processes know of by now, or 0."""
        if not self._shared:
            return self.signum
        known = 0
        if self._pending is not None:
            self._pending.wait()
            known = int(self._flag.item())
        self._flag = torch.tensor([self.signum], dtype=torch.int32)
        self._pending = dist.all_reduce(self._flag, dist.ReduceOp.MAX, group=self._group, async_op=True)
        return known
