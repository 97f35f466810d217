"""Every change to BasicSR 1.4.2 and its registries, in one place; :func:`everything` makes them all.

BasicSR's last release is of 2022. Each function below answers one trap, changes something only where it is needed,
and may be called any number of times. Upstream threads are cited as ``XPixelGroup/BasicSR#number`` where there is one.
What is put in is passed in: this module knows nothing of the rest but in :func:`everything`.
"""

from __future__ import annotations

import gc
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, TypeVar

from .errors import DatasetError, MissingBasicSR

__all__ = [
    "belongs_to_the_import",
    "everything",
    "is_done",
    "prepare_import",
    "prepare_lmdb_backend",
    "prepare_pipelines",
    "register",
    "replace_model_methods",
    "replace_parse_options",
    "replace_train_pipeline",
    "require_basicsr",
    "stock_method",
    "stock_train_pipeline",
]

T = TypeVar("T", bound=type | Callable[..., Any])

# Under which name what this package replaced is kept, where it was: this module may be imported again.
_STOCK = "_{}_before_dckd"
_RUN_FOLDERS = ("models", "training_states", "log", "visualization")


_done = False


def belongs_to_the_import() -> bool:
    """Tell whether ``import dckd_basicsr`` makes the changes: everywhere but in the command ``basicsr``.

    That is a process which has imported ``dckd_command`` first or runs ``python -m dckd_basicsr``. Its commands call
    :func:`everything` if they need BasicSR. Processes that multiprocessing starts import the command's script too,
    but then a data set of this package, without running the command: in them it does belong to the import.
    """
    package = __package__ or ""
    # While the package of `python -m PACKAGE` is imported, "-m" stands in the place of the script's path.
    run = sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)] in (package, f"-m{package}")
    return parent_process() is not None or not (run or "dckd_command" in sys.modules)


def is_done() -> bool:
    """Tell whether this process has made the changes."""
    return _done


def everything() -> None:
    """Make every change, and register all of this package; the second call in a process does nothing.

    Takes seconds: BasicSR, PyTorch and torchvision are imported here.

    Raises:
        MissingBasicSR: it is not installed.
    """
    global _done
    if _done:
        return
    require_basicsr()
    prepare_import()  # before anything of basicsr is imported
    from . import archs, codebook, config, data, distill, inference, losses, metrics, models, training  # noqa: F401
    from .commands.train import train_pipeline
    from .data import paired_lmdb_dataset, paired_patch_dataset, single_patch_dataset  # noqa: F401
    from .data.lmdb.environments import shared_environment
    from .data.lmdb.pack_id import refuse_two_packs
    from .training.stock import MODEL_METHODS

    prepare_lmdb_backend(refuse_two_packs, shared_environment)
    prepare_pipelines()
    replace_model_methods(MODEL_METHODS)
    replace_parse_options(config.parse_options)
    replace_train_pipeline(train_pipeline)
    if not belongs_to_the_import():
        gc.freeze()  # a million objects stay to the end; looking through them all once more there takes a second
    _done = True


def require_basicsr() -> None:
    """Raise MissingBasicSR where BasicSR is not installed: it is no requirement that pip knows of (see setup.py)."""
    if "basicsr" not in sys.modules and importlib.util.find_spec("basicsr") is None:
        raise MissingBasicSR(
            f"BasicSR 1.4.2 is not installed in this Python; install it with: {Path(sys.executable).name} "
            f"-m {__package__} setup"
        )


def prepare_import() -> None:
    """Make ``import basicsr`` work: provide the two modules that it imports and that are gone.

    ``basicsr.data.degradations`` imports a function from a module that torchvision 0.17 removed
    (XPixelGroup/BasicSR#663); the stand-in forwards to where it lives now. ``basicsr.archs.arch_util`` compares
    versions with Python's distutils, removed in 3.12, which setuptools brings back where it is installed. A module that
    is really there or another package's stand-in is left alone. What an ``import basicsr`` that failed before has left
    in Python's list of modules goes: it would not become part of the package again.
    """
    if "basicsr" not in sys.modules:
        for left in [module for module in sys.modules if module.startswith("basicsr.")]:
            del sys.modules[left]
    if _is_gone("torchvision.transforms.functional_tensor"):
        from torchvision.transforms import functional

        _stand_in("torchvision.transforms.functional_tensor", rgb_to_grayscale=functional.rgb_to_grayscale)
    if _is_gone("distutils"):
        from torch.torch_version import TorchVersion

        _stand_in("distutils", __path__=[])
        _stand_in("distutils.version", LooseVersion=TorchVersion)


def _is_gone(name: str) -> bool:
    return name not in sys.modules and importlib.util.find_spec(name) is None


def _stand_in(name: str, **content: Any) -> None:
    module = types.ModuleType(name, doc=f"Stand-in for {name}, which BasicSR 1.4.2 imports.")
    vars(module).update(content)
    sys.modules[name] = module


def prepare_pipelines() -> None:
    """Let BasicSR's test pipeline make the folders of a run, and no others."""
    import basicsr
    import basicsr.test
    import basicsr.utils

    for module in (basicsr, basicsr.test, basicsr.utils):
        module.make_exp_dirs = make_exp_dirs


def prepare_lmdb_backend(check_pair: Callable[[Path, Path], None], open_shared: Callable[..., Any]) -> None:
    """Let several datasets of one process read one LMDB, check pairs, and name a missing key.

    py-lmdb refuses to open a database twice in a process, which BasicSR's backend does when, for instance, two
    validation sets share one or training reads without workers what validation reads too. And ``get`` returns None
    for a missing key, on which OpenCV fails later without a name.

    Args:
        check_pair: called with the paths of a GT and an LQ database that are opened together; raises where they do not
            belong together.
        open_shared: takes a path and the options of ``lmdb.open``; returns this process's one environment of it.
    """
    from basicsr.utils.file_client import FileClient, LmdbBackend

    if getattr(FileClient._backends["lmdb"], "_shares_environments", False):
        return

    class SharedLmdbBackend(LmdbBackend):
        _shares_environments = True

        def __init__(
            self,
            db_paths: str | list[str],
            client_keys: str | list[str] = "default",
            readonly: bool = True,
            lock: bool = False,
            readahead: bool = False,
            **kwargs: Any,
        ) -> None:
            paths = [db_paths] if isinstance(db_paths, str) else [str(path) for path in db_paths]
            clients = [client_keys] if isinstance(client_keys, str) else list(client_keys)
            self.db_paths, self._client = paths, {}
            named = dict(zip(clients, paths))
            if "gt" in named and "lq" in named:
                check_pair(Path(named["gt"]), Path(named["lq"]))
            for client, path in zip(clients, paths, strict=True):
                _refuse_raw(path)
                options = {"readonly": readonly, "lock": lock, "readahead": readahead, **kwargs}
                self._client[client] = open_shared(path, **options)

        def get(self, filepath: Any, client_key: str) -> bytes:
            value = super().get(filepath, client_key)
            if value is None:
                path = self._client[client_key].path()
                raise DatasetError(
                    f"'{path}' has no image '{filepath}', although its meta_info.txt lists it; "
                    f"look at it with `basicsr prepare verify {path}` and pack it again"
                )
            return value

    FileClient._backends["lmdb"] = SharedLmdbBackend


def _refuse_raw(path: str) -> None:
    """BasicSR's readers expect image files; ``basicsr prepare --payload raw`` lists its pixels as ``KEY.raw``."""
    try:
        with Path(path, "meta_info.txt").open(encoding="utf-8") as file:
            name = file.readline().split(" ")[0]
    except (OSError, UnicodeDecodeError):
        return  # an LMDB of another make
    if name.endswith(".raw"):
        raise DatasetError(
            f"'{path}' holds raw pixels, which only PairedLMDBDataset reads; set that type, or pack the photos "
            "again with `basicsr prepare` and --payload png"
        )


def replace_parse_options(parse_options: Callable[..., tuple[dict[str, Any], Any]]) -> None:
    """Use this parser in BasicSR's pipelines: the stock one runs ``--force_yml`` values as Python code."""
    import basicsr
    import basicsr.test
    import basicsr.train
    import basicsr.utils.options

    for module in (basicsr, basicsr.train, basicsr.test, basicsr.utils.options):
        module.parse_options = parse_options


def replace_train_pipeline(train_pipeline: Callable[..., None]) -> None:
    """Let this be ``train_pipeline`` under both of BasicSR's names: the stock one cannot resume exactly.

    What ``commands/train.py`` says in detail. The stock one stays at hand as :func:`stock_train_pipeline`.
    """
    import basicsr
    import basicsr.train

    _keep(basicsr.train, "train_pipeline")
    for module in (basicsr, basicsr.train):
        module.train_pipeline = train_pipeline


def stock_train_pipeline(root_path: str | Path) -> None:
    """Train with BasicSR's own loop, unmodified, as the command line says.

    It trains this package's models too, from scratch, on datasets that give float images (``PairedImageDataset``).
    Exact resume, signals, ``keep_last`` and progressive sizes belong to the other loop.

    Args:
        root_path: ``experiments/`` and ``tb_logger/`` go below it.
    """
    import basicsr.train

    getattr(basicsr.train, _STOCK.format("train_pipeline"))(root_path)


def replace_model_methods(methods: Iterable[Callable[..., Any]]) -> None:
    """Put these into ``BaseModel``, from which every model inherits, by their names; see ``training/stock.py``.

    So BasicSR's own models too write weights and states whole, read them without unpickling, and run on CPUs.
    """
    from basicsr.models.base_model import BaseModel

    for method in methods:
        _keep(BaseModel, method.__name__)
        setattr(BaseModel, method.__name__, method)


def stock_method(name: str) -> Callable[..., Any]:
    """Return ``BaseModel``'s own method of this name, which :func:`replace_model_methods` replaced."""
    from basicsr.models.base_model import BaseModel

    method: Callable[..., Any] = getattr(BaseModel, _STOCK.format(name))
    return method


def _keep(holder: Any, name: str) -> None:
    """Keep what ``holder`` has under this name, the first time; nothing where it has none."""
    if hasattr(holder, name) and not hasattr(holder, _STOCK.format(name)):
        setattr(holder, _STOCK.format(name), getattr(holder, name))


def register(registry: Any) -> Callable[[T], T]:
    """Like ``registry.register()``, but harmless when the name is taken.

    Importing this package again replaces its own entries. A name held by another plugin stays theirs; ours is then
    found under ``NAME_dckd``, and a warning says so. (The stock registry fails with an AssertionError.)
    """

    def decorate(obj: T) -> T:
        name = obj.__name__
        held = registry._obj_map.get(name)
        if held is not None and held.__module__ != obj.__module__:
            warnings.warn(
                f"'{name}' is already registered by {held.__module__}; "
                f"dckd_basicsr's own is registered as '{name}_dckd'",
                stacklevel=2,
            )
            name = f"{name}_dckd"
        registry._obj_map[name] = obj
        return obj

    return decorate


def make_exp_dirs(opt: Mapping[str, Any]) -> None:
    """Make the run's folders, archiving an earlier run of the same name as BasicSR does.

    The stock function makes a *folder* of every entry of ``path:`` whose name it does not know, for instance of a
    weight file's path.
    """
    from basicsr.utils import mkdir_and_rename
    from basicsr.utils.dist_util import get_dist_info

    if get_dist_info()[0] != 0:
        return
    paths = opt["path"]
    mkdir_and_rename(paths["experiments_root" if opt["is_train"] else "results_root"])
    for key in _RUN_FOLDERS:
        if key in paths:
            Path(paths[key]).mkdir(parents=True, exist_ok=True)
