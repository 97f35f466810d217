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

from ..errors import CheckpointError
from ..weight_files import check_file

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
_MOST_DIMENSIONS = 64


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
                return _TensorUnpickler(file, archive, pickles[0].removesuffix("data.pkl"), path.stat().st_size).load()
    except CheckpointError:
        raise
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"'{path}' is damaged, or was written by PyTorch 1.5 or earlier ({error}); download it again, or save it "
            "anew with a current PyTorch"
        ) from error
    except Exception as error:  # a crafted or damaged pickle can fail in any way while it is read
        raise CheckpointError(f"'{path}' cannot be read: {type(error).__name__}: {str(error)[:200]}") from error


def _check_size(archive: zipfile.ZipFile, name: str) -> int:
    """Return a record's size. torch.save stores records as they are: one that would unpack to more is a trap."""
    record = archive.getinfo(name)
    if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
        raise pickle.UnpicklingError(f"record {name} is compressed, which torch.save never does")
    return record.file_size


# Python's own unpickler, not the one in C: a memo index of 2**31 makes that one allocate as many entries.
class _TensorUnpickler(pickle._Unpickler):
    """What a file can have done here: make plain containers, tensors of what it holds, and inert placeholders.

    A tensor is never called, iterated, indexed, added to or given a state: a few bytes could ask any of that for
    gigabytes. Sizes are compared with the file's before they are made.
    """

    stack: list[Any]
    metastack: list[list[Any]]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]

    def __init__(self, file: Any, archive: zipfile.ZipFile, prefix: str, size: int) -> None:
        super().__init__(file)
        self._archive = archive
        self._prefix = prefix
        self._storages: dict[str, Tensor] = {}
        self._nested: dict[int, tuple[int, int, Any]] = {}
        self._size = self._unread = size  # of the whole file: what its index says of its parts may be anything
        self._left = _COPIES * size

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _ordered
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return self._rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _rebuild_parameter
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        return _Inert

    def limit_nesting(self) -> None:
        """Refuse tuples in tuples without end: hashing one as a key would overrun the stack and kill the process.

        And tuples that hold one another twice, and so on: hashing one visits every path.
        """
        made = self.stack[-1]
        inner = [self._nested[id(item)] for item in made if id(item) in self._nested]
        depth = 1 + max((found[0] for found in inner), default=0)
        visits = len(made) + sum(found[1] for found in inner)
        if depth > _DEEPEST:
            raise pickle.UnpicklingError(f"tuples are nested more than {_DEEPEST} deep")
        if visits > self._size:
            raise pickle.UnpicklingError("tuples spell out to more values than the file has bytes")
        if made:
            self._nested[id(made)] = depth, visits, made  # kept, so that no other object gets its id

    def persistent_load(self, pid: Any) -> Tensor:
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and isinstance(pid[1], torch.dtype)):
            raise pickle.UnpicklingError("unknown kind of storage")
        _, dtype, key, _, count = pid
        if not (isinstance(key, str) and key.isalnum()) or type(count) is not int:
            raise pickle.UnpicklingError("a storage needs a name of letters and digits, and a whole number of values")
        name = f"{self._prefix}data/{key}"
        if (size := _check_size(self._archive, name)) != count * dtype.itemsize:
            raise pickle.UnpicklingError(f"storage {key} holds {size} bytes, not as many as it says")
        if size == 0:
            return torch.empty(0, dtype=dtype)
        if name not in self._storages:
            self._unread -= size
            if self._unread < 0:
                raise pickle.UnpicklingError("the storages are together larger than the file")
            self._storages[name] = torch.frombuffer(bytearray(self._archive.read(name)), dtype=torch.uint8)
        return self._storages[name].view(dtype)

    def _rebuild_tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        if not (isinstance(storage, Tensor) and storage.dim() == 1 and _are_counts(size) and _are_counts(stride)):
            raise pickle.UnpicklingError("a tensor is described by something other than a storage and whole numbers")
        if len(size) != len(stride) or not _are_counts((offset,)):
            raise pickle.UnpicklingError("a tensor's size and strides do not go together")
        # A few bytes can ask for terabytes: strides of 0 repeat one number, and one storage can be named many times.
        count = math.prod(size)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride)) if count else 0
        self._left -= count * storage.itemsize
        if count > storage.numel() or last >= max(1, storage.numel()) or self._left < 0:
            raise pickle.UnpicklingError("a tensor is larger than what the file holds")
        return torch.as_strided(storage, size, stride, offset if count else 0).clone()

    # --- the codes of a pickle that do something to what was made before

    def load_bytearray8(self) -> None:
        length = int.from_bytes(self.read(8), "little")
        if length > self._size:
            raise pickle.UnpicklingError("an array of bytes is longer than the file")
        self.append(bytearray(self.read(length)))

    def load_reduce(self) -> None:
        made, arguments = self.stack[-2], self.stack.pop()
        if not isinstance(arguments, tuple) or not callable(made):
            raise pickle.UnpicklingError("something is called that cannot be, or with something other than a tuple")
        self.stack[-1] = made(*arguments)

    def load_new(self, codes: int) -> None:
        del self.stack[len(self.stack) - codes :]  # the arguments
        made = self.stack.pop()
        self.append(OrderedDict() if made is _ordered else _Inert())

    def load_build(self) -> None:
        # A state dict's own state is its metadata, and a placeholder has none.
        self.check_target(OrderedDict, self.stack[-2])
        self.stack.pop()

    def check_target(self, kind: type, target: Any) -> None:
        """Refuse what would do something to anything else than a container of this kind, or a placeholder."""
        if not isinstance(target, kind | _Inert):
            raise pickle.UnpicklingError(f"a {type(target).__name__} is changed as no checkpoint of torch.save does it")


def _limited(load: Callable[[Any], None]) -> Callable[[Any], None]:
    def load_and_look(unpickler: _TensorUnpickler) -> None:
        load(unpickler)
        unpickler.limit_nesting()

    return load_and_look


def _refuse(unpickler: _TensorUnpickler) -> None:
    raise pickle.UnpicklingError("it uses codes that torch.save never writes")


def _into(kind: type, load: Callable[[Any], None], below: int | None) -> Callable[[Any], None]:
    """Return a handler that fills a container which lies ``below`` so many values, or (None) below the last mark."""

    def look_and_load(unpickler: _TensorUnpickler) -> None:
        unpickler.check_target(kind, unpickler.metastack[-1][-1] if below is None else unpickler.stack[-1 - below])
        load(unpickler)

    return look_and_load


_PLAIN = pickle._Unpickler.dispatch
_REFUSED = (pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.INST, pickle.OBJ, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER)
_TensorUnpickler.dispatch = (
    _PLAIN
    | {code[0]: _refuse for code in _REFUSED}
    | {
        code[0]: _limited(_PLAIN[code[0]])
        for code in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.FROZENSET)
    }
    | {
        code[0]: _into(kind, _PLAIN[code[0]], below)
        for code, kind, below in (
            (pickle.APPEND, list, 1),
            (pickle.APPENDS, list, None),
            (pickle.SETITEM, dict, 2),
            (pickle.SETITEMS, dict, None),
            (pickle.ADDITEMS, set, None),
        )
    }
    | {
        pickle.BYTEARRAY8[0]: _TensorUnpickler.load_bytearray8,
        pickle.REDUCE[0]: _TensorUnpickler.load_reduce,
        pickle.NEWOBJ[0]: lambda unpickler: unpickler.load_new(1),
        pickle.NEWOBJ_EX[0]: lambda unpickler: unpickler.load_new(2),
        pickle.BUILD[0]: _TensorUnpickler.load_build,
    }
)


def _are_counts(values: Any) -> bool:
    """Tell whether these are whole numbers from 0 to what an address can be; long integers take time to multiply."""
    return (
        isinstance(values, tuple)
        and len(values) <= _MOST_DIMENSIONS
        and all(type(value) is int and 0 <= value < 2**63 for value in values)
    )


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _ordered(pairs: Any = ()) -> OrderedDict[Any, Any]:
    """Make an ordered dictionary; of a list of pairs in Python 2's manner, of nothing in ours."""
    if not isinstance(pairs, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
        raise pickle.UnpicklingError("a dictionary is made of something other than pairs")
    return OrderedDict(pairs)
