"""The photos of a project: which are held out, what becomes of damaged ones, and how the held-out ones are restored."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from dckd_basicsr.commands.distill import _with_test_images
from dckd_basicsr.config import load_options
from dckd_basicsr.data.photos.images import read_image
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.project import (
    HELD_OUT,
    OPTIONS,
    choose_tiles,
    find_photos,
    make_plan,
    pack_photos,
    read_plan,
    remove_measured,
    write_option_files,
    write_teacher_outputs,
    write_test_images,
)
from dckd_basicsr.project.held_out import held_out_names
from dckd_basicsr.project.outcome import _passed, tiles_of
from tests.tiny import write_photos
from tests.unit.project.parts import EDSR, NAFNET, WISH, divided, teacher_file


def damage(photo):
    """Change bytes of a picture behind its header, and nothing of its size."""
    data = bytearray(photo.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    photo.write_bytes(data)


def test_photos_are_held_out_evenly_and_always_the_same(tmp_path):
    write_photos(tmp_path / "a" / "deeper", 13)
    write_photos(tmp_path / "a", 10)
    photos = divided(tmp_path / "a", "gt", 2)
    assert (len(photos.train), len(photos.held_out)) == (21, 2)
    keys = [job.key for job in (*photos.train, *photos.held_out)]
    assert len(set(keys)) == 23
    again = divided(tmp_path / "a", "gt", 2)
    assert ([j.key for j in again.held_out], again.digest) == ([j.key for j in photos.held_out], photos.digest)
    (tmp_path / "a" / "photo0.png").unlink()
    assert divided(tmp_path / "a", "gt", 2).digest != photos.digest


def test_photos_that_cannot_be_used_are_told_and_left_out(tmp_path):
    write_photos(tmp_path / "a", 3)
    (tmp_path / "a" / "broken.png").write_bytes(b"no image")
    photos = divided(tmp_path / "a", "gt", 2)
    assert len(photos.train) + len(photos.held_out) == 3
    assert "broken.png" in photos.unusable[0]
    for i in (1, 2):
        (tmp_path / "a" / f"photo{i}.png").unlink()
    with pytest.raises(DatasetError, match=r"has 1 photos that can be used, and at least 2.*broken\.png"):
        divided(tmp_path / "a", "gt", 2)


def test_photos_too_small_for_the_metrics_are_trained_on_and_not_tested_on(tmp_path):
    write_photos(tmp_path / "a", 3, size=(9, 40))
    with pytest.raises(DatasetError, match="no photo that is large enough to test on"):
        divided(tmp_path / "a", "gt", 4)
    write_photos(tmp_path / "a" / "large", 1, size=(20, 20))
    photos = divided(tmp_path / "a", "gt", 4)
    assert [job.key for job in photos.held_out] == ["large/photo0"]
    assert len(photos.train) == 3


def test_photos_of_one_name_in_two_folders_are_both_tested_on(tmp_path):
    write_photos(tmp_path / "hr" / "a", 1, size=(40, 40))
    photo = next((tmp_path / "hr" / "a").iterdir())
    photo.rename(tmp_path / "hr" / "a" / "x.png")
    write_photos(tmp_path / "hr", 1, size=(40, 40))
    (tmp_path / "hr" / "photo0.png").rename(tmp_path / "hr" / "a__x.png")
    teacher = teacher_file(tmp_path, EDSR)
    photos = divided(tmp_path / "hr", "gt", 2)
    jobs = [*photos.train, *photos.held_out]
    plan = make_plan(WISH, teacher, tuple(job.key for job in jobs))
    write_test_images(jobs, plan, tmp_path)
    write_teacher_outputs(plan, teacher, tmp_path)
    assert len(held_out_names(tmp_path)) == 2


def test_a_damaged_photo_is_not_held_out_and_another_is(tmp_path):
    write_photos(tmp_path / "a", 6)
    before = divided(tmp_path / "a", "gt", 2)
    assert not before.unusable
    damage(before.held_out[0].path)
    after = divided(tmp_path / "a", "gt", 2)
    assert len(after.held_out) == 1
    assert len(after.train) == 4
    assert before.held_out[0].key not in [job.key for job in (*after.train, *after.held_out)]
    assert [before.held_out[0].path.name in reason for reason in after.unusable] == [True]
    for job in (*after.train, *after.held_out):
        damage(job.path)
    with pytest.raises(DatasetError, match="has 1 photos that can be used"):
        divided(tmp_path / "a", "gt", 2)


def test_a_pair_whose_input_is_damaged_is_not_held_out(tmp_path):
    hr = write_photos(tmp_path / "hr", 3, size=(60, 60))
    lq = write_photos(tmp_path / "lq", 3, size=(30, 30))
    first = divided(hr, "pairs", 2, lq).held_out[0]
    damage(lq / first.path.name)
    second = divided(hr, "pairs", 2, lq)
    assert second.held_out[0].key != first.key
    assert str(lq / first.path.name) in second.unusable[0]


@pytest.mark.parametrize("kind", ["gt", "lq"])
def test_a_damaged_training_photo_is_told_and_not_counted(tmp_path, kind):
    write_photos(tmp_path / "a", 6)
    photos = divided(tmp_path / "a", kind, 2)
    damage(photos.train[2].path)
    plan = make_plan(replace(WISH, kind=kind), teacher_file(tmp_path, EDSR), tuple(j.key for j in photos.held_out))
    packed = pack_photos(photos, plan, tmp_path)
    assert len(photos.train) == 4
    assert [job.key for job in packed.train] == [job.key for i, job in enumerate(photos.train) if i != 2]
    assert [photos.train[2].path.name in reason for reason in packed.unusable] == [True]
    # The command that goes on knows it from what is packed.
    again = pack_photos(find_photos(tmp_path / "a", None, kind, 2).held(plan.held_out), plan, tmp_path)
    assert [job.key for job in again.train] == [job.key for job in packed.train]


@pytest.fixture
def deblurring(tmp_path, monkeypatch):
    """A project with a NAFNet, which has means over the image, and images larger than any tile was."""
    monkeypatch.setattr("dckd_basicsr.project.held_out._device", lambda: torch.device("cpu"))
    monkeypatch.setattr("dckd_basicsr.project.held_out.available_bytes", lambda device: 8 << 30)
    write_photos(tmp_path / "a", 2, size=(280, 330))
    torch.manual_seed(0)
    teacher = teacher_file(tmp_path, NAFNET)
    with torch.no_grad():
        for name, parameter in teacher.net.named_parameters():
            if name.endswith(("beta", "gamma")):  # zero at first, which leaves the means out
                parameter.fill_(0.5)
    photos = divided(tmp_path / "a", "lq", 1)
    plan = make_plan(replace(WISH, student=None, kind="lq"), teacher, tuple(job.key for job in photos.held_out))
    write_test_images(photos.held_out, plan, tmp_path)
    return plan, teacher


def test_held_out_images_pass_whole(tmp_path, deblurring):
    plan, teacher = deblurring
    plan = replace(plan, tiles=choose_tiles(plan, teacher, tmp_path))
    assert plan.tiles == {"student": None, "teacher": None}
    assert _passed(plan) == "restored whole"
    write_teacher_outputs(plan, teacher, tmp_path)
    (name,) = held_out_names(tmp_path)
    low = read_image(tmp_path / HELD_OUT / "LQ" / f"{name}.png")
    x = torch.from_numpy(low[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        answer = (teacher.net(x)[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()[..., ::-1]
    assert np.array_equal(read_image(tmp_path / HELD_OUT / "teacher" / f"{name}.png"), answer)
    write_option_files(plan, teacher, "teacher.pth", tmp_path)
    for file in (OPTIONS, "test_student.yml", "test_input.yml"):
        assert "tile" not in load_options(tmp_path / file)[0]["val"]


def test_images_and_results_of_a_plan_that_had_not_decided_on_tiles_are_made_again(tmp_path, deblurring):
    plan, teacher = deblurring
    (image,) = (tmp_path / HELD_OUT / "LQ").iterdir()
    stale = tmp_path / HELD_OUT / "teacher" / image.name
    stale.parent.mkdir()
    stale.write_bytes(image.read_bytes())
    for name in ("student", "of_the_user"):
        (tmp_path / "results" / name).mkdir(parents=True)
    photos = find_photos(tmp_path / "a", None, "lq", 1).held(plan.held_out)
    remove_measured(tmp_path)
    decided = _with_test_images(plan, photos, teacher, tmp_path)
    assert decided.tiles == {"student": None, "teacher": None}
    assert read_plan(tmp_path, plan.wish) == decided
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["of_the_user"]
    answer = stale.read_bytes()
    assert answer != image.read_bytes()
    before = stale.stat().st_mtime_ns
    assert _with_test_images(decided, photos, teacher, tmp_path) == decided
    assert stale.stat().st_mtime_ns == before, "made once"


def test_where_memory_is_short_all_are_restored_in_tiles_and_that_is_said(tmp_path, monkeypatch, deblurring):
    plan, teacher = deblurring
    monkeypatch.setattr("dckd_basicsr.project.held_out.available_bytes", lambda device: 0)
    plan = replace(plan, tiles=choose_tiles(plan, teacher, tmp_path))
    sizes = plan.tiles
    assert all(64 < size < 128 for size in sizes.values()), "the smallest that are worth their overlap"
    write_teacher_outputs(plan, teacher, tmp_path)
    (name,) = held_out_names(tmp_path)
    low, tiled = (read_image(tmp_path / HELD_OUT / part / f"{name}.png") for part in ("LQ", "teacher"))
    whole = replace(plan, tiles=None)
    (tmp_path / "other" / HELD_OUT / "LQ").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "other" / HELD_OUT / "LQ" / f"{name}.png"), low)
    write_teacher_outputs(whole, teacher, tmp_path / "other")
    assert not np.array_equal(read_image(tmp_path / "other" / HELD_OUT / "teacher" / f"{name}.png"), tiled)
    write_option_files(plan, teacher, "teacher.pth", tmp_path)
    for file in (OPTIONS, "test_student.yml"):
        assert load_options(tmp_path / file)[0]["val"]["tile"] == {"size": sizes["student"], "overlap": 32}
    assert "tile" not in load_options(tmp_path / "test_input.yml")[0]["val"], "an enlargement needs no memory"
    said = tiles_of(plan, "teacher")
    assert said == f"in tiles of {sizes['teacher']} px with an overlap of 32, for want of memory"
    assert _passed(replace(plan, tiles={"student": None, "teacher": sizes["teacher"]})) == (
        f"by the student whole, by the teacher {said}"
    )
