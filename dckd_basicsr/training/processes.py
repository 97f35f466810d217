"""The processes of a job: joining them under torchrun or slurm, gathering from them, and losing one."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from ..archs.buffers import writable
from ..errors import ConfigError, DCKDError, ProcessError
from .flat import by_type, joined, write

__all__ = ["DistSettings", "average", "gather", "join", "leave", "lost_process", "same_everywhere", "take_from_first"]

_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST")


@dataclass(frozen=True)
class DistSettings:
    """The block ``dist_params``.

    Attributes:
        backend: ``nccl`` for GPUs, ``gloo`` for CPUs; by default what fits. nccl without a GPU becomes gloo.
        port: slurm only: the port of rank 0, unless MASTER_PORT is set.
        timeout: minutes until a process that waits for another one gives up.
    """

    backend: Literal["nccl", "gloo"] | None = None
    port: int = 29500
    timeout: float = 30.0

    @property
    def limit(self) -> timedelta:
        """The timeout, as PyTorch takes it."""
        return timedelta(minutes=self.timeout)

    def __post_init__(self) -> None:
        if self.timeout <= 0:
            raise ValueError(f"timeout must be more than 0 minutes, got {self.timeout}")
        if not 0 < self.port < 65536:
            raise ValueError(f"port must be between 1 and 65535, got {self.port}")


def join(launcher: str, settings: DistSettings, *, gpu: bool = True) -> tuple[int, int]:
    """Join the process group of ``launcher`` (none, pytorch, slurm); ``gpu``: the run may use GPUs.

    Returns:
        rank and number of processes.

    Raises:
        ConfigError: not started by that launcher.
        ProcessError: the other processes cannot be reached.
    """
    if launcher == "none":
        return 0, 1
    if launcher == "slurm":
        _environment_from_slurm(settings.port)
    missing = [name for name in _TORCHRUN if name not in os.environ]
    if missing:
        raise ConfigError(
            f"--launcher pytorch needs what torchrun sets ({', '.join(missing)} missing); "
            "start with `torchrun --nproc_per_node=N -m dckd_basicsr train -opt FILE --launcher pytorch`, "
            "or leave the flag out"
        )
    cuda = gpu and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    backend = (settings.backend or "nccl") if cuda else "gloo"
    try:
        dist.init_process_group(backend, timeout=settings.limit)
    except (RuntimeError, ValueError) as error:
        raise ProcessError(
            f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} cannot join the others at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} ({str(error).splitlines()[0]}); check that the "
            "address is reachable from every node, that the port is free, and that all nodes were started"
        ) from error
    return dist.get_rank(), dist.get_world_size()


def _environment_from_slurm(port: int) -> None:
    """Set what torch.distributed reads from what ``srun`` sets; values that are set already win."""
    missing = [name for name in _SLURM if name not in os.environ]
    if missing:
        raise ConfigError(
            f"--launcher slurm needs what srun sets ({', '.join(missing)} missing); start with "
            "`srun --ntasks=N python -m dckd_basicsr train -opt FILE --launcher slurm`, or leave the flag out"
        )
    defaults = {
        "RANK": os.environ["SLURM_PROCID"],
        "WORLD_SIZE": os.environ["SLURM_NTASKS"],
        "LOCAL_RANK": os.environ.get("SLURM_LOCALID", "0"),
        "MASTER_PORT": str(port),
    }
    if "MASTER_ADDR" not in os.environ:
        defaults["MASTER_ADDR"] = _first_host(os.environ["SLURM_NODELIST"])
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _first_host(nodes: str) -> str:
    """Return the first host of a slurm node list such as ``gpu[03-07,12]``."""
    if "[" not in nodes:
        return nodes.split(",")[0]
    scontrol = shutil.which("scontrol")
    if scontrol is None:
        raise ConfigError(
            f"scontrol is not there to read SLURM_NODELIST={nodes}; set MASTER_ADDR to the first node's address"
        )
    done = subprocess.run([scontrol, "show", "hostnames", nodes], capture_output=True, text=True, check=False)
    hosts = done.stdout.split()
    if done.returncode or not hosts:
        raise ConfigError(
            f"`scontrol show hostnames {nodes}` failed ({done.stderr.strip()}); set MASTER_ADDR to the first node's "
            "address"
        )
    return hosts[0]


def leave() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors of one type by their means over the processes, in one exchange."""
    if not (dist.is_available() and dist.is_initialized()) or not tensors:
        return
    whole = joined(tensors)
    dist.all_reduce(whole)
    whole /= dist.get_world_size()
    write(whole, tensors)


@torch.no_grad()
def take_from_first(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by those of rank 0, in one exchange for each of their types; expanded ones stay."""
    if not (dist.is_available() and dist.is_initialized()):
        return
    for group in by_type(tensor for tensor in tensors if writable(tensor)):
        whole = joined(group)
        dist.broadcast(whole, 0)
        write(whole, group)


def gather(value: Any) -> list[Any]:
    """Return the values of all processes in the order of their ranks, on every one of them."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def same_everywhere(value: Any) -> Any:
    """Return rank 0's value on every process."""
    return gather(value)[0]


def drawn_seed() -> int:
    """Return a random run seed, the same on every process."""
    return int(same_everywhere(random.randint(1, 10000)))


def lost_process(error: BaseException) -> ProcessError | None:
    """Return the error to show if ``error`` is what a collective raises when another process is gone, else None."""
    joined = dist.is_available() and dist.is_initialized()
    if not joined or isinstance(error, DCKDError) or not isinstance(error, RuntimeError):
        return None
    text = str(error)
    signs = ("Connection closed", "Connection reset", "Broken pipe", "NCCL", "Timed out", "timed out", "gloo")
    if not isinstance(error, dist.DistError) and not any(sign in text for sign in signs):
        return None
    return ProcessError(
        f"process {dist.get_rank()} of {dist.get_world_size()} lost contact with another one, which died or was "
        f"killed ({text.splitlines()[0][:200]}); its output says why. Start the job again with --auto_resume"
    )
