"""A pass over a set: the table does not depend on batches, processes or tiles, and is in the set's order."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
from pathlib import Path

import cv2
import pytest
import torch

from dckd_basicsr.errors import ConfigError, DatasetError
from dckd_basicsr.inference import measuring, validation
from tests.benchmarks.validation import WAYS, main
from tests.held_out import HeldOut, image_loader, trained
from tests.tiny import METRICS

SIZES = [(20, 30), (18, 25), (20, 30), (30, 20), (20, 30), (18, 25), (20, 30)]


@contextlib.contextmanager
def logged(caplog):
    """Let ``caplog`` see BasicSR's log, which does not reach the root logger."""
    log = logging.getLogger("basicsr")
    level = log.level
    log.addHandler(caplog.handler)
    log.setLevel(logging.INFO)
    yield
    log.removeHandler(caplog.handler)
    log.setLevel(level)


def table(folder, sizes=SIZES, **val):
    model = trained(folder, **val)
    model.nondist_validation(image_loader(sizes), "measured", None, val.get("save_img", False))
    found = json.loads((folder / "metrics.json").read_text())["held_out"]
    assert model.metric_results == found["mean"]
    return found["images"]


def assert_same(ours, theirs):
    assert list(ours) == list(theirs)  # names, in order
    for name, values in theirs.items():
        assert ours[name]["psnr"] == pytest.approx(values["psnr"], abs=1e-3)
        assert ours[name]["ssim"] == pytest.approx(values["ssim"], abs=1e-5)


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory):
    return table(tmp_path_factory.mktemp("one"))


def test_every_image_in_order(one_by_one):
    assert list(one_by_one) == [f"img{i:02}" for i in range(7)]
    assert len({values["psnr"] for values in one_by_one.values()}) == 7


@pytest.mark.parametrize("batch", [2, 3, 16])
def test_batches_give_the_same_table(tmp_path, one_by_one, batch):
    assert_same(table(tmp_path, batch=batch), one_by_one)


def test_batches_hold_images_of_one_size(tmp_path):
    model, seen = trained(tmp_path, batch=3), []
    model.net_g.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    model.nondist_validation(image_loader(SIZES), "measured", None, False)
    assert seen == [(3, 3, 20, 30), (2, 3, 18, 25), (1, 3, 30, 20), (1, 3, 20, 30)]


@pytest.mark.parametrize("world", [2, 3, 8])  # shares of unequal length, and one without any image
@pytest.mark.parametrize("batch", [1, 2])
def test_processes_give_the_same_table(tmp_path, monkeypatch, one_by_one, world, batch):
    shares = []
    for rank in range(world):
        model = trained(tmp_path, batch=batch)
        model.opt |= {"rank": rank, "world_size": world}
        monkeypatch.setattr(validation, "gather", lambda own: shares.append(own) or [own])
        model.dist_validation(image_loader(SIZES), "measured", None, False)
    assert len(shares) == world
    monkeypatch.setattr(validation, "gather", lambda own: shares)
    model = trained(tmp_path, batch=batch)
    model.dist_validation(image_loader(SIZES), "measured", None, False)
    ours = json.loads((tmp_path / "metrics.json").read_text())["held_out"]["images"]
    if batch == 1:
        assert ours == one_by_one  # to the bit
    assert_same(ours, one_by_one)


def test_tiles_with_enough_overlap_give_the_same_table(tmp_path, one_by_one):
    """EDSR's reach, by its convolutions: head, two per block, after the blocks, before and after the upsampler."""
    assert_same(table(tmp_path, tile={"size": 19, "overlap": 16, "batch": 4}), one_by_one)


def test_self_ensemble_with_batches_and_tiles(tmp_path, one_by_one):
    ensembled = table(tmp_path, self_ensemble=True)
    assert all(ensembled[name]["psnr"] != values["psnr"] for name, values in one_by_one.items())
    assert_same(table(tmp_path, self_ensemble=True, batch=2), ensembled)
    assert_same(table(tmp_path, self_ensemble=True, batch=2, tile={"size": 19, "overlap": 16}), ensembled)


def test_images_are_written_under_their_own_names(tmp_path):
    for batch in (1, 4):
        table(tmp_path / str(batch), save_img=True, batch=batch)
    for i, (height, width) in enumerate(SIZES):
        one, four = (
            cv2.imread(str(tmp_path / batch / f"images/held_out/img{i:02}_measured.png")).astype(int) for batch in "14"
        )
        assert one.shape == (2 * height, 2 * width, 3)
        assert abs(one - four).max() <= 1  # a value between two numbers may be rounded either way
        assert (one != four).mean() < 1e-3


SCENES = [f"GOPR0384_11_{scene}/{frame:06}" for scene in ("00", "05", "10") for frame in (1, 2)]


@pytest.mark.parametrize("batch", [1, 4])
def test_frame_numbers_that_repeat_over_scenes_are_images_of_their_own(tmp_path, caplog, batch):
    """An LMDB's keys, as `basicsr prepare gopro` writes them."""
    sizes = [(20, 30)] * 6
    model = trained(tmp_path, batch=batch)
    with logged(caplog):
        model.nondist_validation(image_loader(sizes, paths=SCENES), "measured", None, True)
    assert "held_out, 6 images: psnr" in caplog.text
    found = json.loads((tmp_path / "metrics.json").read_text())["held_out"]
    assert list(found["images"]) == SCENES
    assert found["count"] == 6
    assert len({values["psnr"] for values in found["images"].values()}) == 6
    assert found["mean"]["psnr"] == pytest.approx(sum(v["psnr"] for v in found["images"].values()) / 6)
    pictures = tmp_path / "images/held_out"
    written = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png"))
    assert written == sorted(f"{name}_measured.png" for name in SCENES)


def test_two_images_of_one_name_are_an_error(tmp_path):
    model = trained(tmp_path)
    loader = image_loader([(20, 30)] * 3, paths=["a.png", "b.png", "a.png"])
    with pytest.raises(DatasetError, match="dataset 'held_out': images 1 and 3 are both called 'a'"):
        model.nondist_validation(loader, "measured", None, False)
    assert not (tmp_path / "metrics.json").exists()


def test_images_without_ground_truth_are_written_and_the_others_measured(tmp_path, caplog):
    gt = [True, False, True, False]
    model = trained(tmp_path, batch=2)
    with logged(caplog):
        for _ in range(2):
            model.nondist_validation(image_loader([(20, 30)] * 4, gt), "measured", None, False)
    found = json.loads((tmp_path / "metrics.json").read_text())["held_out"]
    assert list(found["images"]) == ["img00", "img02"]
    assert found["count"] == 2
    assert model.metric_results == found["mean"]
    assert {path.name for path in (tmp_path / "images/held_out").iterdir()} == {
        "img01_measured.png",
        "img03_measured.png",
    }
    said = "held_out: 2 of 4 images have no ground truth; psnr, ssim cannot be measured of them, their restored images"
    assert caplog.text.count(said) == 1


def test_a_picture_that_cannot_be_written_is_told_with_its_image(tmp_path):
    model = trained(tmp_path)
    loader = image_loader([(20, 30)] * 2, paths=["fine.png", f"{'n' * 251}.png"])
    with pytest.raises(DatasetError, match=r"'held_out': image 'n+': its picture cannot .*which has 264 bytes"):
        model.nondist_validation(loader, "measured", None, True)
    assert (tmp_path / "images/held_out/fine_measured.png").is_file()


def test_a_metric_that_needs_no_ground_truth_is_measured_without(tmp_path):
    metrics = {**METRICS, "niqe": {"type": "calculate_niqe", "crop_border": 0}}
    model = trained(tmp_path, metrics=metrics)
    model.nondist_validation(image_loader([(100, 100)] * 2, [True, False]), "measured", None, False)
    found = json.loads((tmp_path / "metrics.json").read_text())["held_out"]
    assert [sorted(values) for values in found["images"].values()] == [["niqe", "psnr", "ssim"], ["niqe"]]
    assert found["mean"]["psnr"] == found["images"]["img00"]["psnr"]
    assert found["mean"]["niqe"] == pytest.approx(sum(v["niqe"] for v in found["images"].values()) / 2)


@pytest.mark.parametrize(
    ("metric", "size", "says"),
    [
        ("psnr", (2, 9), "image 'img01' has 4x18 px, and val.metrics.psnr (calculate_psnr, crop_border 2) needs at"),
        ("ssim", (7, 9), "image 'img01' has 14x18 px, and val.metrics.ssim (calculate_ssim, crop_border 2) needs at"),
    ],
)
def test_an_image_too_small_to_be_measured_is_named(tmp_path, metric, size, says):
    model = trained(tmp_path, metrics={metric: METRICS[metric]})
    with pytest.raises(DatasetError) as caught:
        model.nondist_validation(image_loader([(20, 30), size, (20, 30)]), "measured", None, False)
    assert says in str(caught.value)
    assert "take small images out of the set, or lower crop_border" in str(caught.value)
    assert not (tmp_path / "metrics.json").exists()


def test_a_value_that_is_no_number_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "calculate_metric", lambda pair, options: float("nan"))
    with pytest.raises(DatasetError, match=r"'img00' \(40x60 px\): val\.metrics\.psnr .* is not a number; look at"):
        table(tmp_path)


def test_a_ground_truth_of_another_size_is_named(tmp_path):
    loader = image_loader([(20, 30)])
    loader.dataset.samples[0]["gt"] = loader.dataset.samples[0]["gt"][:, :38]
    with pytest.raises(DatasetError, match="image 'img00' is restored to 40x60 px, but its ground truth has 38x60"):
        trained(tmp_path).nondist_validation(loader, "measured", None, False)


def test_what_a_metric_refuses_is_named(tmp_path, monkeypatch):
    def refuse(pair, options):
        raise DatasetError("the rounded Y channel is of uint8 images")

    monkeypatch.setattr(measuring, "calculate_metric", refuse)
    with pytest.raises(DatasetError, match=r"dataset 'held_out': image 'img00': val\.metrics\.psnr: the rounded Y"):
        table(tmp_path)


def test_without_ground_truth_images_are_written_and_nothing_is_measured(tmp_path):
    model = trained(tmp_path, metrics=None, batch=2)
    model.nondist_validation(image_loader(SIZES, gt=False), "measured", None, True)
    assert len(list((tmp_path / "images/held_out").iterdir())) == 7
    assert not (tmp_path / "metrics.json").exists()


def test_measuring_runs_beside_the_network_and_its_errors_surface(tmp_path, monkeypatch):
    threads = set()

    def failing(pair, options):
        threads.add(threading.current_thread())
        raise ValueError("no such pair")

    monkeypatch.setattr(measuring, "calculate_metric", failing)
    with pytest.raises(ValueError, match="no such pair"):
        table(tmp_path)
    assert len(threads) == 1
    assert threading.main_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)


def test_an_image_is_measured_while_the_next_is_restored(tmp_path, monkeypatch):
    """The first measurement waits until the second image has reached the network."""
    model, restored, waited = trained(tmp_path), [], []
    second = threading.Event()

    def count(*_):
        restored.append(None)
        if len(restored) == 2:
            second.set()

    def patient(pair, options):
        waited.append(second.wait(timeout=20))
        return 1.0

    model.net_g.register_forward_pre_hook(count)
    monkeypatch.setattr(measuring, "calculate_metric", patient)
    model.nondist_validation(image_loader([(8, 8)] * 3), "measured", None, False)
    assert all(waited)
    assert len(waited) == 3 * 2  # two metrics


def test_ground_truth_stays_off_the_device(tmp_path):
    model, fed = trained(tmp_path), []
    feed = model.feed_data
    model.feed_data = lambda data: fed.append(set(data)) or feed(data)
    model.nondist_validation(image_loader([(20, 30)]), "measured", None, False)
    assert fed == [{"lq", "lq_path"}]


def test_progress_on_a_terminal_counts_images(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    model = trained(tmp_path, batch=4, pbar=True)
    model.nondist_validation(image_loader(SIZES), "measured", None, False)
    assert "/7 [" in capsys.readouterr().err  # of how many, time passed and time left
    model.opt["rank"] = 1
    model.nondist_validation(image_loader(SIZES), "measured", None, False)
    assert "/7 [" not in capsys.readouterr().err


def test_the_model_stays_in_its_mode(tmp_path):
    model = trained(tmp_path)
    for training in (True, False):
        model.net_g.train(training)
        model.feed_data({"lq": HeldOut([(8, 8)]).samples[0]["lq"][None]})
        model.test()
        assert model.net_g.training is training
        assert isinstance(model.output, torch.Tensor)


def test_a_bad_tile_names_its_place(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown key 'sise' in val\.tile"):
        table(tmp_path, tile={"sise": 3})


def test_the_benchmark_times_every_way(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tests.benchmarks.validation.SIZE", (20, 30))
    main(["--images", "2", "--rounds", "1", "--json", str(tmp_path / "figures.json")])
    figures = json.loads((tmp_path / "figures.json").read_text())
    rows = figures["rows"]
    assert list(rows) == list(WAYS)
    assert rows["one by one"]["ratio"] == 1
    assert all(row["seconds"] > 0 for row in rows.values())
    assert rows["batches of 4"]["psnr"] == pytest.approx(rows["one by one"]["psnr"], abs=1e-3)
    assert figures["machine"]["torch"] == torch.__version__
    assert f"torch {torch.__version__}" in capsys.readouterr().out


def test_a_validation_without_ground_truth_is_seen_once_and_not_made_up_for(build, caplog):
    model = build()
    with logged(caplog):
        for iteration in (3, 6):
            model.nondist_validation(image_loader([(20, 30)] * 2, gt=False), iteration, None, False)
    assert [(e.iteration, e.dataset, e.metrics) for e in model.record.entries] == [
        (3, "held_out", {}),
        (6, "held_out", {}),
    ]
    assert model.metric_results == {}
    assert caplog.text.count("held_out: 2 of 2 images have no ground truth") == 1
    assert "Validation held_out" not in caplog.text
    pictures = Path(model.opt["path"]["visualization"])
    written = {path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png")}
    assert written == {f"held_out/img{i:02}/img{i:02}_{n}.png" for i in (0, 1) for n in (3, 6)}
    with logged(caplog):
        model.nondist_validation(image_loader([(20, 30)] * 2), 9, None, False)
    assert model.record.best("held_out", "psnr").iteration == 9
    assert "Validation held_out" in caplog.text
