"""Data sets as published, repeated names included, from preparation to tables: every image measured, named, written."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import pytest
from basicsr.metrics import calculate_metric

from dckd_basicsr.config import find_options, load_options
from dckd_basicsr.prepare.sets.gopro import GOPRO_COUNTS
from dckd_basicsr.prepare.sets.rain13k import RAIN13K_COUNTS
from tests.e2e.given.layouts import (
    BENCHMARKS,
    RAIN_SETS,
    SCENES,
    Job,
    write_benchmarks,
    write_div2k,
    write_gopro,
    write_rain13k,
)

ITERATIONS = 2
NAFNET = ["network_g:width=4", "network_g:enc_blk_nums=[1, 1]", "network_g:dec_blk_nums=[1, 1]"]
EDSR = ["network_g:num_feat=8", "network_g:num_block=1"]
PICTURES = ["num_gpu=0", "val:save_img=true"]
SHORT = [
    f"train:total_iter={ITERATIONS}", f"val:val_freq={ITERATIONS}", "datasets:train:gt_size=16",
    "datasets:train:batch_size_per_gpu=1", "datasets:train:num_worker_per_gpu=0", "logger:use_tb_logger=false",
]  # fmt: skip
WEIGHTS = "path:pretrain_network_g=experiments/run/models/net_g_latest.pth"
VALID = (
    "{name: DIV2K, type: PairedImageDataset, dataroot_gt: DIV2K/DIV2K_valid_HR, "
    "dataroot_lq: DIV2K/DIV2K_valid_LR_bicubic/X4, filename_tmpl: '{}x4'}"
)

Sets = Mapping[str, Mapping[str, Path]]
"""Set -> name of the image -> its published ground truth."""


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def gopro(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Job:
    job = Job(tmp_path_factory.mktemp("gopro"), patch)
    write_gopro(job.folder / "GOPRO_Large")
    for part, scenes in SCENES.items():
        patch.setitem(GOPRO_COUNTS, part, sum(map(len, scenes.values())))
    job.basicsr(
        "prepare", "gopro", "GOPRO_Large", "datasets/GoPro", "--crop", "16", "--step", "16", "--workers", "0"
    )  # fmt: skip
    job.basicsr("train", "-opt", "teacher_deblur_nafnet.yml", "--force_yml", "name=run", *PICTURES, *SHORT, *NAFNET)
    job.basicsr("test", "-opt", "test_deblur_nafnet.yml", "--force_yml", "name=run", *PICTURES, *NAFNET, WEIGHTS)
    return job


@pytest.fixture(scope="module")
def rain13k(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Job:
    job = Job(tmp_path_factory.mktemp("rain13k"), patch)
    write_rain13k(job.folder / "Datasets")
    for name in RAIN13K_COUNTS:
        patch.setitem(RAIN13K_COUNTS, name, (3,) if name == "Rain13K" else (2,))
    job.basicsr("prepare", "rain13k", "Datasets", "datasets/Rain13K", "--crop", "0", "--workers", "0")
    roots = ", ".join(f"dataroot_{side.lower()}: datasets/Rain13K/Test100_{side}.lmdb" for side in ("GT", "LQ"))
    more = f"datasets:val_2={{name: Test100, type: PairedLMDBDataset, {roots}}}"
    job.basicsr(
        "train", "-opt", "teacher_derain_nafnet.yml", "--force_yml", "name=run", more, *PICTURES, *SHORT, *NAFNET
    )  # fmt: skip
    job.basicsr("test", "-opt", "test_derain_nafnet.yml", "--force_yml", "name=run", *PICTURES, *NAFNET, WEIGHTS)
    return job


@pytest.fixture(scope="module")
def sr(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Job:
    job = Job(tmp_path_factory.mktemp("sr"), patch)
    write_div2k(job.folder / "DIV2K", ["0001", "0002", "0003"], ["0801", "0802"])
    write_benchmarks(job.folder / "datasets")
    patch.setattr(sys.modules["dckd_basicsr.prepare.sets.div2k"], "_PHOTOS", 3)  # the function has the module's name
    job.basicsr(
        "prepare", "div2k", "DIV2K", "datasets/DIV2K", "--scale", "4", "--crop", "32", "--step", "32", "--workers", "0"
    )  # fmt: skip
    job.basicsr(
        "train", "-opt", "teacher_x4_edsr.yml", "--force_yml", "name=run", f"datasets:val_3={VALID}", *PICTURES,
        *SHORT, *EDSR, "datasets:train:dataset_enlarge_ratio=1",
    )  # fmt: skip
    job.basicsr(
        "test", "-opt", "test_x4_edsr.yml", "--force_yml", "name=run", f"datasets:test_5={VALID}", *PICTURES, *EDSR,
        WEIGHTS,
    )  # fmt: skip
    return job


def gopro_sets(job: Job) -> Sets:
    root = job.folder / "GOPRO_Large/test"
    frames = [(scene, frame) for scene, frames in SCENES["test"].items() for frame in frames]
    return {"GoPro": {f"{scene}/{frame}": root / scene / f"sharp/{frame}.png" for scene, frame in frames}}


def rain_sets(job: Job) -> Sets:
    root = job.folder / "Datasets/test"
    return {name: {n: root / name / f"target/{n}.png" for n in ("1", "2")} for name in RAIN_SETS}


def sr_sets(job: Job) -> Sets:
    root = job.folder / "datasets"
    sets = {s: {f"{n}x4": root / d / f"HR/{n}.png" for n in names} for s, (d, names) in BENCHMARKS.items()}
    valid = job.folder / "DIV2K/DIV2K_valid_HR"
    return {**sets, "DIV2K": {f"{n}x4": valid / f"{n}.png" for n in ("0801", "0802")}}


CASES = {
    "gopro": (gopro_sets, "test_deblur_nafnet.yml", ["GoPro"]),
    "rain13k": (rain_sets, "test_derain_nafnet.yml", ["Rain100L", "Test100"]),
    "sr": (sr_sets, "test_x4_edsr.yml", ["Set5", "Set14", "DIV2K"]),
}
"""Fixture -> its test sets, its test file, and which of the sets it validates on."""


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Job, Sets, dict[str, Any], list[str]]:
    job: Job = request.getfixturevalue(request.param)
    sets, file, validated = CASES[request.param]
    return job, sets(job), load_options(find_options(file))[0]["val"]["metrics"], validated


def measure(picture: Path, gt: Path, metrics: Mapping[str, Any]) -> dict[str, float]:
    """Measure a written picture against the published photo, cut to its size."""
    restored = cv2.imread(str(picture))
    truth = cv2.imread(str(gt))[: restored.shape[0], : restored.shape[1]]
    return {m: float(calculate_metric({"img": restored, "img2": truth}, options)) for m, options in metrics.items()}


def pictures(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_every_image_has_its_row(case) -> None:
    job, sets, metrics, _ = case
    results = json.loads((job.folder / "results/run/metrics.json").read_text())
    assert {name: sorted(found["images"]) for name, found in results.items()} == {
        name: sorted(images) for name, images in sets.items()
    }
    for name, found in results.items():
        rows = found["images"].values()
        assert f"{name}, {len(sets[name])} images: psnr" in job.log
        assert found["count"] == len(sets[name]) == len({row["psnr"] for row in rows})
        assert found["mean"] == {m: pytest.approx(sum(row[m] for row in rows) / len(rows)) for m in metrics}


def test_every_picture_lies_under_its_name_and_has_its_values(case) -> None:
    job, sets, metrics, _ = case
    folder = job.folder / "results/run/visualization"
    assert pictures(folder) == sorted(f"{name}/{image}_run.png" for name, images in sets.items() for image in images)
    results = json.loads((job.folder / "results/run/metrics.json").read_text())
    for name, images in sets.items():
        for image, gt in images.items():
            row = results[name]["images"][image]
            assert row == pytest.approx(measure(folder / name / f"{image}_run.png", gt, metrics), abs=1e-9)


def test_validation_measures_and_writes_the_same(case) -> None:
    job, sets, metrics, validated = case
    record = json.loads((job.folder / "experiments/run/validations.json").read_text())
    assert [(entry["iteration"], entry["dataset"]) for entry in record] == [(ITERATIONS, name) for name in validated]
    folder = job.folder / "experiments/run/visualization"
    expected = {
        name: {image: folder / name / image / f"{Path(image).name}_{ITERATIONS}.png" for image in sets[name]}
        for name in validated
    }
    found = [str(path.relative_to(folder)) for images in expected.values() for path in images.values()]
    assert pictures(folder) == sorted(found)
    for entry in record:
        name = entry["dataset"]
        rows = [measure(path, sets[name][image], metrics) for image, path in expected[name].items()]
        assert entry["metrics"] == {m: pytest.approx(sum(row[m] for row in rows) / len(rows)) for m in metrics}


def test_validation_while_training_keeps_photos_of_one_name_apart(sr: Job) -> None:
    """And so does the run that goes on from there: it names the images of its records again."""
    twins = sr.folder / "twins"
    twins.mkdir()
    for i, name in enumerate(("a.png", "a.jpg", "b.png")):
        cv2.imwrite(str(twins / name), cv2.imread(str(sr.folder / "DIV2K/DIV2K_train_HR/0001.png"))[: 20 + i])
    command = [
        "train", "-opt", "teacher_x4_edsr.yml", "--auto_resume", "--force_yml", "name=twins",
        "datasets:val_3={name: twins, type: SingleImageDataset, dataroot_lq: twins}", *PICTURES, *SHORT, *EDSR,
        "datasets:train:dataset_enlarge_ratio=1",
    ]  # fmt: skip
    for iterations in (ITERATIONS, 2 * ITERATIONS):
        sr.basicsr(*command, f"train:total_iter={iterations}")
        pictures_of = pictures(sr.folder / "experiments/twins/visualization/twins")
        assert f"a.png/a.png_{iterations}.png" in pictures_of
        assert f"a.jpg/a.jpg_{iterations}.png" in pictures_of
        assert f"b/b_{iterations}.png" in pictures_of


def test_a_folder_of_photos_alone_is_upscaled(sr: Job) -> None:
    """With the test file as it comes: metrics on, pictures off."""
    photos = sr.folder / "photos"
    photos.mkdir()
    for i, name in enumerate(("holiday.jpg", "holiday.png", "cat.v2.jpg")):
        cv2.imwrite(str(photos / name), cv2.imread(str(sr.folder / "DIV2K/DIV2K_train_HR/0001.png"))[: 20 + i])
    log = sr.basicsr(
        "test", "-opt", "test_x4_edsr.yml", "--force_yml", "name=mine", "num_gpu=0", *EDSR, WEIGHTS,
        "datasets={test_1: {name: photos, type: SingleImageDataset, dataroot_lq: photos}}",
    )  # fmt: skip
    folder = sr.folder / "results/mine/visualization/photos"
    written = {path.name: cv2.imread(str(path)).shape[:2] for path in folder.iterdir()}
    assert written == {
        "holiday.jpg_mine.png": (80, 320),
        "holiday.png_mine.png": (84, 320),
        "cat.v2_mine.png": (88, 320),
    }
    said = "photos: 3 of 3 images have no ground truth; psnr, ssim cannot be measured of them, their restored images"
    assert log.count(said) == 1
    assert not (sr.folder / "results/mine/metrics.json").exists()
