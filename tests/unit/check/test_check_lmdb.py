"""Option files that read LMDBs: lists of databases, weights, raw pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from basicsr.data import build_dataset

from dckd_basicsr.config import option_problems
from dckd_basicsr.config.files import file_problems
from dckd_basicsr.config.resolve import fill_defaults
from dckd_basicsr.data.paired_lmdb_dataset import PairedLMDBDataset
from dckd_basicsr.data.photos.images import encode_png
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.prepare.sets.sr import prepare_sr
from dckd_basicsr.prepare.writer import LmdbWriter
from tests.tiny import job_options, write_photos


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lmdb")
    photos = write_photos(folder / "photos", 2)
    for payload in ("png", "raw"):
        prepare_sr(photos, folder / payload, [2], crop=32, step=32, workers=0, payload=payload)
    return folder


def options(folder: Path, payload: str = "raw", **train: Any) -> dict[str, Any]:
    opt = job_options()
    roots = {"dataroot_gt": str(folder / payload / "GT.lmdb"), "dataroot_lq": str(folder / payload / "LQ_x2.lmdb")}
    opt["datasets"]["train"] |= {"type": "PairedLMDBDataset", **roots, **train}
    del opt["datasets"]["val"]
    opt["path"] = {}
    return opt


def listed(folder: Path, *payloads: str, **train: Any) -> dict[str, Any]:
    names = {"dataroot_gt": "GT.lmdb", "dataroot_lq": "LQ_x2.lmdb"}
    roots = {key: [str(folder / p / name) for p in payloads] for key, name in names.items()}
    return options(folder, **{**roots, **train})


def own_problems(opt: dict[str, Any]) -> list[str]:
    """What is wrong with the data sets; the job's weight files are not there."""
    found = [*option_problems(opt), *file_problems(opt, True)]
    return [line for line in found if "pretrain_network" not in line]


@pytest.mark.parametrize("payload", ["png", "raw"])
def test_databases_of_either_kind_pass(folder: Path, payload: str) -> None:
    assert own_problems(options(folder, payload)) == []
    assert own_problems(listed(folder, payload, "png")) == []
    assert own_problems(listed(folder, "raw", payload, weights=[1, 2.5])) == []
    assert own_problems(listed(folder, "raw", weights=[1])) == []


@pytest.mark.parametrize("kind", ["PairedImageDataset", "PairedPatchDataset"])
@pytest.mark.parametrize("model", ["DCKDModel", "SRModel"])
def test_raw_pixels_need_their_dataset(folder: Path, kind: str, model: str) -> None:
    opt = options(folder, type=kind) | {"model_type": model}
    for root in ("GT", "LQ_x2"):
        path = folder / "raw" / f"{root}.lmdb"
        assert any(
            line.startswith(f"datasets.train: '{path}' holds raw pixels, which only PairedLMDBDataset reads; set type")
            for line in own_problems(opt)
        )
    assert not any("raw pixels" in line for line in own_problems(options(folder, "png", type=kind)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [1]}, "'weights' in datasets.train has 1 numbers for 2 databases; give one for each"),
        ({"weights": [1, 0]}, "'weights' in datasets.train must be positive, got [1, 0]"),
        ({"weights": 3}, "'weights' in datasets.train must be a list of numbers or null, got 3"),
        ({"dataroot_lq": "x.lmdb"}, "datasets.train: dataroot_gt names 2 databases and dataroot_lq 1; give pairs"),
        ({"dataroot_gt": [], "dataroot_lq": []}, "dataroot_gt names 0 databases and dataroot_lq 0; give pairs"),
        ({"dataroot_gt": ["x.lmdb", 3]}, "'dataroot_gt' in datasets.train must be text or a list of text"),
        ({"io_backend": {"type": "disk"}}, "PairedLMDBDataset reads LMDBs; set io_backend: {type: lmdb}, or leave it"),
        ({"mean": [0.5, 0.5, 0.5]}, "'mean' in datasets.train would be ignored by PairedLMDBDataset; remove it"),
        ({"wieghts": [1, 1]}, "unknown key 'wieghts' in datasets.train; did you mean 'weights'?"),
        ({"type": "PairedPatchDataset"}, "datasets.train: a list of data sets needs type: PairedLMDBDataset"),
        ({"type": "PairedImageDataset", "weights": [1, 1]}, "datasets.train: weights needs type: PairedLMDBDataset"),
    ],
)
def test_mistakes(folder: Path, change: dict[str, Any], message: str) -> None:
    found = own_problems(listed(folder, "raw", "png", **change))
    assert any(message in line for line in found), found


def test_each_database_of_a_list_is_looked_at(folder: Path) -> None:
    opt = listed(folder, "raw", "gone")
    assert any(f"datasets.train.dataroot_gt: '{folder}/gone/GT.lmdb' does not exist" in x for x in own_problems(opt))
    opt = listed(folder, "raw", "png") | {"scale": 1}
    assert sum("not 1 times smaller" in line for line in own_problems(opt)) == 2


def test_weights_are_for_training(folder: Path) -> None:
    opt = options(folder)
    opt["datasets"]["val"] = {**opt["datasets"]["train"], "name": "held_out", "weights": [1]}
    assert any("'weights' in datasets.val would be ignored" in line for line in own_problems(opt))
    del opt["datasets"]["val"]["weights"]
    assert own_problems(opt) == []


def with_rest(folder: Path, scale: int = 2) -> dict[str, str]:
    """Databases as others make them of published test sets: GT 33x47, LQ the floor of half of that."""
    for name, height, width in (("GT", 33, 47), (f"LQ_x{scale}", 33 // scale, 47 // scale)):
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        with LmdbWriter(folder / f"{name}.lmdb") as writer:
            writer.put("baboon", encode_png(image), (height, width, 3))
    return {"dataroot_gt": str(folder / "GT.lmdb"), "dataroot_lq": str(folder / f"LQ_x{scale}.lmdb")}


@pytest.mark.parametrize("kind", ["PairedImageDataset", "PairedPatchDataset", "PairedLMDBDataset"])
def test_a_remainder_of_gt_is_cut_off_but_in_training(folder: Path, tmp_path: Path, kind: str) -> None:
    roots = with_rest(tmp_path)
    opt = options(folder)
    held_out = {"name": "held_out", "type": kind, **roots, "io_backend": {"type": "lmdb"}}
    opt["datasets"]["val"] = dict(held_out)
    assert own_problems(opt) == []
    found = build_dataset({**held_out, "scale": 2, "phase": "val"})[0]
    assert (found["lq"].shape, found["gt"].shape) == ((3, 16, 23), (3, 32, 46))

    opt["datasets"]["train"] |= {**roots, "type": kind, "gt_size": 16}
    message = (
        f"datasets.train: 'baboon' is 33x47 in '{roots['dataroot_gt']}' and 16x23 in '{roots['dataroot_lq']}', not 2"
    )
    assert any(message in line for line in own_problems(opt))


def test_a_test_set_of_another_scale_is_refused_by_check_and_dataset(folder: Path, tmp_path: Path) -> None:
    held_out = {"name": "held_out", "type": "PairedLMDBDataset", **with_rest(tmp_path, 4)}
    opt = options(folder)
    opt["datasets"]["val"] = dict(held_out)
    assert any("datasets.val: 'baboon' is 33x47" in line for line in own_problems(opt))
    with pytest.raises(DatasetError, match=r"'baboon' is 33x47 .* not 2 times smaller"):
        PairedLMDBDataset({**held_out, "scale": 2, "phase": "val"})


def test_models_of_basicsr_do_not_know_its_batches(folder: Path) -> None:
    opt = options(folder) | {"model_type": "SRModel"}
    message = (
        "datasets.train: PairedLMDBDataset leaves work to the model, "
        "which only DCKDModel, RestorationModel and VQGANModel do"
    )
    assert message in own_problems(opt)
    opt["datasets"] = {"val": opt["datasets"]["train"]}  # whole images are as any dataset's
    assert message.replace("train", "val") not in own_problems(opt)


def test_progressive_sizes(folder: Path) -> None:
    opt = options(folder, progressive=[[3, 16, 4], [9, 32, 2]])
    assert own_problems(opt) == []
    opt["datasets"]["train"]["progressive"] = [[3, 17, 4], [9, 32, 2]]
    assert any("progressive[0] gt_size is 17, no multiple of scale 2" in line for line in own_problems(opt))


def test_the_backend_is_filled_in(folder: Path) -> None:
    opt = listed(folder, "raw", "png")
    del opt["datasets"]["train"]["io_backend"]
    assert own_problems(opt) == []
    fill_defaults(opt, True)
    assert opt["datasets"]["train"]["io_backend"] == {"type": "lmdb"}
