"""The parts of ``basicsr restore``: tiles by memory, what happens when it is too small, how far reading goes ahead."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dckd_basicsr.archs.facts import ArchFacts
from dckd_basicsr.data.photos.headers import Header
from dckd_basicsr.data.photos.pictures import Picture
from dckd_basicsr.errors import ConfigError, DatasetError
from dckd_basicsr.portable import Opened
from dckd_basicsr.restoring import Job, PictureRestorer, TileChoice, find_jobs, folder, memory, restore_jobs, restorer
from tests.photos import photo, save

CPU = torch.device("cpu")
TWICE = ArchFacts(scale=2)


class Enlarging(nn.Module):
    """Repeats pixels; ``most`` of them at a time."""

    def __init__(self, most: int = 1 << 40, channels: int = 3) -> None:
        super().__init__()
        self.most, self.channels = most, channels
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(tuple(x.shape))
        assert x.shape[1] == self.channels
        if x.shape[-1] * x.shape[-2] > self.most:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1")
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def made(net: nn.Module, facts: ArchFacts = TWICE, **settings: Any) -> PictureRestorer:
    return PictureRestorer(Opened(net, facts, "Enlarging", None, Path("x.pth")), CPU, **settings)


def doubled(pixels: Any) -> Any:
    return pixels.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize(
    ("choice", "size", "budget", "facts", "side"),
    [
        (TileChoice(), (100, 100), 10_000 * 50, TWICE, None),  # just fits
        (TileChoice(), (100, 101), 10_000 * 50, TWICE, 100),
        (TileChoice(), (500, 500), 10_000 * 50, ArchFacts(2, multiple_of=16), 96),
        (TileChoice(), (97, 97), 10_000 * 50, ArchFacts(2, multiple_of=16), 96),  # padded to 112 it does not fit
        (TileChoice(), (500, 500), 0, TWICE, 65),  # more than twice the overlap, whatever memory says
        (TileChoice(overlap=8), (500, 500), 0, ArchFacts(2, minimum=70), 70),
        (TileChoice(None), (5000, 5000), 0, TWICE, None),
        (TileChoice(40), (40, 40), 0, TWICE, None),
        (TileChoice(40), (40, 41), 0, TWICE, 40),
    ],
)
def test_side_of_tiles(choice: TileChoice, size: tuple[int, int], budget: float, facts: ArchFacts, side: Any) -> None:
    assert choice.side(*size, budget, 50, facts) == side


def test_bad_tiles_are_refused() -> None:
    with pytest.raises(ConfigError, match="--tile 32 must be larger than the overlap of 32"):
        TileChoice(32)


def test_memory_of_the_machine_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = memory.available_bytes(CPU)
    assert free is None or 1 << 20 < free < 1 << 50
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    for name, text in {"max": "5000", "current": "3000", "stat": "anon 10\ninactive_file 500\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory.available_bytes(CPU) == 2500  # a container's limit counts
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes(CPU) != 2500


def test_a_picture_without_room_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restorer, "available_bytes", lambda device: 1 << 30)
    restore = made(Enlarging())
    restore.admit(Header(2000, 2000, 8))
    with pytest.raises(DatasetError, match=r"has 9000 x 9000 px, and needs 6\.8 GiB of memory .* of which 1\.0 are"):
        restore.admit(Header(9000, 9000, 16))


def test_tiles_follow_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    net, image = Enlarging(), photo(0, 190, 210)
    restore = made(net)
    assert np.array_equal(restore(Picture(image)).pixels, doubled(image))
    assert (net.sizes[-1], restore.tiled) == ((1, 3, 190, 210), 0)
    monkeypatch.setattr(restorer, "network_budget", lambda device, beside: 96 * 96 * restore.per_pixel)
    net.sizes.clear()
    assert np.array_equal(restore(Picture(image)).pixels, doubled(image))
    assert set(net.sizes) == {(1, 3, 96, 96)}
    assert restore.tiled == 1


def test_a_pass_without_memory_is_tried_in_tiles() -> None:
    net, image = Enlarging(most=120 * 120), photo(0, 300, 260)
    restore = made(net)
    net.sizes.clear()  # of looking how wide it is
    assert np.array_equal(restore(Picture(image)).pixels, doubled(image))
    assert [size for i, size in enumerate(net.sizes) if size not in net.sizes[:i]] == [
        (1, 3, side, min(side, 260)) for side in (300, 150, 75)
    ]
    for settings, most in (({"tile": TileChoice(None)}, 120 * 120), ({}, 64 * 64)):
        with pytest.raises(DatasetError, match="needs more memory than there is; give --tile with a smaller number"):
            made(Enlarging(most=most), **settings)(Picture(image))


def test_networks_of_one_channel_get_channels_one_by_one() -> None:
    facts = ArchFacts(2, input_channels=1, output_channels=1)
    image, net = photo(0, 20, 30), Enlarging(channels=1)
    restore = made(net, facts)
    assert np.array_equal(restore(Picture(image)).pixels, doubled(image))
    assert np.array_equal(restore(Picture(image[..., 0])).pixels, doubled(image[..., 0]))
    assert net.sizes[-2:] == [(3, 1, 20, 30), (1, 1, 20, 30)]
    with pytest.raises(ConfigError, match="network of 4 input channels"):
        made(net, ArchFacts(2, input_channels=4))


def test_numbers_that_are_none_are_no_picture() -> None:
    net = Enlarging()
    net.register_forward_hook(lambda module, inputs, output: output * float("nan"))
    with pytest.raises(DatasetError, match="gives values that are not numbers"):
        made(net)(Picture(photo(0, 9, 9)))


def test_transparency_that_is_the_same_everywhere_costs_no_pass() -> None:
    net, image = Enlarging(), photo(0, 9, 12)
    restore = made(net)
    net.sizes.clear()
    found = restore(Picture(image, np.full((9, 12), 77, np.uint8)))
    assert len(net.sizes) == 1
    assert np.array_equal(found.alpha, np.full((18, 24), 77))
    assert np.array_equal(restore(Picture(image, image[..., 0])).alpha, doubled(image[..., 0]))


def test_reading_goes_ahead_and_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, read, lock = [], [], threading.Lock()
    for i in range(12):
        save(tmp_path / f"{i}.png", photo(i, 8, 8))
        jobs.append(Job(tmp_path / f"{i}.png", tmp_path / f"out/{i}.png", "png"))
    real, second = folder.read_picture, threading.Event()

    def reading(path: Path, admit: Any) -> Picture:
        with lock:
            read.append(path.stem)
        if len(read) > 1:
            second.set()
        return real(path, admit)

    monkeypatch.setattr(folder, "read_picture", reading)
    ahead: list[int] = []

    def run(picture: Picture) -> Picture:
        assert second.wait(10)  # another is read while this one passes the network
        ahead.append(len(read) - len(ahead))
        return picture

    stand_in: Any = type("StandIn", (), {"admit": None, "__call__": lambda self, picture: run(picture)})()
    outcome = restore_jobs(jobs, stand_in, quiet=True)
    assert (outcome.restored, outcome.failed) == (12, [])
    assert max(ahead) <= 1 + 2
    assert read == [str(i) for i in range(12)]
    ahead.clear()
    read.clear()
    restore_jobs(jobs, stand_in, quiet=True, overlapping=False)
    assert set(ahead) == {1}
    monkeypatch.setattr(folder, "_WAITING_BYTES", 0)  # large pictures: one by one
    ahead.clear()
    read.clear()
    restore_jobs(jobs, stand_in, quiet=True)
    assert max(ahead) <= 2


def test_a_link_to_a_picture_is_restored_under_its_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")
    (folder / "b.png").symlink_to("a.png")
    jobs = find_jobs([folder / "a.png", folder, tmp_path / "in/../in"], tmp_path / "out")
    assert [job.target.name for job in jobs] == ["a.png", "b.png"]
