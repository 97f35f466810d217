"""What `basicsr distill` decides: patches, budgets, methods, option files, and whether a project goes on."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import yaml

from dckd_basicsr.archs import PretrainedNet, build
from dckd_basicsr.bicubic import imresize_uint8
from dckd_basicsr.commands.distill import _fitting, add_distill_parser, run_distill
from dckd_basicsr.config import load_options, option_problems
from dckd_basicsr.data.photos.images import read_image
from dckd_basicsr.errors import CheckpointError, ConfigError
from dckd_basicsr.portable import open_network
from dckd_basicsr.project import (
    HELD_OUT,
    OPTIONS,
    check_files,
    check_formats,
    make_plan,
    pack_photos,
    parse_time,
    read_plan,
    write_option_files,
    write_teacher_outputs,
    write_test_images,
)
from dckd_basicsr.project.deliver import chosen_formats
from dckd_basicsr.project.held_out import held_out_names
from dckd_basicsr.project.option_files import TESTS
from dckd_basicsr.project.plan import write_plan
from tests.tiny import write_photos
from tests.unit.project.parts import EDSR, NAFNET, WISH, divided, teacher_file


def test_times_are_read_as_people_write_them():
    assert [parse_time(text) for text in ("90s", "30m", "1.5h", "1h30m")] == [90, 1800, 5400, 5400]
    for text in ("30", "m", "", "0s", "1d"):
        with pytest.raises(ConfigError, match="a time is written as"):
            parse_time(text)


def test_a_plan_suits_both_networks(tmp_path):
    teacher = teacher_file(tmp_path, EDSR)
    plan = make_plan(WISH, teacher, ("x",))
    assert (plan.scale, plan.method, plan.patch % 16, plan.network["upscale"]) == (2, "logits", 0, 2)
    assert make_plan(replace(WISH, student="span-s"), teacher, ()).method == "dckd_shallow"
    assert make_plan(replace(WISH, student="span-s", method="dckd"), teacher, ()).method == "dckd"
    assert make_plan(replace(WISH, student="swinir-light"), teacher, ()).patch % 8 == 0
    with pytest.raises(ConfigError, match=r"--patch 20: a network takes multiples of 8"):
        make_plan(replace(WISH, student="swinir-light", patch=20), teacher, ())
    with pytest.raises(ConfigError, match=r"no method 'logit'; did you mean 'logits'"):
        make_plan(replace(WISH, method="logit"), teacher, ())
    with pytest.raises(ConfigError, match=r"nafnet-16 is made for scale 1, and this is scale 2"):
        make_plan(replace(WISH, student="nafnet-16"), teacher, ())
    still = teacher_file(tmp_path, NAFNET)
    assert make_plan(replace(WISH, student=None, kind="lq"), still, ()).student == "nafnet-16"


@pytest.mark.parametrize(
    ("network", "train", "expected"),
    [
        ({"type": "spandrel:SPAN", "num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 2}, {}, "span-s"),
        (EDSR, {}, "edsr-s"),
        (EDSR, {"optim_g": {"type": "Adam", "lr": 3e-4}}, "edsr-s"),
        ({"type": "spandrel:Compact", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_conv": 1, "upscale": 2,
          "act_type": "prelu"}, {}, "compact-s"),
    ],
)  # fmt: skip
def test_an_option_file_as_student_is_trained_as_the_preset_of_its_network(tmp_path, network, train, expected):
    (tmp_path / "s.yml").write_text(yaml.safe_dump({"network_g": network, "train": train}))
    teacher = teacher_file(tmp_path, EDSR)
    mine = make_plan(replace(WISH, student=str(tmp_path / "s.yml")), teacher, ())
    known = make_plan(replace(WISH, student=expected), teacher, ())
    assert mine.method == known.method
    assert mine.lr == (3e-4 if train else known.lr)
    assert make_plan(replace(WISH, student=str(tmp_path / "s.yml"), lr=1e-5), teacher, ()).lr == 1e-5


def test_a_project_goes_on_with_the_same_command_only(tmp_path):
    plan = make_plan(WISH, teacher_file(tmp_path, EDSR), ("x", "y"))
    assert read_plan(tmp_path, WISH) is None
    write_plan(plan, tmp_path)
    assert read_plan(tmp_path, WISH) == plan
    with pytest.raises(ConfigError, match=r"iterations was 10, is not given; seconds was not given, is 60.*-o another"):
        read_plan(tmp_path, replace(WISH, iterations=None, seconds=60))
    for other in ({"student": "edsr-s"}, {"method": "dckd"}, {"batch": 4}, {"patch": 16}, {"lr": 1e-4}, {"seed": 1}):
        with pytest.raises(ConfigError, match=f"'{tmp_path}' was begun with another command: {next(iter(other))} was"):
            read_plan(tmp_path, replace(WISH, **other))
        assert read_plan(tmp_path, replace(WISH, **other), training=False) is None, "it is planned again"
    for training in (False, True):
        with pytest.raises(ConfigError, match="kind was gt, is lq"):
            read_plan(tmp_path, replace(WISH, kind="lq"), training=training)
        with pytest.raises(ConfigError, match="teacher was t, is u"):
            read_plan(tmp_path, replace(WISH, teacher="u"), training=training)
    with pytest.raises(ConfigError, match="the photos have changed"):
        read_plan(tmp_path, replace(WISH, photos="q"))
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        read_plan(tmp_path, WISH)


@pytest.mark.parametrize("kind", ["gt", "lq", "pairs"])
def test_held_out_images_and_option_files_of_every_kind(tmp_path, monkeypatch, kind):
    """The files pass the check of option files in the project's folder; the teacher's answers are its own."""
    monkeypatch.chdir(tmp_path)
    hr = write_photos(tmp_path / "hr", 4, size=(61, 75))
    lq = tmp_path / "lq"
    lq.mkdir()
    for file in hr.iterdir():
        photo = read_image(file)[:60, :74]
        cv2.imwrite(str(lq / file.name), imresize_uint8(photo, 0.5))
        if kind == "pairs":
            cv2.imwrite(str(file), photo)
    teacher = teacher_file(tmp_path, EDSR)
    source = lq if kind == "lq" else hr
    photos = divided(source, kind, 2, lq if kind == "pairs" else None)
    wish = replace(WISH, kind=kind, patch=16)
    plan = make_plan(wish, teacher, tuple(job.key for job in photos.held_out))
    pack_photos(photos, plan, tmp_path)
    write_test_images(photos.held_out, plan, tmp_path)
    write_teacher_outputs(plan, teacher, tmp_path)
    (name,) = held_out_names(tmp_path)
    write_option_files(plan, teacher, "teacher.pth", tmp_path)

    options, _ = load_options(tmp_path / OPTIONS)
    assert option_problems(options, is_train=True) == []
    assert (options["train"]["pixel_opt"] is None) == (kind == "lq")
    assert options["datasets"]["val"]["name"] == ("teacher" if kind == "lq" else "held_out"), "what it is compared with"
    for test in TESTS.values():
        if (tmp_path / test).is_file() and test != "test_student.yml":  # whose weights are not there yet
            assert option_problems(load_options(tmp_path / test)[0], is_train=False) == []
    assert (tmp_path / "test_teacher.yml").is_file() == (kind != "lq")

    low = read_image(tmp_path / HELD_OUT / "LQ" / f"{name}.png")
    high = read_image(tmp_path / HELD_OUT / "teacher" / f"{name}.png")
    assert high.shape[:2] == (2 * low.shape[0], 2 * low.shape[1])
    assert np.array_equal(low, read_image(lq / f"{name}.png")) or kind == "gt"
    if kind != "lq":
        truth = read_image(tmp_path / HELD_OUT / "GT" / f"{name}.png")
        assert np.array_equal(imresize_uint8(truth, 0.5), low)
    x = torch.from_numpy(low[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        answer = (teacher.net(x)[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()[..., ::-1]
    assert np.array_equal(answer, high)


def test_formats_are_refused_before_the_training(tmp_path):
    teacher = teacher_file(tmp_path, EDSR)
    check_formats(make_plan(WISH, teacher, ()), ["safetensors", "pth"])
    with pytest.raises(CheckpointError, match="student swinir-light cannot be exported to ncnn"):
        check_formats(make_plan(replace(WISH, student="swinir-light"), teacher, ()), ["ncnn"])


def test_onnx_is_left_out_where_one_of_its_packages_is_missing(monkeypatch):
    monkeypatch.setattr("dckd_basicsr.project.deliver.find_spec", lambda name: None if name == "onnxslim" else name)
    assert chosen_formats(None) == ["safetensors"]


def test_the_file_of_a_pretrained_net_is_found_from_the_projects_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compact = {"type": "spandrel:Compact", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_conv": 1,
               "upscale": 2, "act_type": "prelu"}  # fmt: skip
    torch.save({"params": build(compact).net.state_dict()}, tmp_path / "c.pth")
    (tmp_path / "run" / "models").mkdir(parents=True)
    torch.save({"params": PretrainedNet("c.pth").state_dict()}, tmp_path / "run" / "models" / "net_g_latest.pth")
    (tmp_path / "run" / "options.yml").write_text("network_g: {type: PretrainedNet, path: c.pth}\ntrain: {}\n")
    teacher = open_network("run")
    plan = make_plan(replace(WISH, student="run/options.yml"), teacher, ())
    (tmp_path / "out").mkdir()
    write_option_files(plan, teacher, "run", tmp_path / "out")
    options, _ = load_options(tmp_path / "out" / OPTIONS)
    for block in ("network_g", "network_teacher"):
        assert options[block] == {"type": "PretrainedNet", "path": str(tmp_path / "c.pth")}


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ("{type: EDSRR}", "there is no network EDSRR"),
        ("{type: EDSR, num_fat: 3}", "num_fat"),
        ("{type: 'spandrel:SPAM'}", "no network 'SPAM'; did you mean 'SPAN'"),
    ],
)
def test_a_student_that_cannot_be_built_is_told(tmp_path, block, why):
    (tmp_path / "s.yml").write_text(f"network_g: {block}\n")
    teacher = teacher_file(tmp_path, EDSR)
    with pytest.raises(ConfigError, match=why):
        make_plan(replace(WISH, student=str(tmp_path / "s.yml")), teacher, ())


def test_a_project_inside_its_photos_is_refused(tmp_path, monkeypatch):
    """What it writes would be photos when it goes on."""
    monkeypatch.chdir(write_photos(tmp_path / "photos", 3))
    teacher_file(tmp_path, EDSR)
    parser = argparse.ArgumentParser()
    add_distill_parser(parser.add_subparsers())
    with pytest.raises(ConfigError, match=r"-o small lies in '.', and what is written there would be taken for photos"):
        run_distill(parser.parse_args(["distill", "../teacher.pth", ".", "-o", "small"]))
    assert not (tmp_path / "photos" / "small").exists()


def test_the_files_of_a_method_are_found_from_the_projects_folder_or_missed_before_any_work(tmp_path, monkeypatch):
    """The method names its VGG relative to where the command runs; the training runs elsewhere."""
    monkeypatch.chdir(tmp_path)
    teacher = teacher_file(tmp_path, EDSR)
    plan = make_plan(replace(WISH, method="csd_vgg"), teacher, ())
    with pytest.raises(
        ConfigError, match=r"csd_vgg: 1 problem\n.*vgg19-dcbb9e9d.pth' does not exist; download torchvis"
    ):
        check_files(plan, teacher, "teacher.pth")
    vgg = tmp_path / "pretrained" / "vgg19-dcbb9e9d.pth"
    vgg.parent.mkdir()
    vgg.touch()
    check_files(plan, teacher, "teacher.pth")
    write_option_files(plan, teacher, "teacher.pth", tmp_path / "out")
    options, _ = load_options(tmp_path / "out" / OPTIONS)
    assert options["train"]["losses"]["csd"]["weights"] == str(vgg)

    (tmp_path / "mine.yml").write_text("train: {contrastive_opt: {type: ContrastiveLoss, weights: [1, 1, 1, 1, 1]}}\n"
                                       "path: {pretrain_network_vqgan: my_vqgan.pth}\n")  # fmt: skip
    plan = make_plan(replace(WISH, method="mine.yml"), teacher, ())
    with pytest.raises(ConfigError, match=r"path.pretrain_network_vqgan: '\S*my_vqgan.pth' does not exist"):
        check_files(plan, teacher, "teacher.pth")
    (tmp_path / "my_vqgan.pth").touch()
    check_files(plan, teacher, "teacher.pth")
    write_option_files(plan, teacher, "teacher.pth", tmp_path / "out")
    options, _ = load_options(tmp_path / "out" / OPTIONS)
    assert options["path"]["pretrain_network_vqgan"] == str(tmp_path / "my_vqgan.pth")


@pytest.mark.parametrize(
    ("method", "place"),
    [
        ("network_teacher: {type: PretrainedNet, path: far/t.pth}", "network_teacher.path"),
        (
            "network_teacher: {type: TeacherAggregation, teachers: [{type: PretrainedNet, path: far/t.pth}]}",
            r"network_teacher.teachers\[0\].path",
        ),
    ],
)
def test_files_in_the_blocks_of_a_methods_teachers_are_looked_for_too(tmp_path, monkeypatch, method, place):
    monkeypatch.chdir(tmp_path)
    teacher = teacher_file(tmp_path, EDSR)
    (tmp_path / "mine.yml").write_text(f"path: {{pretrain_network_teacher: ~}}\n{method}\n")
    plan = make_plan(replace(WISH, method="mine.yml"), teacher, ())
    with pytest.raises(ConfigError, match=rf"{place}: '\S*far/t.pth' does not exist"):
        check_files(plan, teacher, "teacher.pth")
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "t.pth").touch()
    check_files(plan, teacher, "teacher.pth")
    write_option_files(plan, teacher, "teacher.pth", tmp_path / "out")
    assert f"path: {tmp_path / 'far' / 't.pth'}" in (tmp_path / "out" / OPTIONS).read_text("utf-8")


@pytest.mark.parametrize("text", ["path: 3", "train: 3", 'train: {losses: {"my.csd": {type: csd, weights: x.pth}}}'])
def test_a_malformed_method_is_left_to_the_check_of_the_file(tmp_path, monkeypatch, text):
    """But no traceback; what it names is missed by its own place at most."""
    monkeypatch.chdir(tmp_path)
    teacher = teacher_file(tmp_path, EDSR)
    (tmp_path / "mine.yml").write_text(text + "\n")
    plan = make_plan(replace(WISH, method="mine.yml"), teacher, ())
    with contextlib.suppress(ConfigError):
        check_files(plan, teacher, "teacher.pth")


def test_a_method_without_its_file_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos", 3)
    teacher_file(tmp_path, EDSR)
    parser = argparse.ArgumentParser()
    add_distill_parser(parser.add_subparsers())
    with pytest.raises(ConfigError, match=r"vgg19-dcbb9e9d.pth' does not exist"):
        run_distill(parser.parse_args(["distill", "teacher.pth", "photos", "-o", "small", "--method", "csd_vgg"]))
    assert not (tmp_path / "small").exists()


def test_the_time_is_told_as_it_was_asked_for():
    assert _fitting(290, 0.05, 20.0, "20s") == "290 in 20s"
    assert _fitting(20, 1.5, 20.0, "20s") == "20, the fewest that are trained, which take 30 s and not 20s"
