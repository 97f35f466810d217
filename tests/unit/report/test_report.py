"""Tables, strips and result files."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dckd_basicsr.archs import ArchFacts
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.inference import add_results, read_results
from dckd_basicsr.report import (
    Box,
    Panel,
    comparison_strip,
    markdown_table,
    milliseconds_per_megapixel,
    parameter_count,
    stack_strips,
    write_png,
)


def test_table_columns_are_aligned():
    lines = markdown_table(["method", "dB"], [["bicubic", "28.42"], ["a", "9"]]).splitlines()
    assert lines[0] == "| method  | dB    |"
    assert len({len(line) for line in lines}) == 1


def test_strip_shows_the_same_place_at_every_scale():
    truth = np.zeros((64, 64, 3), np.uint8)
    truth[16:32, 32:48] = (10, 200, 30)
    small = truth[::4, ::4]
    box = Box(top=16, left=32, size=16)
    strip = comparison_strip([Panel("LQ", small), Panel("GT", truth, "x")], box, truth, side=48)
    assert strip.dtype == np.uint8
    assert (strip[:48, :48] == (10, 200, 30)).all()
    assert (strip[:48, -48:] == (10, 200, 30)).all()
    assert (strip[:48, 48:-48] == 255).all()  # the gap
    assert (strip[48:] < 128).any()  # the labels
    assert stack_strips([strip, strip]).shape[0] > 2 * strip.shape[0]


def test_a_crop_outside_the_image_is_refused():
    with pytest.raises(ValueError, match="does not fit the ground truth of 8x8"):
        comparison_strip([], Box(4, 0, 8), np.zeros((8, 8, 3), np.uint8))


def test_png_round_trip(tmp_path):
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    write_png(image, tmp_path / "a" / "x.png")
    assert (cv2.imread(str(tmp_path / "a" / "x.png")) == image).all()
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["x.png"]


def test_results_accumulate_per_dataset(tmp_path):
    add_results(tmp_path, "Set5", {"baby": {"psnr": 30.0}, "bird": {"psnr": 34.0}})
    add_results(tmp_path, "Set14", {"zebra": {"psnr": 25.0}})
    results = read_results(tmp_path)
    assert list(results) == ["Set5", "Set14"]
    assert results["Set5"] == {
        "count": 2, "mean": {"psnr": 32.0}, "images": {"baby": {"psnr": 30.0}, "bird": {"psnr": 34.0}}
    }  # fmt: skip


def test_missing_results_say_who_writes_them(tmp_path):
    with pytest.raises(DatasetError, match="basicsr test"):
        read_results(tmp_path)


def test_parameters_are_counted_whether_they_train_or_not_and_buffers_are_not():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).requires_grad_(False))
    assert parameter_count(net) == 3 * 4 * 9 + 4 + 8


def test_time_is_a_median_per_million_pixels_of_output(monkeypatch):
    """A call takes 2, 2, 90, 2 and 1 ms on a clock of its own; the first, untimed one takes a second."""
    clock, durations = [0.0], iter([1.0, 2e-3, 2e-3, 90e-3, 2e-3, 1e-3])
    seen = []

    class Doubling(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.shape[-2:])
            assert torch.is_inference_mode_enabled()
            clock[0] += next(durations)
            return x.repeat_interleave(2, -1).repeat_interleave(2, -2)

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    found = milliseconds_per_megapixel(Doubling(), ArchFacts(scale=2, multiple_of=8), torch.rand(1, 3, 10, 25))
    assert seen == [(16, 32)] * 6
    assert found == pytest.approx(2 / (20 * 50 / 1e6))
