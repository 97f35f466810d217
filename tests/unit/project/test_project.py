"""What `basicsr distill` decides: photos held out, patches, budgets, option files, and whether a project goes on."""

from __future__ import annotations

import argparse
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from dckd_basicsr.archs import PretrainedNet, build
from dckd_basicsr.bicubic import imresize_uint8
from dckd_basicsr.commands.distill import add_distill_parser, run_distill
from dckd_basicsr.config import load_options, option_problems
from dckd_basicsr.data.photos.images import read_image
from dckd_basicsr.errors import CheckpointError, ConfigError, DatasetError
from dckd_basicsr.inference import add_results
from dckd_basicsr.portable import open_network
from dckd_basicsr.project import (
    HELD_OUT,
    OPTIONS,
    Wish,
    check_formats,
    choose_photos,
    make_plan,
    pack_photos,
    parse_time,
    read_plan,
    write_option_files,
    write_teacher_outputs,
)
from dckd_basicsr.project.deliver import chosen_formats, deliver
from dckd_basicsr.project.option_files import TESTS
from dckd_basicsr.project.outcome import Outcome, Row
from dckd_basicsr.project.plan import Plan, write_plan
from tests.tiny import write_photos

EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 2}
NAFNET = {"type": "NAFNet", "width": 4, "middle_blk_num": 1, "enc_blk_nums": [1], "dec_blk_nums": [1]}
WISH = Wish("t", "p", "gt", "compact-s", None, 10, None, None, None, None, 0)


def teacher_file(folder, options):
    torch.save({"params": build(options).net.state_dict()}, folder / "teacher.pth")
    return open_network(folder / "teacher.pth")


def test_photos_are_held_out_evenly_and_always_the_same(tmp_path):
    write_photos(tmp_path / "a" / "deeper", 13)
    write_photos(tmp_path / "a", 10)
    photos = choose_photos(tmp_path / "a", None, "gt", 2)
    assert (len(photos.train), len(photos.held_out)) == (21, 2)
    keys = [job.key for job in (*photos.train, *photos.held_out)]
    assert len(set(keys)) == 23
    again = choose_photos(tmp_path / "a", None, "gt", 2)
    assert ([j.key for j in again.held_out], again.digest) == ([j.key for j in photos.held_out], photos.digest)
    (tmp_path / "a" / "photo0.png").unlink()
    assert choose_photos(tmp_path / "a", None, "gt", 2).digest != photos.digest


def test_photos_that_cannot_be_used_are_told_and_left_out(tmp_path):
    write_photos(tmp_path / "a", 3)
    (tmp_path / "a" / "broken.png").write_bytes(b"no image")
    photos = choose_photos(tmp_path / "a", None, "gt", 2)
    assert len(photos.train) + len(photos.held_out) == 3
    assert "broken.png" in photos.unusable[0]
    for i in (1, 2):
        (tmp_path / "a" / f"photo{i}.png").unlink()
    with pytest.raises(DatasetError, match=r"has 1 photos that can be used, and at least 2.*broken\.png"):
        choose_photos(tmp_path / "a", None, "gt", 2)


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


def test_a_project_goes_on_with_the_same_command_only(tmp_path):
    plan = make_plan(WISH, teacher_file(tmp_path, EDSR), ("x", "y"))
    assert read_plan(tmp_path, WISH) is None
    write_plan(plan, tmp_path)
    assert read_plan(tmp_path, WISH) == plan
    with pytest.raises(ConfigError, match=r"iterations was 10, is not given; seconds was not given, is 60.*-o another"):
        read_plan(tmp_path, replace(WISH, iterations=None, seconds=60))
    assert read_plan(tmp_path, replace(WISH, method="dckd"), training=False) is None, "it is planned again"
    with pytest.raises(ConfigError, match="kind was gt, is lq"):
        read_plan(tmp_path, replace(WISH, kind="lq"), training=False)
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
    photos = choose_photos(source, lq if kind == "pairs" else None, kind, 2)
    wish = replace(WISH, kind=kind, patch=16)
    plan = make_plan(wish, teacher, tuple(job.key for job in photos.held_out))
    pack_photos(photos, plan, tmp_path)
    (name,) = write_teacher_outputs(photos.held_out, plan, teacher, tmp_path)
    write_option_files(plan, teacher, "teacher.pth", tmp_path)

    options, _ = load_options(tmp_path / OPTIONS)
    assert option_problems(options, is_train=True) == []
    assert (options["train"]["pixel_opt"] is None) == (kind == "lq")
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


def test_a_student_that_is_behind_its_input_is_told():
    rows = [Row("bicubic", None, None, 28.0, 0.8, 33.0), Row("student", 1, 1.0, 27.9, 0.8, 34.0)]
    assert Outcome((*rows,), "s.png", "cpu").is_behind()
    assert not Outcome((rows[0], replace(rows[1], psnr=28.1)), "s.png", "cpu").is_behind()
    alone = [replace(row, psnr=None, ssim=None) for row in rows]
    assert not Outcome((*alone,), "s.png", "cpu").is_behind()
    assert "SSIM" not in Outcome((*alone,), "s.png", "cpu").table()


def test_a_student_is_delivered_whatever_its_teacher_is_called(tmp_path):
    rows = [Row("bicubic", None, None, 28.0, 0.8, 33.0), Row("student", 1, 1.0, 29.0, 0.8, 34.0)]
    outcome = Outcome((*rows,), "comparison.png", "cpu")
    cv2.imwrite(str(tmp_path / "comparison.png"), np.zeros((4, 4, 3), np.uint8))
    add_results(tmp_path / "results/student", "held_out", {"a": {"psnr": 30.0}})
    plan = Plan(WISH, 2, "compact-s", EDSR, "dckd_shallow", 1, 8, 1e-3, ("a",), 10)
    named = str(teacher_file(tmp_path, EDSR).file.rename(tmp_path / "my teacher (1) 网.pth"))
    network = open_network(named)
    (tmp_path / HELD_OUT / "LQ").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / HELD_OUT / "LQ/tiny.png"), np.zeros((8, 40, 3), np.uint8))
    for formats in (["pth", "safetensors"], ["safetensors"]):
        done = deliver(plan, network, named, network, outcome, formats, tmp_path)
        names = {path.name for path in (tmp_path / "student").iterdir()}
        weights = {f"2x_compact-s_my_teacher_1.{suffix}" for suffix in formats}
        assert names == {*weights, "README.md", "config.json", "openmodeldb.json", "comparison.png"}
    assert "does what my teacher (1) 网 (EDSR) does" in done.card.read_text(encoding="utf-8")


def test_photos_too_small_for_the_metrics_are_trained_on_and_not_tested_on(tmp_path):
    write_photos(tmp_path / "a", 3, size=(9, 40))
    with pytest.raises(DatasetError, match="no photo that is large enough to test on"):
        choose_photos(tmp_path / "a", None, "gt", 4)
    write_photos(tmp_path / "a" / "large", 1, size=(20, 20))
    photos = choose_photos(tmp_path / "a", None, "gt", 4)
    assert [job.key for job in photos.held_out] == ["large/photo0"]
    assert len(photos.train) == 3


def test_photos_of_one_name_in_two_folders_are_both_tested_on(tmp_path):
    write_photos(tmp_path / "hr" / "a", 1, size=(40, 40))
    photo = next((tmp_path / "hr" / "a").iterdir())
    photo.rename(tmp_path / "hr" / "a" / "x.png")
    write_photos(tmp_path / "hr", 1, size=(40, 40))
    (tmp_path / "hr" / "photo0.png").rename(tmp_path / "hr" / "a__x.png")
    teacher = teacher_file(tmp_path, EDSR)
    photos = choose_photos(tmp_path / "hr", None, "gt", 2)
    jobs = [*photos.train, *photos.held_out]
    plan = make_plan(WISH, teacher, tuple(job.key for job in jobs))
    assert len(set(write_teacher_outputs(jobs, plan, teacher, tmp_path))) == 2


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
