"""Training on inputs alone: the paired set's LQ patches bit by bit, and a step that never sees a ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dckd_basicsr.config import option_problems
from dckd_basicsr.config.editor import json_schema
from dckd_basicsr.config.files import file_problems
from dckd_basicsr.config.inherit import merged
from dckd_basicsr.data.paired_patch_dataset import PairedPatchDataset
from dckd_basicsr.data.patches import PatchRequest
from dckd_basicsr.data.samples import NamedSamples
from dckd_basicsr.data.single_patch_dataset import SinglePatchDataset
from dckd_basicsr.distill import TERMS, Distiller, Need, Sources
from dckd_basicsr.distill.terms import LogitsTerm, PixelTerm
from dckd_basicsr.errors import ConfigError, DatasetError
from dckd_basicsr.models.arranging import recorded_step
from dckd_basicsr.prepare.sets.sr import prepare_sr
from tests.every_term import batch, distiller
from tests.models import BATCH
from tests.recording import record_operations
from tests.tiny import job_options, write_photos

LQ = {"lq": BATCH["lq"]}
UNTAUGHT = "train:pixel_opt=~"


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_photos(folder / "photos")
    prepare_sr(folder / "photos", folder / "png", [2], crop=None, workers=0)
    prepare_sr(folder / "photos", folder / "raw", [2], crop=None, workers=0, payload="raw")
    prepare_sr(folder / "photos", folder / "whole", [1], crop=None, workers=0)
    return folder


def inputs(root: Path, **options: Any) -> SinglePatchDataset:
    return SinglePatchDataset({"name": "mine", "dataroot_lq": str(root), "scale": 2, "phase": "train", **options})


@pytest.mark.parametrize("options", [{}, {"use_hflip": False}, {"use_rot": False}])
def test_patches_are_those_of_the_paired_dataset(packed: Path, options: dict[str, bool]) -> None:
    roots = {"dataroot_gt": str(packed / "png" / "GT.lmdb"), "dataroot_lq": str(packed / "png" / "LQ_x2.lmdb")}
    paired = PairedPatchDataset({**roots, "io_backend": {"type": "lmdb"}, "scale": 2, "phase": "train", **options})
    alone = [inputs(packed / kind / "LQ_x2.lmdb", **options) for kind in ("png", "raw")]
    for request in (PatchRequest(seed % 3, size, seed) for seed in range(8) for size in (24, 120)):
        wanted = paired[request]["lq"]
        assert wanted.shape == (3, request.gt_size // 2, request.gt_size // 2)
        for dataset in alone:
            found = dataset[request]
            assert torch.equal(found["lq"], wanted)
            assert found.keys() == {"lq", "lq_path"}
    assert torch.equal(alone[1][1]["lq"], paired[1]["lq"])


def test_a_folder_gives_what_its_database_gives(packed: Path) -> None:
    folder, database = inputs(packed / "photos"), inputs(packed / "whole" / "GT.lmdb")
    assert len(folder) == len(database) == 3
    for seed in range(6):
        request = PatchRequest(seed % 3, 48, seed)
        assert torch.equal(NamedSamples(folder)[request]["lq"], database[request]["lq"])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    (tmp_path / "photos" / "photo1.png").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"photo1\.png' is damaged"):
        NamedSamples(inputs(tmp_path / "photos"))[PatchRequest(1, 16, 0)]
    (tmp_path / "photos" / "photo2.png").unlink()
    dataset = inputs(tmp_path / "photos")
    (tmp_path / "photos" / "photo0.png").unlink()
    with pytest.raises(DatasetError, match=r"dataset 'mine': image '.*photo0\.png' cannot be read"):
        NamedSamples(dataset)[PatchRequest(0, 16, 0)]
    (tmp_path / "none" / "deeper").mkdir(parents=True)
    (tmp_path / "none" / ".hidden").touch()
    with pytest.raises(DatasetError, match="holds no files"):
        inputs(tmp_path / "none")


def test_terms_say_that_they_need_ground_truth() -> None:
    assert PixelTerm().needs == {Need.GT}
    assert LogitsTerm().needs == {Need.TEACHER}
    assert LogitsTerm(gate="teacher_better").needs == {Need.TEACHER, Need.GT}
    student, teacher = (torch.nn.Upsample(scale_factor=2) for _ in range(2))
    student.bias = torch.nn.Parameter(torch.zeros(()))
    lq = torch.rand(1, 3, 4, 4)
    taught = Distiller(student, [LogitsTerm()], Sources(teachers={"teacher": teacher}))
    assert taught(lq)["l_total"] == 0
    with pytest.raises(RuntimeError, match="needs the ground truth"):
        Distiller(student, [PixelTerm()])(lq)


@pytest.mark.parametrize("term", sorted(TERMS))
def test_every_term_that_does_not_ask_for_ground_truth_goes_without(term: str) -> None:
    net = distiller(term, "EDSR", beside=())
    lq, _ = batch("EDSR")
    if Need.GT in net.needs:
        with pytest.raises(RuntimeError, match="needs the ground truth"):
            net(lq)
    else:
        net(lq)["l_total"].backward()


SIZES = "train:negatives={degradation: {resize: {prob: 1}, blur: {prob: 0.5}}}"


@pytest.mark.parametrize("options", [(), ("train:accumulate=2",), (SIZES, "train:accumulate=2")])
@pytest.mark.parametrize("recorded", [False, True])
def test_a_step_without_ground_truth_is_that_of_a_set_with_it(build, options, recorded) -> None:
    """Where no term asks for it: what is drawn beforehand must not be taken for it either."""
    weights = []
    for data in (BATCH, LQ):
        torch.manual_seed(0)
        model = build(UNTAUGHT, "train:optim_g={type: SGD, lr: 1e-3}", *options)
        if recorded:
            model.runner.recorded = recorded_step(model, record_operations)
        for iteration in (1, 2):
            model.feed_data(data)
            model.optimize_parameters(iteration)
        assert not recorded or model.runner.recorded is not None
        weights.append([*model.net_g.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_a_step_that_is_left_out_keeps_its_inputs(build, tmp_path, said) -> None:
    from dckd_basicsr.weight_files import load_state

    model = build(UNTAUGHT)
    model.feed_data({"lq": torch.full_like(BATCH["lq"], float("nan"))})
    model.optimize_parameters(1)
    model.guard.settle()
    assert any("l_logits is nan" in text and "the step was left out" in text for text in said)
    kept = load_state(next(tmp_path.rglob("iteration_1_rank_0.pth")))
    assert "gt" not in kept
    assert kept["lq"].isnan().all()


def test_data_of_others_without_ground_truth_are_refused(build) -> None:
    model = build()
    model.feed_data(LQ)
    with pytest.raises(ConfigError, match=r"l_pix: it needs ground truth, and datasets\.train \(PairedImageDataset\)"):
        model.optimize_parameters(1)


def on_inputs(**train: Any) -> dict[str, Any]:
    opt = job_options({"pixel_opt": None, **train})
    opt["datasets"]["train"] = {
        "name": "mine", "type": "SinglePatchDataset", "dataroot_lq": "photos", "gt_size": 32, "batch_size_per_gpu": 2,
        "num_worker_per_gpu": 0,
    }  # fmt: skip
    return opt


def test_the_check_and_the_schema(packed: Path, monkeypatch) -> None:
    from jsonschema import Draft7Validator

    monkeypatch.chdir(packed)
    validator = Draft7Validator(json_schema())
    good = on_inputs()
    del good["datasets"]["val"]
    assert option_problems(good | {"val": None}) == []
    assert validator.is_valid(good)
    train = good["datasets"]["train"]
    for change in ({"dataroot_gt": "x"}, {"weights": [1.0]}, {"color": "y"}, {"dataroot_lq": ["a", "b"]}):
        changed = {**good, "datasets": {"train": {**train, **change}}, "val": None}
        assert len(option_problems(changed)) == 1
        assert not validator.is_valid(changed)
    del train["dataroot_lq"]
    assert "missing key 'dataroot_lq' in datasets.train" in option_problems(good)
    assert not validator.is_valid(good)
    stock = on_inputs() | {"model_type": "SRModel"}
    assert any(
        "without which only DCKDModel, RestorationModel and VQGANModel train" in text for text in option_problems(stock)
    )
    gated = on_inputs(logits_opt={"type": "L1Loss", "gate": "teacher_better"})
    [problem] = option_problems(gated)
    assert problem.startswith("train.logits_opt needs ground truth, and datasets.train (SinglePatchDataset) has none")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ""),
        ({"dataroot_lq": "raw/LQ_x2.lmdb"}, ""),
        ({"dataroot_lq": "none"}, "datasets.train.dataroot_lq: 'none' does not exist"),
        ({"dataroot_lq": "damaged.lmdb"}, "datasets.train: dataroot_lq: 'damaged.lmdb"),
        ({"dataroot_lq": "photos", "io_backend": {"type": "lmdb"}}, "this set is read as LMDB; give a folder named *."),
    ],
)
def test_files_are_looked_at(packed: Path, monkeypatch, change: dict[str, Any], says: str) -> None:
    monkeypatch.chdir(packed)
    (packed / "damaged.lmdb").mkdir(exist_ok=True)
    opt = on_inputs()
    opt["datasets"] = {"train": {**opt["datasets"]["train"], **change}}
    opt["path"] = {}
    found = [text for text in file_problems(opt, True) if "datasets" in text]
    assert len(found) == bool(says)
    assert all(says in text for text in found)


def test_the_name_of_the_inputs_tells_how_they_are_read() -> None:
    from dckd_basicsr.config.resolve import fill_defaults

    for roots, kind in (
        ({"dataroot_lq": "a.lmdb", "dataroot_gt": None}, "lmdb"),
        ({"dataroot_lq": "a", "dataroot_gt": "b.lmdb"}, "disk"),
    ):
        opt = on_inputs()
        opt["datasets"]["train"] |= roots
        fill_defaults(opt, is_train=True)
        assert opt["datasets"]["train"]["io_backend"] == {"type": kind}


def test_it_inherits_what_it_can_use() -> None:
    pairs = {"name": "DIV2K", "type": "PairedImageDataset", "dataroot_gt": "GT.lmdb", "dataroot_lq": "LQ.lmdb",
             "io_backend": {"type": "lmdb"}, "gt_size": 192, "use_rot": True, "filename_tmpl": "{}x4"}  # fmt: skip
    new = {"type": "SinglePatchDataset", "dataroot_lq": "photos"}
    result = merged({"datasets": {"train": pairs}}, {"datasets": {"train": new}})["datasets"]["train"]
    assert result == {"name": "DIV2K", "gt_size": 192, "use_rot": True, **new}
    whole = merged({"datasets": {"train": pairs}}, {"datasets": {"train": {"name": "mine", **new}}})
    assert whole["datasets"]["train"] == {"name": "mine", **new}


def test_data_without_ground_truth_is_taken(build):
    model = build()
    model.feed_data(BATCH)
    model.feed_data({"lq": BATCH["lq"]})
    assert model.gt is None  # and not that of another batch
