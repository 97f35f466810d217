"""Each change to BasicSR 1.4.2, and that all of them are made by whichever way the package comes in."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY, Registry

import dckd_basicsr
from dckd_basicsr import install, moved
from dckd_basicsr.errors import DatasetError


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_basicsr_imports_and_the_stand_in_works():
    from torchvision.transforms.functional_tensor import rgb_to_grayscale

    grey = rgb_to_grayscale(torch.ones(1, 3, 2, 2))
    torch.testing.assert_close(grey, torch.full((1, 1, 2, 2), 0.9999), atol=2e-4, rtol=0)


def test_basicsr_compares_versions_where_distutils_is_gone(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "distutils" else find(name, *rest)
    )
    for name in [name for name in sys.modules if name.split(".")[0] == "distutils"]:
        monkeypatch.delitem(sys.modules, name)
    modules = dict(sys.modules)
    install.prepare_import()
    try:
        from distutils.version import LooseVersion

        assert LooseVersion("0.29.1+cpu") >= LooseVersion("0.9.0")
        assert not LooseVersion("0.8.2") >= LooseVersion("0.9.0")
        assert LooseVersion.__module__.startswith("torch")
    finally:
        for name in set(sys.modules) - set(modules):
            del sys.modules[name]


def test_a_present_functional_tensor_is_left_alone():
    out = python(
        """
        import sys, types
        theirs = types.ModuleType("torchvision.transforms.functional_tensor")
        theirs.rgb_to_grayscale = "theirs"
        sys.modules[theirs.__name__] = theirs
        import dckd_basicsr
        print(sys.modules[theirs.__name__].rgb_to_grayscale)
        """
    )
    assert out.strip() == "theirs"


def test_an_import_of_basicsr_that_failed_before_does_no_harm():
    out = python(
        """
        try:
            import basicsr
        except ModuleNotFoundError as error:
            print(error.name)
        import dckd_basicsr, basicsr, basicsr.train
        from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY
        print("DCKDModel" in MODEL_REGISTRY, "RealESRGANDataset_basicsr" in DATASET_REGISTRY)
        print(basicsr.train.train_pipeline is basicsr.train_pipeline, basicsr.train_pipeline.__module__)
        """
    )
    *_, registered, pipeline = out.splitlines()
    assert registered == "True True"
    assert pipeline == "True dckd_basicsr.commands.train"


def test_importing_twice_is_harmless():
    before = {name: obj for name, obj in ARCH_REGISTRY if name == "VQGAN"}
    module = importlib.import_module("dckd_basicsr.archs.networks.vqgan_arch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            importlib.reload(module)
            importlib.reload(dckd_basicsr)
        finally:
            ARCH_REGISTRY._obj_map.update(before)
            module.VQGAN = before["VQGAN"]
    assert "VQGAN_dckd" not in ARCH_REGISTRY


def test_a_name_held_by_another_plugin_stays_theirs():
    registry = Registry("test")

    class Theirs:
        __module__ = "another.plugin"

    class Ours:
        pass

    Theirs.__name__ = Ours.__name__ = "Net"
    registry.register(Theirs)
    with pytest.warns(UserWarning, match="'Net' is already registered by another.plugin"):
        install.register(registry)(Ours)
    assert registry.get("Net") is Theirs
    assert registry.get("Net_dckd") is Ours


def test_import_after_another_plugin_filled_the_registries():
    out = python(
        """
        import sys, types, warnings
        from torchvision.transforms import functional
        name = "torchvision.transforms.functional_tensor"
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].rgb_to_grayscale = functional.rgb_to_grayscale
        from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY
        @ARCH_REGISTRY.register()
        class VQGAN: pass
        with warnings.catch_warnings(record=True):
            import dckd_basicsr
        print(ARCH_REGISTRY.get("VQGAN").__module__, "VQGAN_dckd" in ARCH_REGISTRY, "DCKDModel" in MODEL_REGISTRY)
        """
    )
    assert out.split() == ["__main__", "True", "True"]


def test_what_is_replaced_is_replaced_under_every_name():
    """``basicsr/__init__.py`` copies the names of its modules."""
    import basicsr
    import basicsr.test
    import basicsr.train
    import basicsr.utils.options

    assert basicsr.train_pipeline is basicsr.train.train_pipeline is dckd_basicsr.commands.train.train_pipeline
    assert basicsr.test_pipeline is basicsr.test.test_pipeline
    assert basicsr.parse_options is basicsr.utils.options.parse_options is dckd_basicsr.config.parse_options
    assert basicsr.make_exp_dirs is basicsr.utils.make_exp_dirs is install.make_exp_dirs


def test_the_stock_loop_outlives_another_import(tmp_path):
    out = python(
        f"""
        import sys
        import dckd_basicsr
        import basicsr.train
        for name in [name for name in sys.modules if name.split(".")[0] == "dckd_basicsr"]:
            del sys.modules[name]
        import dckd_basicsr.install
        assert basicsr.train_pipeline is dckd_basicsr.commands.train.train_pipeline
        basicsr.train.parse_options = lambda root, is_train: sys.exit(f"the stock loop, in {{root}}")
        try:
            dckd_basicsr.install.stock_train_pipeline({str(tmp_path)!r})
        except SystemExit as stop:
            print(stop)
        """
    )
    assert out.strip() == f"the stock loop, in {tmp_path}"


REGISTERED = """
    from basicsr.utils import registry
    import basicsr.train
    from basicsr.models.base_model import BaseModel
    names = {
        "model": ["DCKDModel", "RestorationModel", "VQGANModel"],
        "arch": [
            "Bicubic", "NAFNet", "PatchDiscriminator", "PretrainedNet", "Restormer", "TeacherAggregation", "VQGAN",
        ],
        "loss": ["ContrastiveLoss", "DistributionLoss", "HaarLoss", "PSNRLoss", "VGGFeatureLoss"],
        "dataset": ["PairedLMDBDataset", "PairedPatchDataset", "SinglePatchDataset"],
        "metric": ["calculate_psnr_y_rounded", "calculate_ssim_3d", "calculate_ssim_y_rounded"],
    }
    for kind, expected in names.items():
        held = getattr(registry, f"{kind.upper()}_REGISTRY")
        ours = {name for name, obj in held if obj.__module__.startswith("dckd_basicsr.")}
        assert ours == set(expected), (kind, ours)
    assert basicsr.train.train_pipeline.__module__ == "dckd_basicsr.commands.train"
    assert BaseModel.save_network.__module__ == "dckd_basicsr.training.stock"
    assert dckd_basicsr.models.DCKDModel is registry.MODEL_REGISTRY.get("DCKDModel")
    print("all there")
"""


@pytest.mark.parametrize(
    "start",
    [
        "import dckd_basicsr, dckd_command",
        """
    import sys
    import dckd_command
    import dckd_basicsr
    assert "torch" not in sys.modules and not dckd_basicsr.install.is_done()
    dckd_basicsr.install.everything()
    """,
    ],
    ids=["by import", "by a command"],
)
def test_everything_is_registered(start):
    assert python(textwrap.dedent(start) + textwrap.dedent(REGISTERED)).splitlines()[-1] == "all there"


def test_a_process_of_multiprocessing_registers_everything(monkeypatch):
    """A spawned worker of a data loader imports the command's script, but then reads data sets of BasicSR."""
    monkeypatch.setitem(sys.modules, "dckd_command", object())
    assert not install.belongs_to_the_import()
    monkeypatch.setattr(install, "parent_process", lambda: object())
    assert install.belongs_to_the_import()


@pytest.mark.parametrize(
    ("argv", "line", "by_import"),
    [
        (["-m", "train"], ["python", "-X", "dev", "-m", "dckd_basicsr", "train"], False),
        (["-m"], ["python", "-mdckd_basicsr"], False),
        (["-m", "dckd_basicsr"], ["python", "-m", "other", "dckd_basicsr"], True),
        (["script.py", "-m"], ["python", "script.py", "-m"], True),
        ([], ["python"], True),
    ],
)
def test_the_command_is_told_by_its_command_line(monkeypatch, argv, line, by_import):
    monkeypatch.delitem(sys.modules, "dckd_command", raising=False)
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", line)
    assert install.belongs_to_the_import() is by_import


def test_names_of_version_0_1_say_where_they_are_now():
    with pytest.raises(ImportError, match=r"'load_weights' is looked for in dckd_basicsr\.weight_files"):
        from dckd_basicsr.checkpoint import load_weights  # noqa: F401
    with pytest.raises(ImportError, match=r"dckd_basicsr\.install"):
        _ = dckd_basicsr.compat.register
    with pytest.raises(ImportError, match=r"dckd_basicsr\.training .*dckd_basicsr\.inference"):
        from dckd_basicsr.runtime import tiling  # noqa: F401
    with pytest.raises(ImportError, match=r"from basicsr\.train import train_pipeline"):
        from dckd_basicsr.training import train_pipeline  # noqa: F401
    assert not hasattr(dckd_basicsr.compat, "__wrapped__")  # asked of all modules by tools
    assert not hasattr(dckd_basicsr.training, "anything_else")
    # asked of all modules for what says no module: so the compiler's cache pickles, and compiles nothing where it fails
    assert pickle.whichmodule(object(), "torch") == "__main__"


def test_only_run_folders_are_made(tmp_path):
    root = tmp_path / "run"
    paths = {"experiments_root": str(root), "models": str(root / "models"), "teacher_file": str(root / "teacher.pth")}
    install.make_exp_dirs({"is_train": True, "path": paths})
    assert [p.name for p in root.iterdir()] == ["models"]
    install.make_exp_dirs({"is_train": True, "path": paths})
    assert len(list(tmp_path.glob("run_archived_*"))) == 1


def lmdb_with(folder: Path, **images: bytes) -> str:
    import lmdb

    with lmdb.open(str(folder), map_size=1 << 20) as environment, environment.begin(write=True) as transaction:
        for key, value in images.items():
            transaction.put(key.encode(), value)
    return str(folder)


def test_one_lmdb_serves_two_clients(tmp_path):
    from basicsr.utils import FileClient

    path = lmdb_with(tmp_path / "a.lmdb", x=b"1")
    first = FileClient("lmdb", db_paths=[path], client_keys=["gt"])
    second = FileClient("lmdb", db_paths=[path, path], client_keys=["lq", "gt"])
    assert first.get("x", "gt") == second.get("x", "lq") == second.get("x", "gt") == b"1"


def test_a_missing_image_is_named(tmp_path):
    from basicsr.utils import FileClient

    client = FileClient("lmdb", db_paths=[lmdb_with(tmp_path / "b.lmdb", x=b"1")], client_keys=["gt"])
    with pytest.raises(DatasetError, match=r"b\.lmdb.*no image 'y'.*basicsr prepare verify"):
        client.get("y", "gt")


@pytest.mark.parametrize("room", moved._WRITTEN)
def test_the_error_of_a_name_of_an_earlier_version_says_what_to_write(room):
    package = importlib.import_module(f"dckd_basicsr.{room}")
    for name, statement in moved._WRITTEN[room].items():
        module, _, advised = statement.removeprefix("from ").partition(" import ")
        there = vars(importlib.import_module(module))  # what it advises works
        assert all(each in there for each in advised.split(", "))
        with pytest.raises(ImportError, match=re.escape(f"write `{statement}`")):
            getattr(package, name)
    with pytest.raises(AttributeError, match="has no attribute 'never_there'"):
        _ = package.never_there
