"""Modules of a user's own: named on the command line, or by an installed distribution."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from basicsr.utils.registry import LOSS_REGISTRY

from dckd_basicsr.errors import ConfigError
from dckd_basicsr.user_modules import import_modules, import_plugins, plugins
from tests.refusal import refused

LOSS = """
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

@LOSS_REGISTRY.register()
class {name}(nn.L1Loss):
    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
"""
FILES = {
    "__init__.py": "",
    "losses.py": LOSS.format(name="TheirLoss"),
    "broken.py": "import nothing_there",
    "wrong.py": "x = (1 +\n",
    "ends.py": "raise SystemExit(3)",
    "taken.py": "import my_package.deeper",
    "deeper.py": LOSS.format(name="L1Loss"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with a package; what a test imports or registers is gone after it."""
    (tmp_path / "my_package").mkdir()
    for name, text in FILES.items():
        (tmp_path / "my_package" / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", os.getcwd())])  # noqa: PTH109
    importlib.invalidate_caches()
    modules, losses = set(sys.modules), dict(LOSS_REGISTRY._obj_map)
    yield tmp_path
    LOSS_REGISTRY._obj_map.clear()
    LOSS_REGISTRY._obj_map.update(losses)
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_the_current_directory_comes_first_and_a_module_is_run_once(folder: Path) -> None:
    import_modules([])
    assert str(folder) not in sys.path
    import_modules(["my_package.losses", "my_package.losses"])
    assert sys.path[0] == str(folder)
    assert "TheirLoss" in LOSS_REGISTRY
    import_modules(["my_package.losses"])
    assert sys.path.count(str(folder)) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_package/losses.py", "a module's name was expected, .*; write --import my_package.losses$"),
        ("./losses.py", "write --import losses$"),
        ("losses.py", "write --import losses$"),
        ("../losses.py", "run the command in the folder that holds the module"),
        ("/a/losses.py", "run the command in the folder that holds the module"),
        ("", "a module's name was expected"),
        (
            "my_package.losses2",
            "no module 'my_package.losses2' in package 'my_package'; did you mean 'my_package.losses'",
        ),
        ("my_packag.losses", "no module 'my_packag' in '.*', and none is installed; did you mean 'my_package'"),
        ("my_package.losses.x", "no module 'my_package.losses.x' in package 'my_package.losses'$"),
        ("my_package.broken", r"its import failed with ModuleNotFoundError: .*nothing_there.*broken.py', line 1\)$"),
        ("my_package.wrong", r"its import failed with SyntaxError: .*\(wrong.py, line 1\)$"),
        ("my_package.ends", "its import failed with SystemExit: 3"),
        ("my_package.taken", r"AssertionError: An object named 'L1Loss' was already.*deeper.py', line 5\)$"),
    ],
)
def test_what_cannot_be_imported_is_one_error(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s)^--import {name}: .*{message}"):
        import_modules([name])


@pytest.mark.parametrize("command", [["train", "-opt", "x.yml"], ["test", "-opt", "x.yml"], ["config", "x.yml"]])
def test_the_commands_import_before_they_look_at_the_file(command, capsys) -> None:
    message = refused(capsys, *command, "--import", "my_package.losses", "--import", "my_package.broken")
    assert "--import my_package.broken: its import failed" in message
    assert "TheirLoss" in LOSS_REGISTRY


def distribution(folder: Path, module: str) -> None:
    info = folder / "site" / "acme_tools-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-tools\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[dckd_basicsr]\nlosses = {module}\n")
    (folder / "site" / "acme_losses.py").write_text(LOSS.format(name="AcmeLoss"))


def test_modules_of_installed_distributions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_plugins()
    assert "AcmeLoss" not in LOSS_REGISTRY
    distribution(folder, "acme_losses")
    monkeypatch.syspath_prepend(folder / "site")
    import_plugins()
    assert "AcmeLoss" in LOSS_REGISTRY
    assert [(plugin.name, plugin.value) for plugin in plugins()] == [("losses", "acme_losses")]


def test_a_broken_one_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    distribution(folder, "acme_missing")
    monkeypatch.syspath_prepend(folder / "site")
    message = refused(capsys, "config", "--schema")
    for text in ("'acme-tools'", "'acme_missing'", "'losses'", "there is no module 'acme_missing';"):
        assert text in message
    assert message.rstrip().endswith("remove it with `pip uninstall acme-tools`")
