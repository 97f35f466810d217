"""``--with``: methods are found, combined whatever their order, and put between the option file and the overrides."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dckd_basicsr.cli import main
from dckd_basicsr.config import find_options, load_options, parse_options
from dckd_basicsr.config.overlays import Overlay, combined, load_overlays
from dckd_basicsr.config.resolve import resolve_options
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.methods import description_of, packaged_methods
from tests.tiny import job_options, write_job

L1 = {"type": "L1Loss"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(**files: Any) -> None:
    for name, options in files.items():
        text = options if isinstance(options, str) else yaml.safe_dump(options, sort_keys=False)
        Path(f"{name}.yml").write_text(text)


def resolved(*methods: str, overrides: tuple[str, ...] = (), file: str = "job.yml") -> dict[str, Any]:
    return resolve_options(Path(file), overrides, methods)[0]


def error(*methods: str, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        resolved(*methods, overrides=overrides)
    return str(caught.value)


def union(*parts: dict[str, Any]) -> dict[str, Any]:
    return combined([Overlay(name, name, part) for name, part in zip("abcd", parts)])


def test_an_overlay_lies_between_file_and_overrides() -> None:
    write(job={"name": "job", "train": {"a": 1, "b": 1, "c": 1, "pixel_opt": {**L1, "loss_weight": 2}}})
    write(mine={"train": {"b": 2, "c": 2, "pixel_opt": {"loss_weight": 1}}})
    opt = resolved("mine.yml", overrides=("train:c=3",))
    assert opt == {"name": "job_mine", "train": {"a": 1, "b": 2, "c": 3, "pixel_opt": {**L1, "loss_weight": 1}}}
    assert resolved() == load_options("job.yml")[0]


def test_off_and_on_is_on() -> None:
    scratch = {"train": {"logits_opt": None, "contrastive_opt": None, "losses": None}}
    logits = {"train": {"logits_opt": {"loss_weight": 1}, "contrastive_opt": None}}
    affinity = {"train": {"losses": {"affinity": {"weight": 0.1}, "other": None}}}
    found = union(scratch, logits)["train"]
    assert found == {"logits_opt": {"loss_weight": 1}, "contrastive_opt": None, "losses": None}
    listed = {"train": {"losses": [{"type": "fitnet"}, {"type": "affinity", "weight": 0.1}]}}
    assert union(affinity, listed)["train"]["losses"] == {
        "affinity": {"type": "affinity", "weight": 0.1},
        "other": None,
        "fitnet": {"type": "fitnet"},
    }


def test_what_null_was_for_are_the_terms_of_the_file() -> None:
    write(job={"train": {"losses": [{"type": "logits"}], "pixel_opt": L1}}, scratch_all={"train": {"losses": None}})
    write(more={"train": {"losses": {"contrast": {"weight": 0.1}}}})
    assert resolved("scratch_all.yml")["train"]["losses"] is None
    assert resolved("more.yml")["train"]["losses"] == {"logits": {"type": "logits"}, "contrast": {"weight": 0.1}}
    assert resolved("more.yml", "scratch_all.yml")["train"]["losses"] == {"contrast": {"weight": 0.1}}


PARTS = st.recursive(
    st.none() | st.integers(0, 1),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "weight", "losses"]), inner, max_size=3),
    max_leaves=6,
)
OVERLAYS = st.lists(st.dictionaries(st.sampled_from(["train", "name"]), PARTS, max_size=2), min_size=2, max_size=3)


def outcome(parts: list[tuple[str, dict[str, Any]]]) -> Any:
    for name, part in parts:
        Path(f"{name}.yml").write_text(yaml.safe_dump(part) if part else "x: 1")
    try:
        return combined(load_overlays(f"{name}.yml" for name, _ in parts))
    except ConfigError as problem:
        return str(problem)


@given(OVERLAYS)
def test_the_order_of_names_says_nothing(parts: list[dict[str, Any]]) -> None:
    found = [outcome(list(order)) for order in permutations(zip("abc", parts))]
    assert all(each == found[0] for each in found)
    assert [list(each) for each in found] == [list(found[0])] * len(found), "nor do messages and the order of keys"


def test_contradictions_are_told_together_with_what_settles_them() -> None:
    write(job={"name": "job", "train": {"pixel_opt": L1}})
    write(one={"train": {"losses": {"pixel": {"weight": 0.5, "name": "l_a"}}, "ema_decay": 0.9}, "scale": [1, 2]})
    write(two={"train": {"losses": {"pixel": {"weight": 1, "name": "l_a"}}, "ema_decay": {"a": 1}}, "scale": [1, 3]})
    message = error("two.yml", "one.yml")
    assert message == error("one.yml", "two.yml")
    assert message.splitlines() == [
        "--with one.yml two.yml: 3 problems",
        "  1. train.losses.pixel.weight is 0.5 in one.yml and 1 in two.yml, which contradict each other; say which: "
        "--force_yml train:losses:pixel:weight=0.5",
        "  2. train.ema_decay is 0.9 in one.yml and {'a': 1} in two.yml, which contradict each other; say which: "
        "--force_yml train:ema_decay=0.9",
        "  3. scale is [1, 2] in one.yml and [1, 3] in two.yml, which contradict each other; say which: "
        "--force_yml scale=...",
    ]
    overrides = ("scale=4", "train:losses:pixel:weight=7")
    assert "1 problem\n  1. train.ema_decay is" in error("one.yml", "two.yml", overrides=overrides)
    opt = resolved("one.yml", "two.yml", overrides=(*overrides, "train:ema_decay=~"))
    assert opt == {
        "name": "job_one_two",
        "train": {
            "pixel_opt": L1,
            "losses": {"pixel": {"weight": 7, "name": "l_a"}},
            "ema_decay": None,
        },
        "scale": 4,
    }
    assert resolved("one.yml", "two.yml", overrides=("scale=4", "train={}"))["train"] == {}, "the block around it, too"
    assert "scale is [1, 2]" in error("one.yml", "two.yml", overrides=("train={}", "scale:x=1", "bad"))


def test_schedules_and_types_are_no_mixture() -> None:
    fading = {"train": {"losses": {"a": {"weight": {"type": "cosine", "from": 1}}}}}
    later = {"train": {"losses": {"a": {"weight": {"type": "cosine", "from": 1, "until": 0.5}}}}}
    with pytest.raises(ConfigError, match=r"train\.losses\.a\.weight is .*contradict"):
        union(fading, later)
    assert union(fading, fading) == fading
    # the key is the type where a term gives none
    with pytest.raises(ConfigError, match=r"train\.losses\.pixel\.type is 'pixel' in a and 'logits' in b"):
        union({"train": {"losses": {"pixel": {"weight": 1}}}}, {"train": {"losses": {"pixel": {"type": "logits"}}}})


def test_a_loss_against_the_teacher_is_by_default_that_against_the_truth() -> None:
    pixel = {"type": "CharbonnierLoss", "loss_weight": 3.0, "eps": 1e-6}
    for none in (None, {"type": None}):
        write(job={"train": {"pixel_opt": pixel, "logits_opt": none}})
        found = resolved("logits")["train"]["logits_opt"]
        assert found == {"type": "CharbonnierLoss", "eps": 1e-6, "loss_weight": 1.0}
    assert resolved("logits")["train"]["pixel_opt"] == {**pixel, "loss_weight": 1.0}
    assert resolved("scratch")["train"]["logits_opt"] is None
    write(job={"train": {"pixel_opt": pixel, "logits_opt": {**L1, "gate": "teacher_better"}}})
    assert resolved("logits")["train"]["logits_opt"] == {**L1, "gate": "teacher_better", "loss_weight": 1.0}
    write(job={"train": {"pixel_opt": pixel, "logits_opt": {"loss_weight": 1}}}, mine={"train": {"ema_decay": 0}})
    assert resolved("mine.yml")["train"]["logits_opt"] == {"loss_weight": 1}, "a mistake of the file stays one"


def test_inputs_alone_stay_without_a_loss_against_the_truth() -> None:
    pixel, inputs = {**L1, "loss_weight": 3.0}, {"train": {"type": "SinglePatchDataset"}}
    for off in ({}, {"pixel_opt": None}):
        write(job={"datasets": inputs, "train": {**off, "logits_opt": L1}})
        train = resolved("logits", "mtkd", overrides=("train:pixel_opt=~",))["train"]
        assert (train["pixel_opt"], train["logits_opt"]) == (None, {**L1, "loss_weight": 1.0})
        train = resolved("logits")["train"]
        assert (train.get("pixel_opt"), train["logits_opt"]) == (None, {**L1, "loss_weight": 1.0})
    write(mine={"train": {"pixel_opt": pixel}})
    assert resolved("mine.yml")["train"]["pixel_opt"] == pixel, "what names its loss is for the check to refuse"
    write(job={"datasets": inputs, "train": {"pixel_opt": pixel}})
    assert resolved("logits")["train"]["pixel_opt"] == {**L1, "loss_weight": 1.0}
    write(job={"train": {"pixel_opt": None}})
    assert resolved("logits")["train"]["pixel_opt"] == {"loss_weight": 1.0}, "with ground truth that is a mistake"


def test_two_forms_of_csd_contradict_each_other_in_what_measures() -> None:
    write(job={"train": {}})
    assert "train.losses.csd.features is 'vqgan' in csd and 'vgg19' in csd_vgg" in error("csd", "csd_vgg")


def test_names_and_paths() -> None:
    write(job={"name": "job"}, scratch={"mine": True}, other={"other": 1})
    assert "mine" not in resolved("scratch"), "a bare name is that of a packaged method"
    assert resolved("scratch.yml")["mine"] is True
    assert resolved("./scratch.yml", "other.yml", "other.yml", "./other.yml")["name"] == "job_other_scratch"
    Path("scratch.yml").unlink()
    for name in ("scratch.yml", "methods/scratch", "options/methods/scratch.yml"):
        assert resolved(name) == resolved("scratch")
    assert "unknown method 'scrach' after --with; did you mean 'scratch'? Give the path" in error("scrach")
    assert f"or one of: {', '.join(packaged_methods())}" in error("zzz", "scratch")
    assert "unknown method 'dckd_x4_rcan' after --with; it is an option file to run by itself (-opt). Give" in error(
        "dckd_x4_rcan"
    )
    for path in ("mine/scratch.yml", "."):
        assert f"unknown method '{path}'" in error(path)
    write(bad="_base_: job.yml\n", worse="train: {losses: [{_replace_: true}]}\n")
    assert "option file 'bad.yml' has _base_, so it is no overlay" in error("bad.yml")
    assert "_replace_ in train.losses[0] means nothing" in error("worse.yml")


def test_an_override_names_the_run() -> None:
    write(job={"name": "job"})
    assert resolved("scratch", "logits")["name"] == "job_logits_scratch"
    assert resolved("scratch", overrides=("name=mine",))["name"] == "mine"
    write(job={"name": 5}, none={"scale": 1})
    assert resolved("none.yml") == {"name": 5, "scale": 1}, "for the check to tell"


def test_a_test_measures_what_the_same_methods_trained() -> None:
    for folder in ("experiments", "../experiments"):
        write(job={"name": "test", "path": {"pretrain_network_g": f"{folder}/job/models/net_g_latest.pth"}})
        path = resolve_options(Path("job.yml"), (), ("scratch", "logits"), is_train=False)[0]["path"]
        assert path == {"pretrain_network_g": f"{folder}/job_logits_scratch/models/net_g_latest.pth"}
        assert resolved("scratch")["path"]["pretrain_network_g"] == f"{folder}/job/models/net_g_latest.pth"
    for weights in ("models/net_g.pth", "experiments/job/net_g.pth", "experiments/a/job/models/net_g.pth", None):
        write(job={"path": {"pretrain_network_g": weights}})
        assert resolve_options(Path("job.yml"), (), ("scratch",), is_train=False)[0]["path"] == {
            "pretrain_network_g": weights
        }
    override = ["path:pretrain_network_g=experiments/b/models/c.pth"]
    found, _ = resolve_options(Path("job.yml"), override, ("scratch",), is_train=False)
    assert found["path"]["pretrain_network_g"] == "experiments/b/models/c.pth"


def test_replace_reaches_the_file() -> None:
    write(job={"train": {"history": {"decay": 0.1}}}, new={"train": {"history": {"_replace_": True, "source": "ema"}}})
    assert resolved("new.yml")["train"]["history"] == {"source": "ema"}


def test_a_method_is_a_base_by_its_folder_and_no_option_file() -> None:
    write(mine="_base_: [dckd_x4_rcan.yml, methods/scratch.yml]\nname: mine\n")
    opt, source = load_options("mine.yml")
    assert (opt["train"]["logits_opt"], opt["train"]["pixel_opt"]["type"], opt["name"]) == (None, "L1Loss", "mine")
    assert "methods/scratch.yml" in source
    write(wrong="_base_: methods/scrach.yml\n")
    with pytest.raises(ConfigError, match=r"did you mean 'methods/scratch\.yml'"):
        load_options("wrong.yml")
    for name in ("scratch", "methods/scratch.yml"):
        with pytest.raises(ConfigError, match=r"is a method, which changes an option file .*-opt FILE --with scratch"):
            find_options(name)


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_job(Path())
    _, args = parse_options(Path(), argv=["-opt", "job.yml", "--with", "scratch", "--with", "logits", "--debug"])
    found = args.resolved
    assert (found["name"], args.methods) == ("tiny_logits_scratch", ("logits", "scratch"))
    assert found["train"]["logits_opt"] == {**L1, "loss_weight": 1.0}
    assert found["train"]["contrastive_opt"] is None
    assert main(["config", "job.yml", "--with", "scratch", "logits", "--force_yml", "name=x"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# job.yml --with logits scratch\nname: x\n")
    assert yaml.safe_load(printed)["train"] == found["train"]
    assert main(["config", "--with", "scratch", "job.yml"]) == 1
    assert "needs an option file, before --with, which takes all names that follow it" in capsys.readouterr().err
    assert main(["config", "job.yml", "--with", "scratch", "--force_yml", "train:pixel_opt:typ=1"]) == 1
    assert "job.yml --with scratch: 1 problem\n  1. unknown key 'typ'" in capsys.readouterr().err


@pytest.mark.parametrize("command", [("train",), ("test",), ("config",), ("train", "-opt", "none.yml", "--debug")])
def test_without_a_name_the_methods_are_listed(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--with"])
    assert ended.value.code == 0
    printed, errors = capsys.readouterr()
    assert errors == ""
    for name, file in packaged_methods().items():
        assert f"\n  {name} " in printed
        assert " ".join(description_of(file).split()) in " ".join(printed.split())


def test_a_description_is_the_first_line(tmp_path: Path) -> None:
    file = tmp_path / "a.yml"
    for text, said in (("# a: it is (x: y)\n# b", "it is (x: y)"), ("train:\n", ""), ("# other: it\n", "# other: it")):
        file.write_text(text)
        assert description_of(file) == said


def test_the_job_of_the_tests_takes_every_term() -> None:
    write(job=job_options())
    assert {k for k, v in resolved("dckd_consistency")["train"].items() if k.endswith("_opt") and v} == {
        k for k, v in job_options()["train"].items() if k.endswith("_opt")
    }
