"""Reading weights without unpickling code, and writing files that are either whole or absent."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from .disk import flush_folder, free_mib, temporary_in
from .errors import CheckpointError, near_miss

__all__ = [
    "Weights",
    "atomic_write",
    "check_file",
    "load_into",
    "load_state",
    "load_training_state",
    "load_weights",
    "misfits",
    "save_state",
    "write_safetensors",
]

_LOG = logging.getLogger("basicsr")
_SHOWN = 4
_COPIES = 8  # tensors may share storages (tied weights, views): they may be so many times the file's size together
# How torch.load begins some of its reasons, and how it names what it refuses ("... GLOBAL builtins.exec was not ...").
_ENFORCED = re.compile(r"\[enforce fail at [^\]]*\][ .]*")
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")

# Names under which published files keep the state dict, in the order they are tried, also inside each other.
_NETWORKS = ("netG", "net_g", "generator", "G", "model", "net", "network")
_WRAPPERS = (
    *("params_ema", "params-ema", "g_ema", "state_dict_ema", "ema_state_dict", "model_state_dict_ema"),
    *(*(f"{name}_ema" for name in _NETWORKS), "ema_model", "ema_net", "ema"),
    *("params", "state_dict", "model_state_dict"),
    *_NETWORKS,
)
_NESTED = 3  # {"state": {"model": {"state_dict": ...}}} and no deeper: a file may hold itself


@dataclass(frozen=True)
class Weights:
    """A state dict read from a file (float32, CPU).

    Attributes:
        state: tensors by name.
        config: what a safetensors file carries under that name, if it is a mapping. Files of this package have the
            network's block there, other programs write what they like.
        entry: where in the file the state dict was: ``params``, ``model.state_dict``; empty for the file itself.
    """

    state: dict[str, Tensor]
    config: Mapping[str, Any] | None = None
    entry: str = ""


def load_state(path: Path | str, *, what: str = "checkpoint") -> Any:
    """Load a ``torch.save`` file with ``weights_only=True`` on the CPU.

    Raises:
        CheckpointError: the file is missing, truncated, or holds objects other than tensors and plain containers.
    """
    path = Path(path)
    check_file(path, what)
    _check_archive(path, what)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Of PyTorch's page of text, which advises to switch the protection off, only the name of the object is of use.
        named = _GLOBAL.search(str(error))
        found = f"the Python object {named[1]}" if named else "something other than tensors"
        raise CheckpointError(
            f"{what} '{path}' was refused: it is damaged, no PyTorch file, or holds {found}. Only tensors and plain "
            "containers are read; copy or download the file again, or save its state dict alone"
        ) from error
    except Exception as error:  # a damaged or crafted file can fail in any way while it is read
        first = _ENFORCED.sub("", str(error)).strip().split("\n")[0] or type(error).__name__
        reason = first.split(". ")[0]  # PyTorch goes on about its internals
        raise CheckpointError(
            f"{what} '{path}' is damaged or not a PyTorch file ({reason}); copy or download it again"
        ) from error


def _check_archive(path: Path, what: str) -> None:
    """Refuse an archive that unpacks to far more than the file; torch.save itself never compresses."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            held = sum(record.file_size for record in archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return  # damaged: PyTorch's reader tells
    size = path.stat().st_size
    if held > _COPIES * size:
        raise CheckpointError(
            f"{what} '{path}' has {size} bytes and unpacks to {held}; it is damaged or made to harm, download it again"
        )


def _check_size(tensors: Iterable[Tensor], path: Path, what: str) -> None:
    """Refuse tensors that would take far more memory than the file does, once their values are converted."""
    # Strides of 0, which become memory then; values of 8 and 16 bits, which become float32.
    described = sum(v.numel() * max(v.element_size(), 4 * v.is_floating_point()) for v in tensors)
    size = path.stat().st_size
    if described > _COPIES * size:
        raise CheckpointError(
            f"{what} '{path}' has {size} bytes and describes tensors of {described}; it is damaged or made to "
            "harm, download it again"
        )


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in containers, of each container once: a file may hold itself."""
    waiting, seen = [value], set()
    while waiting:
        found = waiting.pop()
        if isinstance(found, Tensor):
            yield found
        elif isinstance(found, Mapping | list | tuple | set) and id(found) not in seen:
            seen.add(id(found))
            waiting.extend(found.values() if isinstance(found, Mapping) else found)


def load_training_state(path: Path | str) -> dict[str, Any]:
    """Read a training state (``*.state``); tensors stay on the CPU: optimizers move theirs to their parameters.

    Raises:
        CheckpointError: it is missing, damaged, or something else.
    """
    state = load_state(path, what="training state")
    keys = {"iter", "epoch", "optimizers", "schedulers"}
    if not (isinstance(state, Mapping) and keys <= state.keys() and isinstance(state["iter"], int)):
        raise CheckpointError(f"'{path}' is not a BasicSR training state (*.state with epoch, iter, optimizers)")
    _check_size(_tensors(state), Path(path), "training state")
    return dict(state)


def check_file(path: Path, what: str) -> None:
    """Raise CheckpointError unless ``path`` is a file with something in it; ``what`` it is, for the message."""
    try:
        folder, file, size = path.is_dir(), path.is_file(), path.stat().st_size if path.is_file() else 0
    except OSError as error:  # no permission on the way, or a name longer than names can be
        raise CheckpointError(f"{what} '{path}' cannot be read ({error.strerror})") from error
    if folder:
        raise CheckpointError(f"{what} '{path}' is a folder; a file was expected")
    if not file:
        raise CheckpointError(f"{what} '{path}' does not exist")
    if size == 0:
        raise CheckpointError(f"{what} '{path}' is empty; copy or download it again")


def load_weights(path: Path | str, param_key: str | None = None, *, search: bool = False) -> Weights:
    """Read network weights from ``.safetensors`` or a ``torch.save`` file; floating tensors become float32.

    Args:
        path: the file.
        param_key: the entry that holds the state dict. If the file has none of that name but ``params``, that is
            taken (BasicSR's rule). None tries ``params_ema``, ``params``, ``state_dict``, ``netG``, ``generator``,
            ``model`` and the like, then the file itself.
        search: go on as for None if there is no such entry.

    Raises:
        CheckpointError: missing, damaged, refused, or without such an entry.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    state, entry = _unwrap(load_state(path, what="weight file"), path, param_key, search)
    tensors = {str(k).removeprefix("module."): v for k, v in state.items() if isinstance(v, Tensor)}
    if not tensors:
        raise CheckpointError(f"weight file '{path}' holds no tensors; a network's state dict was expected")
    _check_size(tensors.values(), path, "weight file")
    return Weights({k: _float32(v) for k, v in tensors.items()}, entry=entry)


def _load_safetensors(path: Path) -> Weights:
    check_file(path, "weight file")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            state = {key: _float32(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"weight file '{path}' is not a readable safetensors file ({error}); copy or download it again"
        ) from error
    return Weights(state, _config(metadata.get("config", "")))


def _config(text: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None


def _unwrap(loaded: Any, path: Path, param_key: str | None, search: bool) -> tuple[Mapping[str, Any], str]:
    """Return the state dict that a file holds, and the name of its entry."""
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"weight file '{path}' holds a {type(loaded).__name__}; a state dict was expected")
    if param_key is not None and not (search and not {param_key, "params"} & loaded.keys()):
        wanted = param_key if param_key in loaded else "params"
        if wanted not in loaded:
            names = [str(k) for k in loaded]
            raise CheckpointError(
                f"weight file '{path}' has no entry '{param_key}'{near_miss(param_key, names) or '.'} It holds: "
                f"{', '.join(names[:6]) or 'nothing'}. Set the matching param_key, or null if the file is the state "
                "dict itself"
            )
        if not isinstance(loaded[wanted], Mapping):
            raise CheckpointError(
                f"weight file '{path}': entry '{wanted}' is a {type(loaded[wanted]).__name__}, a state dict was "
                "expected. Set the matching param_key, or null if the file is the state dict itself"
            )
        return loaded[wanted], wanted
    entries: list[str] = []
    while len(entries) < _NESTED and (found := _wrapper(loaded)) is not None:
        entries.append(found)
        loaded = loaded[found]
    return loaded, ".".join(entries)


def _wrapper(loaded: Mapping[str, Any], nested: int = _NESTED) -> str | None:
    """Name the entry in which the state dict is, if it is in one: one of the known, or the only one there is."""
    names = dict.fromkeys([*_WRAPPERS, *(loaded if len(loaded) == 1 else ())])
    return next(
        (name for name in names if isinstance(name, str) and _holds_weights(loaded.get(name), nested - 1)), None
    )


def _holds_weights(value: Any, nested: int) -> bool:
    """Whether this is a state dict, or holds one; an average may be numbers alone, how often it was taken and such."""
    if not isinstance(value, Mapping):
        return False
    weights = any(isinstance(each, Tensor) and each.dim() for each in value.values())
    return weights or (nested > 0 and _wrapper(value, nested) is not None)


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def misfits(net: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Return how ``state`` differs from what ``net`` holds, in keys and shapes: one text per kind, [] if it fits."""
    own = net.state_dict()
    missing = [key for key in own if key not in state]
    additional = [key for key in state if key not in own]
    misshaped = [
        f"{key} is {tuple(state[key].shape)} in the file and {tuple(own[key].shape)} in the network"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    return [
        f"{len(found)} {what}: {', '.join(found[:_SHOWN])}{', ...' if len(found) > _SHOWN else ''}"
        for what, found in (("missing", missing), ("not in the network", additional), ("of another shape", misshaped))
        if found
    ]


def load_into(net: nn.Module, state: Mapping[str, Tensor], path: Path | str, *, strict: bool = True) -> None:
    """Load ``state`` (read from ``path``) into ``net``.

    Args:
        net: the bare network.
        state: tensors by name.
        path: for messages.
        strict: refuse missing, additional and differently shaped entries; otherwise load what fits and log the rest.

    Raises:
        CheckpointError: something does not fit and ``strict``, or nothing fits at all; lists the first few of each
            kind.
    """
    own = net.state_dict()
    fit = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    problems = misfits(net, state)
    if own and not fit:
        strict = True  # weights of another network: training on from chance is not what was asked for
    if problems and strict:
        raise CheckpointError(
            f"the weights in '{path}' do not fit {type(net).__name__}:\n  - "
            + "\n  - ".join(problems)
            + "\nCheck the network's options (widths, blocks, scale) or the path"
        )
    if problems:
        _LOG.warning("%s loaded in part from %s: %s", type(net).__name__, path, "; ".join(problems))
    net.load_state_dict(fit, strict=False)


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary)`` beside ``path``, flush it to disk, then rename: readers see the old or the new file.

    Nothing that fails leaves a temporary file or a changed ``path``.

    Raises:
        CheckpointError: the file cannot be written: no space, no permission, no such folder, a name that is too long.
    """
    temporary = temporary_in(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        flush_folder(path.parent)
    except (OSError, RuntimeError, SafetensorError) as error:  # PyTorch reports a full disk as a RuntimeError
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            raise CheckpointError(
                f"'{path}' cannot be written: the name has {len(os.fsencode(path.name))} bytes, the path "
                f"{len(os.fsencode(path.absolute()))}, and one of them is too long for this disk; shorten it"
            ) from error
        raise CheckpointError(
            f"'{path}' cannot be written ({str(error).splitlines()[0]}; {free_mib(path.parent)} MiB free there); "
            "make room or check the folder's permissions; what was there is unchanged"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def save_state(state: Mapping[str, Any], path: Path | str) -> None:
    """Write a ``torch.save`` file atomically. Raises as :func:`atomic_write` does."""
    atomic_write(Path(path), lambda temporary: torch.save(dict(state), temporary))


def write_safetensors(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file; equal tensors and metadata give equal bytes, as those of its own ``save_file`` do not.

    Args:
        state: contiguous tensors that share no memory.
        path: the file.
        metadata: for its header, where they are sorted.
    """
    data = save(dict(state), dict(metadata))
    start = 8 + int.from_bytes(data[:8], "little")
    told = json.loads(data[8:start])
    told["__metadata__"] = dict(sorted(metadata.items()))  # another order in each process
    header = json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)  # values are aligned
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.write(memoryview(data)[start:])
