"""Finding option files and weights that travel with the package, and saying where to get what does not."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import ConfigError, near_miss
from ..methods import METHODS, option_folders, packaged_methods

__all__ = [
    "as_path",
    "builtin_weights",
    "find_options",
    "is_there",
    "missing_file",
    "packaged_file",
    "packaged_options",
    "resolve_weights",
    "where_to_get",
]

_PACKAGE = Path(__file__).resolve().parents[1]
_BUILTIN = "builtin:"


def packaged_options() -> dict[str, Path]:
    """Return the option files that come with the package, by file name; the methods among them are no files to run."""
    return {path.name: path for folder in option_folders(_PACKAGE) for path in sorted(folder.glob("*.yml"))}


def as_path(value: str) -> Path:
    """Return a path as an option gives it, ``~`` expanded where there is such a user (pathlib fails where not)."""
    return Path(os.path.expanduser(value))  # noqa: PTH111


def is_there(path: Path, *, folder: bool = False) -> bool:
    """Tell whether there is such a file or folder; a name that no file can have is not there, rather than an OSError.

    A NUL byte or a name of thousands of characters is such a name.
    """
    return os.path.isdir(path) if folder else os.path.isfile(path)  # noqa: PTH112, PTH113


def find_options(name: str) -> Path:
    """Return the option file called ``name``: as given, else a packaged one.

    Args:
        name: a path, or the name of a packaged file with or without ``options/`` before it and ``.yml`` after it.

    Raises:
        ConfigError: no such file; names the nearest packaged one.
    """
    path = as_path(name)
    if is_there(path):
        return path
    if is_there(path, folder=True):
        raise ConfigError(f"option file '{name}' is a folder; give one of the *.yml files in it")
    packaged = packaged_options()
    found = packaged_file(path)
    if found and found.parent.name != METHODS:
        return found
    if found or path.stem in packaged_methods():
        raise ConfigError(
            f"option file '{name}' is a method, which changes an option file and is none: -opt FILE --with {path.stem}"
        )
    hint = near_miss(path.name.removesuffix(".yml"), [Path(n).stem for n in packaged])
    raise ConfigError(
        f"option file '{name}' does not exist{hint or '.'} Give a path, or one of the packaged files: "
        f"{', '.join(packaged) or 'none'}"
    )


def packaged_file(path: Path) -> Path | None:
    """Return the packaged file that a path stands for, if it has no folder of the user's own before it.

    The path is the name of an option file, or ``methods/NAME``, with or without ``options/`` before it and ``.yml``.
    """
    if path.parent in (Path(METHODS), Path("options", METHODS)):
        return packaged_methods().get(path.name.removesuffix(".yml"))
    if path.parent not in (Path(), Path("options")):
        return None
    packaged = packaged_options()
    return packaged.get(path.name) or packaged.get(f"{path.name}.yml")


def builtin_weights() -> dict[str, Path]:
    """Return the weights that ship with the package, by the name that follows ``builtin:``."""
    return {path.stem: path for path in sorted((_PACKAGE / "weights").glob("*.safetensors"))}


def resolve_weights(value: str) -> Path:
    """Return the path that an option value names: ``~`` expanded, ``builtin:NAME`` looked up. It need not exist.

    Raises:
        ConfigError: no shipped weights of that name; lists those there are.
    """
    if not value.startswith(_BUILTIN):
        return as_path(value)
    name = value.removeprefix(_BUILTIN)
    shipped = builtin_weights()
    if name not in shipped:
        hint = near_miss(name, shipped) or "."
        raise ConfigError(f"unknown weights '{value}'{hint} Shipped are: {', '.join(shipped)}")
    return shipped[name]


_MODEL_ZOO = "published EDSR weights are in BasicSR's model zoo: https://github.com/XPixelGroup/BasicSR/blob/master/docs/ModelZoo.md"
# BasicSR's option files name RCAN_BIX4-official.pth, but its zoo has no RCAN (XPixelGroup/BasicSR#747).
_RCAN = "the authors' RCAN_BIX2/3/4.pt, linked from https://github.com/yulunzhang/RCAN, load as they are under this key"
_VQGAN = (
    "download the f16, 1024-code VQGAN from https://github.com/CompVis/taming-transformers and run "
    "`basicsr convert vqgan last.ckpt pretrained/vqgan_imagenet_f16_1024.safetensors`, "
    "or set builtin:vqgan_f16_ch32_n1024, the small one that ships with this package"
)
_DATA = (
    (
        r"gopro",
        "download GoPro from https://seungjunnah.github.io/Datasets/gopro and pack it with `basicsr prepare gopro`",
    ),
    (
        r"rain13k|test100|rain100|test2800|test1200",
        "download the deraining data that https://github.com/swz30/MPRNet links and pack it with "
        "`basicsr prepare rain13k`",
    ),
    (
        r"div2k",
        "download DIV2K from https://data.vision.ee.ethz.ch/cvl/DIV2K/ and pack it with `basicsr prepare div2k`",
    ),
    (
        r"set5|set14|b100|bsds?100|urban100",
        "the benchmark.tar of https://github.com/sanghyun-son/EDSR-PyTorch holds Set5, Set14, B100 and Urban100 "
        "with HR and LR_bicubic/X2, X3, X4; unpack it so that these folders lie in datasets/",
    ),
    (r"", "pack photos of your own with `basicsr prepare sr PHOTOS OUT --scale S`"),
)
_WEIGHTS = (
    (r"vqgan", _VQGAN),
    (
        r"vgg1[69]",
        "download torchvision's file: https://download.pytorch.org/models/vgg19-dcbb9e9d.pth or vgg16-397923af.pth",
    ),
    (r"net_\w+_(\d+|latest)", "a training run writes it: `basicsr train -opt FILE`, or point to your own weights"),
    (r"edsr", _MODEL_ZOO),
    (
        r"nafnet",
        "download it from https://github.com/megvii-research/NAFNet, or train it: teacher_*_nafnet.yml",
    ),
    (r"restormer", "download it from https://github.com/swz30/Restormer/releases"),
    (r"rcan", _RCAN),
    (r"swinir", "download it from https://github.com/JingyunLiang/SwinIR/releases"),
    (r"", "paths count from the folder the command runs in; check it"),
)


def where_to_get(key: str, path: str | Path) -> str:
    """Return one line on how to get a missing file or folder.

    Args:
        key: the option key that names it, for instance ``path.pretrain_network_vqgan``.
        path: its value.

    >>> where_to_get("dataroot_gt", "photos_hr.lmdb")
    'pack photos of your own with `basicsr prepare sr PHOTOS OUT --scale S`'
    """
    if key.endswith("network_vqgan"):
        return _VQGAN
    hints = _DATA if "dataroot" in key else _WEIGHTS
    return next(hint for pattern, hint in hints if re.search(pattern, str(path), re.IGNORECASE))


def missing_file(key: str, value: str, told: set[str], kind: str = "") -> str:
    """Word a missing file, with where to get it.

    Args:
        key: the option key that names it.
        value: its value.
        told: the hints this report gave already; not repeated, and added to.
        kind: the network it is meant for.
    """
    if is_there(as_path(value), folder=True):
        return f"{key}: '{value}' is a folder; give a file"
    hint = where_to_get(key, f"{value} {kind}")
    text = f"{key}: '{value}' does not exist" + ("" if hint in told else f"; {hint}")
    told.add(hint)
    return text
