"""Sweeps: what their files say, which runs they stand for, and which options count as the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import dckd_basicsr  # noqa: F401 (registers)
from dckd_basicsr.cli import main
from dckd_basicsr.compare import PlannedRun, load_sweep, planned_runs, same_trainings
from dckd_basicsr.compare.made import inputs_of
from dckd_basicsr.compare.plan import entries
from dckd_basicsr.compare.run import check_unchanged
from dckd_basicsr.compare.sameness import differences, digests
from dckd_basicsr.compare.sweep import Sweep
from dckd_basicsr.config import apply_overrides
from dckd_basicsr.errors import CheckpointError, ConfigError

GOOD: dict[str, Any] = {
    "name": "s",
    "bases": {"small": {"train": "demo_x4_edsr.yml", "test": "demo_test_x4.yml", "options": {"train:total_iter": 20}}},
    "variants": {
        "scratch": {"with": "scratch"},
        "weak": {"with": ["dckd"], "options": {"train:contrastive_opt:loss_weight": 1e-5, "train:total_iter": 30}},
    },
    "seeds": [3, 1],
    "options": {"train:total_iter": 10, "train:ema_decay": 0.5},
}


def sweep_of(tmp_path: Path, **changes: Any) -> Sweep:
    file = tmp_path / "s.yml"
    file.write_text(yaml.safe_dump({**GOOD, **changes}, sort_keys=False))
    return load_sweep(file)


def test_runs_come_seed_by_seed_after_the_teacher(tmp_path: Path) -> None:
    variants = {**GOOD["variants"], "other": {"seeds": [3], "with": "logits"}}
    names = [run.name for run in planned_runs(sweep_of(tmp_path, variants=variants))]
    assert names == [
        "s_small_teacher", "s_small_scratch_s3", "s_small_weak_s3", "s_small_other_s3",
        "s_small_scratch_s1", "s_small_weak_s1",
    ]  # fmt: skip
    assert planned_runs(sweep_of(tmp_path, teacher=False))[0].name == "s_small_scratch_s3"
    one = {**GOOD["variants"], "other": {"bases": ["large"]}}
    bases = {**GOOD["bases"], "large": GOOD["bases"]["small"]}
    found = planned_runs(sweep_of(tmp_path, bases=bases, variants=one, teacher=False, seeds=[0]))
    assert [run.name for run in found if run.variant == "other"] == ["s_large_other_s0"]


def test_the_later_overrides_win_and_methods_come_before_them(tmp_path: Path) -> None:
    teacher, scratch, weak = planned_runs(sweep_of(tmp_path))[:3]
    assert scratch.iterations == 20
    assert weak.iterations == 30
    assert teacher.iterations == 0
    assert weak.options["train"]["ema_decay"] == 0.5
    assert weak.options["train"]["contrastive_opt"]["loss_weight"] == 1e-5
    assert scratch.options["train"]["contrastive_opt"] is None
    assert weak.options["manual_seed"] == 3
    assert weak.options["name"] == "s_small_weak_s3"


def test_variants_that_train_the_same_are_named(tmp_path: Path) -> None:
    own = tmp_path / "own.yml"
    own.write_text("_base_: demo_x4_edsr.yml\ntrain: {losses: {wavelet: {weight: 0.5}}}\n")
    bases = {"small": {"train": str(own), "test": "demo_test_x4.yml"}}
    variants = {"logits": {"with": "logits"}, "own": {"with": "logits"}, "as_it_is": None}
    (note,) = same_trainings(planned_runs(sweep_of(tmp_path, bases=bases, variants=variants)))
    assert note.startswith("variants 'logits' and 'own' train the same on base 'small'")
    other = {**variants, "own": {"with": "logits", "options": {"path:pretrain_network_teacher": "another.pth"}}}
    assert same_trainings(planned_runs(sweep_of(tmp_path, bases=bases, variants=other))) == []


def test_all_that_is_wrong_in_any_run_is_told_before_the_first_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "s.yml"
    wrong = {"a": {"options": {"train:total_itr": 3}}, "b": None, "c": {"options": {"train:ema_dcay": 0.5}}}
    lost = {"path:pretrain_network_teacher": "nowhere.pth"}
    file.write_text(yaml.safe_dump({**GOOD, "variants": wrong, "options": {**GOOD["options"], **lost}}))
    assert main(["compare", "s.yml"]) == 1
    told = capsys.readouterr().err
    assert "run s_small_a_s3: unknown key 'total_itr' in train" in told
    assert "run s_small_c_s3: unknown key 'ema_dcay' in train" in told
    assert told.count("nowhere.pth") == 2  # of trainings once, and of the teacher's test
    assert "_s1" not in told
    assert not (tmp_path / "comparisons").exists()


def test_a_block_given_again_later_takes_the_place_of_what_was_set_inside_of_it(tmp_path: Path) -> None:
    block = {"type": "L1Loss", "loss_weight": 3.0}
    bases = {"small": {**GOOD["bases"]["small"], "options": {"train:logits_opt:loss_weight": 2.0}}}
    variants = {"x": {"with": "logits", "options": {"train:logits_opt": block}}}
    options = {"train:logits_opt": {"type": "L1Loss", "loss_weight": 1.0}}
    *_, run = planned_runs(sweep_of(tmp_path, bases=bases, variants=variants, options=options))
    assert run.options["train"]["logits_opt"] == block


def test_the_teacher_and_the_student_are_put_into_the_test(tmp_path: Path) -> None:
    teacher, scratch, *_, last = planned_runs(sweep_of(tmp_path))
    assert teacher.test_options["network_g"]["num_block"] == 16
    assert teacher.test_options["path"]["pretrain_network_g"] == "builtin:edsr_x4_f64b16"
    assert teacher.train_arguments == []
    assert scratch.test_options["network_g"] == scratch.options["network_g"]
    assert scratch.test_options["path"]["pretrain_network_g"].endswith("s_small_scratch_s3/models/net_g_latest.pth")
    assert scratch.test_options["val"]["save_img"] is True
    assert last.test_options["val"]["save_img"] is False


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sedes": [0]}, "unknown key 'sedes' in the sweep; did you mean 'seeds'?"),
        ({"name": "a b"}, "'a b' in name becomes part of folders' names"),
        ({"variants": {}}, "variants must be a block with one entry for each, by name"),
        ({"variants": {"dckd*": {"with": "dckd"}}}, "'dckd*' in variants becomes part of folders' names"),
        ({"variants": {"teacher": {}}}, "'teacher' in variants is what the bases' own teachers are called"),
        ({"variants": {"x": {"wiht": "dckd"}}}, "unknown key 'wiht' in variants.x; did you mean 'with'?"),
        ({"variants": {"x": {"with": 3}}}, "'with' in variants.x must be a list of text, got 3"),
        ({"bases": {"x": {"train": "a.yml"}}}, "missing key 'test' in bases.x"),
        ({"baselines": ["scrach"]}, "baselines names 'scrach'; did you mean 'scratch'?"),
        ({"seeds": [0, 0]}, "seeds must name at least one seed, and none twice"),
        ({"seeds": []}, "seeds must name at least one seed, and none twice"),
        (
            {"bases": dict.fromkeys(("a", "a_b"), GOOD["bases"]["small"]), "variants": {"b_c": {}, "c": {}}},
            "the runs of base 'a_b' with variant 'c' would have the names of those of base 'a' with variant 'b_c'",
        ),
        ({"options": {"manual_seed": 3}}, "'manual_seed' in options is set by the sweep itself: give seeds"),
        (
            {"variants": {"x": {"options": {"path:experiments_root": "y"}}}},
            "'path:experiments_root' in variants.x.options is set by the sweep itself",
        ),
        ({"test_options": {"val:save_img": True}}, "'val:save_img' in test_options is set by the sweep itself"),
        ({"hours": "3h"}, "'hours' in the sweep must be a number or null, got '3h'"),
    ],
)
def test_what_is_wrong_with_a_sweep_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sweep_of(tmp_path, **changes)
    assert said in str(caught.value)


@pytest.mark.parametrize("value", [None, True, 1e-5, -3, "text", "true", "1e-4", "a: b", "", [1, "x"], {"type": "é"}])
def test_an_override_comes_through_the_command_line_as_it_was(value: Any) -> None:
    assert apply_overrides({}, entries({"a:b": value})) == {"a": {"b": value}}


def test_only_what_changes_weights_is_a_difference() -> None:
    one: dict[str, Any] = {
        "name": "a", "manual_seed": 0, "num_gpu": 0, "train": {"optim_g": {"lr": 0.1}, "consistency_opt": None},
        "datasets": {"train": {"dataroot_gt": "x", "gt_size": 32, "num_worker_per_gpu": 1}, "val": {"name": "v"}},
        "path": {"pretrain_network_teacher": "t.pth", "strict_load_g": True}, "logger": {"print_freq": 1},
    }  # fmt: skip
    same: dict[str, Any] = {
        "name": "b", "manual_seed": 1, "num_gpu": 4, "train": {"optim_g": {"lr": 0.1}},
        "datasets": {"train": {"dataroot_gt": "/y", "gt_size": 32, "num_worker_per_gpu": 6}},
        "path": {"pretrain_network_teacher": "/u.pth", "strict_load_g": True}, "logger": {},
    }  # fmt: skip
    assert differences(one, same) == {}
    other = {**same, "train": {"optim_g": {"lr": 0.2, "eps": 1}}, "path": {}}
    assert differences(one, other) == {
        "train:optim_g:lr": ("0.1", "0.2"),
        "path:strict_load_g": ("true", "(not there)"),
        "train:optim_g:eps": ("(not there)", "1"),
    }


def test_only_what_changes_values_is_a_difference_of_tests() -> None:
    def test(**changes: Any) -> dict[str, Any]:
        whole = {"name": "Set5", "dataroot_gt": "x", "num_worker_per_gpu": 1, **changes.pop("dataset", {})}
        val = {"save_img": True, "pbar": True, "metrics": {"psnr": {"crop_border": 4}}, **changes.pop("val", {})}
        return {"name": "a", "num_gpu": 0, "datasets": {"test_1": whole}, "val": val, **changes}

    same = test(name="b", num_gpu=1, val={"save_img": False, "pbar": False}, dataset={"dataroot_gt": "/y"})
    assert differences(test(), same, is_train=False) == {}
    other = test(val={"metrics": {"psnr": {"crop_border": 2}}}, dataset={"name": "Set 5"})
    assert differences(test(), other, is_train=False) == {
        "datasets:test_1:name": ("'Set5'", "'Set 5'"),
        "val:metrics:psnr:crop_border": ("4", "2"),
    }


def test_records_of_another_test_or_other_test_data_are_refused(tmp_path: Path) -> None:
    def run(root: str, border: int) -> PlannedRun:
        changes = {"datasets:test_1:dataroot_gt": str(tmp_path / root), "val:metrics:psnr:crop_border": border}
        return planned_runs(sweep_of(tmp_path, test_options=changes))[-1]

    for root, text in (("a", "one"), ("b", "one"), ("c", "two more")):
        (tmp_path / root).mkdir()
        (tmp_path / root / "image.png").write_text(text)
    made = run("a", 4)
    told = (made.options, "it", inputs_of(made), made.test_options)
    check_unchanged(run("b", 4), *told)
    with pytest.raises(CheckpointError, match=r"test:test_1:dataroot_gt: other contents"):
        check_unchanged(run("c", 4), *told)
    with pytest.raises(CheckpointError, match=r"val:metrics:psnr:crop_border of the test: 4 there, 2 now"):
        check_unchanged(run("a", 2), *told)


def test_digests_follow_contents_and_not_places(tmp_path: Path) -> None:
    for folder, text in (("a", b"one"), ("b", b"one"), ("c", b"another")):
        (tmp_path / folder / "GT.lmdb").mkdir(parents=True)
        (tmp_path / folder / "GT.lmdb/meta_info.txt").write_bytes(text)
        (tmp_path / folder / "w.pth").write_bytes(text)

    def of(folder: str) -> dict[str, str]:
        roots = {"dataroot_gt": str(tmp_path / folder / "GT.lmdb"), "dataroot_lq": "missing"}
        weights = str(tmp_path / folder / "w.pth")
        own = {"type": "PretrainedNet", "path": weights}
        return digests(
            {
                "datasets": {"train": roots, "val": {"dataroot_gt": str(tmp_path / folder / "GT.lmdb")}},
                "network_g": own,
                "network_teachers": [{"name": "t", **own}],
                "path": {"pretrain_network_teacher": weights},
            }
        )

    assert sorted(of("a")) == [
        "datasets:train:dataroot_gt", "network_g:path", "network_teachers[0]:path", "path:pretrain_network_teacher",
    ]  # fmt: skip
    assert of("a") == of("b")
    assert all(of("a")[key] != of("c")[key] for key in of("a"))
