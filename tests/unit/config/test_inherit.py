"""Option files that build on others."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dckd_basicsr.config import (
    check_options,
    load_options,
    load_yaml,
    option_problems,
    packaged_options,
    parse_options,
)
from dckd_basicsr.config.inherit import merged
from dckd_basicsr.config.resolve import resolve_options
from dckd_basicsr.errors import ConfigError
from tests.tiny import job_options
from tests.unit.config.test_parse_options import STOCK


def write(folder: Path, **files: Any) -> Path:
    """Write ``NAME.yml`` for every keyword, text or options; returns the path of the last."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, options in files.items():
        path = folder / f"{name}.yml"
        path.write_text(options if isinstance(options, str) else yaml.safe_dump(options, sort_keys=False))
    return path


BLOCKS = st.dictionaries(
    st.sampled_from(["a", "b", "c", "type"]),
    st.recursive(
        st.none() | st.integers() | st.lists(st.integers(), max_size=2),
        lambda inner: st.dictionaries(st.sampled_from(["a", "b", "type"]), inner, max_size=3),
    ),
    max_size=4,
)


@given(BLOCKS, BLOCKS)
def test_merging(old: dict[str, Any], new: dict[str, Any]) -> None:
    before = deepcopy((old, new))
    result = merged(old, new)
    assert (old, new) == before
    assert merged(old, {}) == old
    assert merged({}, new) == new
    assert merged(result, new) == result, "what is written twice counts once"
    assert list(result)[: len(old)] == list(old), "inherited keys keep their order"
    for key in result:
        if key not in new:
            assert result[key] == old[key]
        elif not isinstance(new[key], dict) or not isinstance(old.get(key), dict):
            assert result[key] == new[key]
        elif old[key].get("type", 0) == new[key].get("type", 0):
            assert result[key] == merged(old[key], new[key])


def test_blocks_merge_and_everything_else_replaces(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        base="name: a\ntrain: {total_iter: 5, optim_g: {type: Adam, lr: 1, betas: [1, 2]}}\nval: {save_img: true}\n",
        child="_base_: base.yml\nname: b\ntrain: {optim_g: {lr: 2, betas: [3]}, ema_decay: 0}\nval: ~\n",
    )
    options, source = load_options(path)
    assert options == {
        "name": "b",
        "train": {"total_iter": 5, "optim_g": {"type": "Adam", "lr": 2, "betas": [3]}, "ema_decay": 0},
        "val": None,
    }
    assert list(options) == ["name", "train", "val"]
    assert source == f"{path} (on {tmp_path / 'base.yml'})"


@pytest.mark.parametrize("replace", ["_replace_: true, num_feat: 8", "type: RCAN, num_feat: 8"])
def test_a_block_is_replaced_whole(tmp_path: Path, replace: str) -> None:
    base = "network_g: {type: EDSR, num_block: 3}\nscale: 2\n"
    options, _ = load_options(write(tmp_path, base=base, child=f"_base_: base.yml\nnetwork_g: {{{replace}}}\n"))
    assert options["scale"] == 2
    assert options["network_g"].keys() <= {"type", "num_feat"}
    assert options["network_g"]["num_feat"] == 8


def test_the_same_type_keeps_the_block_and_replace_false_says_nothing(tmp_path: Path) -> None:
    child = "_base_: base.yml\nnetwork_g: {type: EDSR, num_feat: 8, _replace_: false}\n"
    options, _ = load_options(write(tmp_path, base="network_g: {type: EDSR, num_block: 3}", child=child))
    assert options == {"network_g": {"type": "EDSR", "num_block": 3, "num_feat": 8}}


def test_another_type_keeps_the_block_where_that_is_asked_for(tmp_path: Path) -> None:
    child = "_base_: base.yml\nnetwork_g: {type: RCAN, num_feat: 8, _replace_: false}\n"
    options, source = load_options(write(tmp_path, base="network_g: {type: EDSR, num_block: 3}", child=child))
    assert options == {"network_g": {"type": "RCAN", "num_block": 3, "num_feat": 8}}
    assert source.replaced == {}


PAIRED = ["PairedImageDataset", "PairedPatchDataset", "PairedLMDBDataset"]


@pytest.mark.parametrize("old", PAIRED)
@pytest.mark.parametrize("new", PAIRED)
def test_paired_datasets_inherit_from_each_other(tmp_path: Path, old: str, new: str) -> None:
    base = f"datasets: {{train: {{name: DIV2K, type: {old}, gt_size: 192, use_rot: true}}}}\n"
    child = f"_base_: base.yml\ndatasets: {{train: {{type: {new}, dataroot_gt: x.lmdb}}}}\n"
    options, _ = load_options(write(tmp_path, base=base, child=child))
    train = {"name": "DIV2K", "type": new, "gt_size": 192, "use_rot": True, "dataroot_gt": "x.lmdb"}
    assert options == {"datasets": {"train": train}}


def test_an_overlay_to_the_fast_dataset_passes_the_check(tmp_path: Path) -> None:
    path = write(tmp_path, mine="_base_: dckd_x4_edsr.yml\ndatasets: {train: {type: PairedLMDBDataset}}\n")
    assert option_problems(load_options(path)[0]) == []


OVER_PACKAGED = [
    (
        "dckd_x4_edsr.yml",
        "val",
        {"name": "mine", "type": "PairedLMDBDataset", "dataroot_gt": "GT.lmdb", "dataroot_lq": "LQ.lmdb"},
    ),
    (
        "dckd_x4_edsr.yml",
        "val",
        {"name": "mine", "type": "PairedPatchDataset", "dataroot_gt": "GT", "dataroot_lq": "LQ"},
    ),
    (
        "test_x4_edsr.yml",
        "test_1",
        {"name": "mine", "type": "PairedLMDBDataset", "dataroot_gt": "GT.lmdb", "dataroot_lq": "LQ.lmdb"},
    ),
    (
        "dckd_derain_restormer.yml",
        "train",
        {
            "name": "mine", "type": "PairedImageDataset", "dataroot_gt": "GT", "dataroot_lq": "LQ", "gt_size": 128,
            "io_backend": {"type": "disk"}, "use_hflip": True, "use_rot": True, "num_worker_per_gpu": 2,
            "batch_size_per_gpu": 4,
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("base", "name", "block"), OVER_PACKAGED)
def test_another_data_set_of_another_paired_type_replaces_as_in_0_1(
    tmp_path: Path, base: str, name: str, block: dict[str, Any]
) -> None:
    options, _ = load_options(write(tmp_path, mine={"_base_": base, "datasets": {name: block}}))
    assert options["datasets"][name] == block
    assert option_problems(options, name != "test_1") == []


IMAGES = {
    "name": "a", "type": "PairedImageDataset", "dataroot_gt": "GT", "dataroot_lq": "LQ", "filename_tmpl": "{}x4",
    "io_backend": {"type": "disk"}, "gt_size": 32, "mean": [0], "std": [1], "color": "y", "meta_info_file": "a.txt",
}  # fmt: skip
LISTS = {
    "name": "a", "type": "PairedLMDBDataset", "dataroot_gt": ["a", "b"], "dataroot_lq": ["c", "d"], "weights": [1, 2],
    "progressive": [[2, 16, 4]], "use_rot": True, "io_backend": {"type": "lmdb"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        (IMAGES, {"type": "PairedPatchDataset"}, "name dataroot_gt dataroot_lq filename_tmpl io_backend gt_size"),
        (IMAGES, {"type": "PairedLMDBDataset"}, "name dataroot_gt dataroot_lq gt_size"),
        (IMAGES, {"type": "PairedLMDBDataset", "io_backend": {"type": "lmdb"}, "color": "y"},
         "name dataroot_gt dataroot_lq gt_size io_backend color"),
        (IMAGES | {"io_backend": {"type": "lmdb"}}, {"type": "PairedLMDBDataset"},
         "name dataroot_gt dataroot_lq io_backend gt_size"),
        (LISTS, {"type": "PairedPatchDataset"}, "name progressive use_rot io_backend"),
        (LISTS, {"type": "PairedImageDataset"}, "name use_rot io_backend"),
        (LISTS, {"type": "PairedImageDataset", "_replace_": False}, " ".join(LISTS)),
    ],
)  # fmt: skip
def test_another_paired_type_inherits_what_it_can_use(old: dict[str, Any], new: dict[str, Any], kept: str) -> None:
    result = merged({"datasets": {"train": old}}, {"datasets": {"train": new}})["datasets"]["train"]
    assert result.keys() == {"type", *kept.split()}
    assert result == {key: {**old, **new}[key] for key in result}


@pytest.mark.parametrize("top", ["{_replace_: true, type: EDSR}", "{_replace_: true, type: RCAN}", "{type: EDSR}"])
def test_a_later_block_makes_the_changed_type_old_news(tmp_path: Path, top: str) -> None:
    rcan = {**job_options()["network_g"], "type": "RCAN"}
    write(tmp_path, base=job_options(), middle={"_base_": "base.yml", "network_g": rcan})
    options, source = load_options(write(tmp_path, top=f"_base_: middle.yml\nnetwork_g: {top}\n"))
    with pytest.raises(ConfigError) as caught:
        check_options(options, source=source, files=False)
    assert "missing key 'num_in_ch' in network_g" in str(caught.value)
    assert "from 'EDSR' to 'RCAN'" not in str(caught.value)
    assert ("from 'RCAN' to 'EDSR'" in str(caught.value)) == ("_replace_" not in top)


def test_an_override_makes_the_changed_type_old_news(tmp_path: Path) -> None:
    path = write(tmp_path, base=job_options(), top="_base_: base.yml\nnetwork_g: {type: RCAN}\n")
    options, source = resolve_options(path, ["network_g:type=EDSR"])
    with pytest.raises(ConfigError) as caught:
        check_options(options, source=source, files=False)
    assert "missing key 'num_in_ch' in network_g" in str(caught.value)
    assert "its type changed" not in str(caught.value)


def test_a_block_of_another_type_says_why_its_keys_are_gone(tmp_path: Path) -> None:
    child = "network_g: {type: RCAN}\ndatasets: {val: {type: REDSDataset}}\ntrain: {optim_g: {type: SGD}}\n"
    path = write(tmp_path, base=job_options(), child=f"_base_: base.yml\n{child}")
    options, source = load_options(path)
    assert source.replaced["network_g"] == ("EDSR", "RCAN")
    with pytest.raises(ConfigError) as caught:
        check_options(options, source=source)
    lines = str(caught.value).splitlines()
    told = "nothing of the inherited {} is kept, as its type changed from '{}' to '{}': give its keys anew, or add "
    for place, old, new in (
        ("network_g", "EDSR", "RCAN"),
        ("datasets.val", "PairedImageDataset", "REDSDataset"),
        ("train.optim_g", "Adam", "SGD"),
    ):
        found = [line for line in lines if told.format(place, old, new) in line]
        assert len(found) == 1, (place, lines)
        assert "missing key '" in found[0]
        assert found[0].endswith("_replace_: false to the block to keep them")


def test_several_bases_and_their_bases_from_their_own_folders(tmp_path: Path) -> None:
    write(tmp_path / "parts", first="a: 1\nb: 1\nc: 1\n", second="_base_: ../root.yml\nb: 2\n")
    write(tmp_path, root="c: 0\nd: 0\n")
    options, _ = load_options(write(tmp_path / "runs", mine="_base_: [../parts/first.yml, ../parts/second.yml]\nc: 3"))
    assert options == {"a": 1, "b": 2, "c": 3, "d": 0}


def test_one_base_by_two_ways_is_no_circle(tmp_path: Path) -> None:
    write(tmp_path, root="a: 0\nb: 0", left="_base_: root.yml\na: 1", right="_base_: root.yml\nb: 1")
    options, source = load_options(write(tmp_path, mine="_base_: [left.yml, right.yml]"))
    assert options == {"a": 0, "b": 1}, "the right file wins with all it inherits"
    assert source.count("root.yml") == 1


@pytest.mark.parametrize("name", ["dckd_x4_edsr.yml", "dckd_x4_edsr", "options/dckd_x4_edsr.yml"])
def test_a_packaged_file_as_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    options, _ = load_options(write(tmp_path, mine=f"_base_: {name}\nname: mine\n"))
    assert options == {**load_yaml(packaged_options()["dckd_x4_edsr.yml"]), "name": "mine"}


def test_a_file_beside_comes_before_a_packaged_one_and_before_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere, demo_x4_edsr="a: wrong", other="a: wrong")
    monkeypatch.chdir(elsewhere)
    here = tmp_path / "here"
    options, _ = load_options(write(here, demo_x4_edsr="a: right", mine="_base_: demo_x4_edsr.yml"))
    assert options == {"a": "right"}
    with pytest.raises(ConfigError, match=r"its _base_ 'other\.yml' does not exist"):
        load_options(write(here, mine="_base_: other.yml"))


def error(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_options(path)
    return str(caught.value)


def test_circles_name_the_chain(tmp_path: Path) -> None:
    a, b = tmp_path / "a.yml", tmp_path / "b.yml"
    write(tmp_path, a="_base_: b.yml", b="_base_: [a.yml]", me="_base_: ./me.yml")
    assert f"in a circle: {a} -> {b} -> {a}" in error(a)
    assert "in a circle" in error(tmp_path / "me.yml")


def test_too_deep(tmp_path: Path) -> None:
    write(tmp_path, f0="a: 1")
    for i in range(1, 20):
        write(tmp_path, **{f"f{i}": f"_base_: f{i - 1}.yml"})
    assert load_options(tmp_path / "f16.yml")[0] == {"a": 1}
    message = error(tmp_path / "f17.yml")
    assert "more than 16 deep" in message
    assert f"{tmp_path / 'f2.yml'} -> {tmp_path / 'f1.yml'}" in message


def test_missing_and_broken_bases_are_named(tmp_path: Path) -> None:
    message = error(write(tmp_path, common="a: 1", mid="_base_: comon.yml", top="_base_: mid.yml"))
    assert (
        f"option file '{tmp_path / 'mid.yml'}': its _base_ 'comon.yml' does not exist; did you mean 'common.yml'?"
        in (message)
    )
    assert " -> ".join(str(tmp_path / f"{n}.yml") for n in ("top", "mid", "comon")) in message
    message = error(write(tmp_path, broken="a: [1\nb: 2", mine="_base_: broken.yml"))
    assert f"option file '{tmp_path / 'broken.yml'}', line 2" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_base_: 5", "_base_ must be a file or a list of files, got 5"),
        ("_base_: [a.yml, ~]", "_base_ must be a file or a list of files"),
        ("_base_: ''", "_base_ must be a file"),
        ("train: {_base_: a.yml}", "_base_ belongs to the top of the file, not into train"),
        ("_replace_: true", "_replace_ belongs into a block"),
        ("train: {optim_g: {_replace_: 1}}", "_replace_ in train.optim_g must be true or false, got 1"),
        ("train: {losses: [{type: pixel, _replace_: true}]}", "_replace_ in train.losses[0] means nothing"),
        (
            "train: {losses: [{type: pixel}, {loss: {_replace_: no}}]}",
            "_replace_ in train.losses[1].loss means nothing",
        ),
        ("network_teachers: [{_base_: a.yml}]", "_base_ belongs to the top of the file, not into network_teachers[0]"),
        ("train: &a {b: *a}", "contains itself"),
    ],
)
def test_misplaced_keys(tmp_path: Path, text: str, message: str) -> None:
    found = error(write(tmp_path, mine=text))
    assert message in found
    assert "mine.yml'" in found


def test_overrides_come_after_inheritance_and_reports_name_the_bases(tmp_path: Path) -> None:
    path = write(tmp_path, base=STOCK, child="_base_: base.yml\nname: child\nnetwork_g: {upscale: 2}\n")
    found, args = parse_options(tmp_path, argv=["-opt", str(path), "--force_yml", "network_g:upscale=3", "name=third"])
    assert found["name"] == "third"
    assert found["network_g"] == {**STOCK["network_g"], "upscale": 3}
    assert args.opt == str(path)
    with pytest.raises(ConfigError) as caught:
        parse_options(tmp_path, argv=["-opt", str(path), "--force_yml", "network_g:upscal=3"])
    assert str(caught.value).startswith(f"{path} (on {tmp_path / 'base.yml'}): 1 problem\n")
