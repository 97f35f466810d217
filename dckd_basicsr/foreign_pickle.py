"""Tensors out of a pickled training checkpoint, without running anything the file names.

Checkpoints of training frameworks hold callbacks, schedulers and configuration objects beside the weights, so
``torch.load(weights_only=True)`` refuses them whole. Here every class the file names becomes an inert placeholder,
except tensors and plain containers, whose constructors are our own.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint import check_file
from .errors import CheckpointError

__all__ = ["read_foreign_checkpoint"]

_STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


# Tensors may share storages (tied weights, views): all together may take so many times the file's size.
_COPIES = 8
_DEEPEST = 100


class _Inert:
    """Stands for any object of an unknown class: takes whatever the file does to it, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def __call__(self, *args: Any, **kwargs: Any) -> _Inert:
        return self

    def append(self, value: Any) -> None: ...

    def extend(self, values: Any) -> None: ...

    def add(self, value: Any) -> None: ...


def read_foreign_checkpoint(path: Path | str) -> Any:
    """Read a ``torch.save`` zip file (PyTorch 1.6 and later); unknown objects come out as inert placeholders.

    Raises:
        CheckpointError: missing, damaged, or written by PyTorch 1.5 or earlier.
    """
    path = Path(path)
    check_file(path, "checkpoint")
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
            if len(pickles) != 1:
                raise CheckpointError(f"'{path}' is a zip file, but not one that torch.save wrote")
            _check_size(archive, pickles[0])
            with archive.open(pickles[0]) as file:
                return _TensorUnpickler(file, archive, pickles[0].removesuffix("data.pkl")).load()
    except CheckpointError:
        raise
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"'{path}' is damaged, or was written by PyTorch 1.5 or earlier ({error}); download it again, or save it "
            "anew with a current PyTorch"
        ) from error
    except Exception as error:  # a crafted or damaged pickle can fail in any way while it is read
        raise CheckpointError(f"'{path}' cannot be read: {type(error).__name__}: {error}") from error


def _check_size(archive: zipfile.ZipFile, name: str) -> int:
    """Return a record's size. torch.save stores records as they are: one that would unpack to more is a trap."""
    record = archive.getinfo(name)
    if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
        raise pickle.UnpicklingError(f"record {name} is compressed, which torch.save never does")
    return record.file_size


# Python's own unpickler, not the one in C: a memo index of 2**31 makes that one allocate as many entries.
class _TensorUnpickler(pickle._Unpickler):
    stack: list[Any]

    def __init__(self, file: Any, archive: zipfile.ZipFile, prefix: str) -> None:
        super().__init__(file)
        self._archive = archive
        self._prefix = prefix
        self._storages: dict[str, Tensor] = {}
        self._nested: dict[int, tuple[int, Any]] = {}
        self._left = _COPIES * sum(record.file_size for record in archive.infolist())

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return self._rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _rebuild_parameter
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        return _Inert

    def limit_nesting(self) -> None:
        """Refuse tuples in tuples without end: hashing one as a key would overrun the stack and kill the process."""
        made = self.stack[-1]
        depth = 1 + max((self._nested[id(item)][0] for item in made if id(item) in self._nested), default=0)
        if depth > _DEEPEST:
            raise pickle.UnpicklingError(f"tuples are nested more than {_DEEPEST} deep")
        if made:
            self._nested[id(made)] = depth, made  # kept, so that no other object gets its id

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not str(key).isalnum():
            raise pickle.UnpicklingError(f"unknown storage {kind!r}")
        name = f"{self._prefix}data/{key}"
        if (size := _check_size(self._archive, name)) != int(count) * dtype.itemsize:
            raise pickle.UnpicklingError(f"storage {key} holds {size} bytes, expected {count} x {dtype.itemsize}")
        if size == 0:
            return torch.empty(0, dtype=dtype)
        if name not in self._storages:
            self._storages[name] = torch.frombuffer(bytearray(self._archive.read(name)), dtype=torch.uint8)
        return self._storages[name].view(dtype)

    def _rebuild_tensor(
        self, storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
    ) -> Tensor:
        # A few bytes can ask for terabytes: strides of 0 repeat one number, and one storage can be named many times.
        self._left -= math.prod(size) * storage.itemsize
        if math.prod(size) > storage.numel() or self._left < 0:
            raise pickle.UnpicklingError(f"a tensor of shape {tuple(size)} is larger than what the file holds")
        return torch.as_strided(storage, size, stride, offset).clone()


def _limited(load: Callable[[Any], None]) -> Callable[[Any], None]:
    def load_and_look(unpickler: _TensorUnpickler) -> None:
        load(unpickler)
        unpickler.limit_nesting()

    return load_and_look


_TensorUnpickler.dispatch = pickle._Unpickler.dispatch | {
    code[0]: _limited(pickle._Unpickler.dispatch[code[0]])
    for code in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)
}


def _rebuild_parameter(data: Tensor, *_: Any) -> Tensor:
    return data
