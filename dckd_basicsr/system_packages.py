"""Let a new virtual environment see the packages of another Python, and pip know them by the names it is asked for.

``venv --system-site-packages`` shows those of the interpreter at the base of all, not those of a virtual environment
that it is called from. And a package may be there under another name than the required one: another build of OpenCV,
conda's, TensorBoard's release. pip would install it once more, and without a network it would fail.

Needs the standard library alone and runs as a file, in the new environment (``make ... TORCH=system``)::

    .venv/bin/python dckd_basicsr/system_packages.py /path/to/the/other/python3
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

__all__ = ["NAMES", "main"]

NAMES = {"opencv-python": "cv2", "tb-nightly": "tensorboard"}
"""What is required under names of which others provide the same: the module that has to be there."""
_PTH = "other_python.pth"
_ASK = "import json, sysconfig; print(json.dumps([sysconfig.get_path(name) for name in ('purelib', 'platlib')]))"


def _see(python: str, into: Path) -> None:
    """Add the folders in which another Python has its packages to this one's path, after its own."""
    said = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=True).stdout
    folders = [folder for folder in dict.fromkeys(json.loads(said)) if folder not in sys.path]
    (into / _PTH).write_text("".join(f"{folder}\n" for folder in folders), encoding="utf-8")
    sys.path += folders


def _tell_pip(name: str, module: str, into: Path) -> None:
    """Note a package as installed where it is not, but its module can be imported; pip looks at nothing else."""
    try:
        metadata.version(name)
        return
    except metadata.PackageNotFoundError:
        pass
    try:
        version = importlib.import_module(module).__version__
    except Exception:  # not there, or broken: then pip installs it
        return
    folder = into / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {"METADATA": f"{head}Summary: stands for {module} of another package\n", "INSTALLER": "dckd_basicsr\n"}
    files["RECORD"] = "".join(f"{folder.name}/{file},,\n" for file in (*files, "RECORD"))
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
    print(f"{name}: {module} {version} is there")


def main(python: str) -> None:
    """Do both for the environment that runs this."""
    into = Path(sysconfig.get_path("purelib"))
    _see(python, into)
    for name, module in NAMES.items():
        _tell_pip(name, module, into)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file, whose modules are no packages of their own
    main(*sys.argv[1:])
