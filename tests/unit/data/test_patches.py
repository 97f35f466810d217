"""Progressive patches: the right size at the right iteration, on every process, and after a resume."""

from __future__ import annotations

import resource

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from dckd_basicsr.data.augment import images_on
from dckd_basicsr.data.paired_lmdb_dataset import PairedLMDBDataset, collate
from dckd_basicsr.data.paired_patch_dataset import PairedPatchDataset
from dckd_basicsr.data.patches import PatchRequest, PatchSampler, Stage, stages_from
from dckd_basicsr.data.photos.images import Image
from dckd_basicsr.data.reflect import at_least
from dckd_basicsr.data.samples import NamedSamples
from dckd_basicsr.errors import ConfigError, DatasetError
from dckd_basicsr.prepare.sets.paired import prepare_paired
from dckd_basicsr.prepare.sets.sr import prepare_sr
from tests.tiny import write_photos

STAGES = [Stage(3, 16, 4), Stage(7, 24, 2), Stage(9, 32, 2)]


def run_epochs(sampler: PatchSampler, iterations: int) -> list[list[PatchRequest]]:
    """Batches as BasicSR's loop draws them."""
    batches: list[list[PatchRequest]] = []
    epoch = sampler.epoch
    while len(batches) < iterations:
        sampler.set_epoch(epoch)
        batches += list(sampler)
        epoch += 1
    return batches[:iterations]


def test_sizes_follow_the_iteration_and_the_last_stage_goes_on():
    batches = run_epochs(PatchSampler(10, STAGES), 14)
    sizes = [(batch[0].gt_size, len(batch)) for batch in batches]
    assert sizes == [(16, 4)] * 2 + [(16, 4)] + [(24, 2)] * 4 + [(32, 2)] * 7
    assert all(len({request.gt_size for request in batch}) == 1 for batch in batches)


def test_an_epoch_shows_every_image_equally_often():
    sampler = PatchSampler(5, [Stage(1, 8, 1)], ratio=3)
    sampler.set_epoch(2)
    counts = np.bincount([request.image for batch in sampler for request in batch])
    assert counts.tolist() == [3] * 5


def test_every_pass_of_an_epoch_shows_every_image_once():
    sampler = PatchSampler(5, [Stage(1, 8, 1)], ratio=3)
    images = [request.image for batch in sampler for request in batch]
    passes = [images[i : i + 5] for i in (0, 5, 10)]
    assert all(sorted(one) == list(range(5)) for one in passes)
    assert len(set(map(tuple, passes))) == 3


@pytest.mark.parametrize("seed", [0, 7])
def test_at_ratio_1_the_order_is_that_of_version_0_1(seed):
    sampler = PatchSampler(37, [Stage(1, 8, 1)], seed=seed)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(37, generator=generator).tolist()
        seeds = torch.randint(2**62, (37,), generator=generator).tolist()
        assert [batch[0] for batch in sampler] == [PatchRequest(i, 8, s) for i, s in zip(order, seeds, strict=True)]


def test_a_longer_epoch_reads_the_same_in_the_same_order():
    short, long = (PatchSampler(12, [Stage(1, 8, 4)], ratio=ratio, seed=5) for ratio in (1, 4))
    assert run_epochs(short, 24) == run_epochs(long, 24)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("ratio", [1, 3])
def test_no_image_is_left_out_when_the_processes_cannot_share_evenly(world, ratio):
    shared = [
        run_epochs(PatchSampler(11, [Stage(1, 8, world)], rank=rank, world_size=world, ratio=ratio), 100)
        for rank in range(world)
    ]
    drawn = [request for batches in shared for batch in batches for request in batch]
    assert {request.image for request in drawn} == set(range(11))
    assert len({request.seed for request in drawn}) == len(drawn)  # no patch twice, on no process


def test_the_length_of_an_epoch_takes_no_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sampler = PatchSampler(50_000, [Stage(1, 8, 16)], ratio=100)
    assert len(next(iter(sampler))) == 16
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_epochs_and_seeds_differ():
    def order(epoch: int, seed: int) -> list[PatchRequest]:
        sampler = PatchSampler(12, [Stage(1, 8, 1)], seed=seed)
        sampler.set_epoch(epoch)
        return [batch[0] for batch in sampler]

    assert order(0, 1) == order(0, 1)
    assert [r.image for r in order(0, 1)] != [r.image for r in order(1, 1)]
    assert [r.image for r in order(0, 1)] != [r.image for r in order(0, 2)]
    assert len({r.seed for r in order(0, 1) + order(1, 1)}) == 24


@pytest.mark.parametrize("start", range(13))
def test_a_resumed_run_reads_what_an_uninterrupted_one_reads(start):
    straight = run_epochs(PatchSampler(10, STAGES, ratio=2, seed=5), 13)
    resumed = PatchSampler(10, STAGES, ratio=2, seed=5, start_iteration=start)
    assert run_epochs(resumed, 13 - start) == straight[start:]


def test_two_processes_share_a_batch_and_never_a_patch():
    alone = run_epochs(PatchSampler(12, STAGES, seed=3), 3)
    shared = [run_epochs(PatchSampler(12, STAGES, rank=rank, world_size=2, seed=3), 3) for rank in (0, 1)]
    for whole, first, second in zip(alone, *shared, strict=True):
        assert len(first) == len(second) == len(whole) // 2
        assert sorted(first + second) == sorted(whole)  # together they read what one process would


def test_an_iterator_that_is_dropped_leaves_no_trace():
    # BasicSR's prefetcher opens the loader twice, and workers read ahead.
    sampler, wanted = PatchSampler(10, STAGES), list(PatchSampler(10, STAGES))
    dropped = iter(sampler)
    next(dropped)
    assert list(sampler) == wanted
    assert len(sampler) == len(wanted)


def test_position_counts_epochs():
    sampler = PatchSampler(10, [Stage(3, 16, 2), Stage(6, 32, 1)])
    assert sampler.position(0) == (0, 0)
    assert sampler.position(3) == (0, 6)
    assert sampler.position(7) == (0, 10)
    assert sampler.position(8) == (1, 1)


@pytest.mark.parametrize(
    ("rows", "world", "message"),
    [
        ([], 1, "growing"),
        ([[5, 16, 4], [5, 32, 2]], 1, "growing"),
        ([[5, 16]], 1, r"\[until, gt_size, total_batch\]"),
        ([[5, 16, 0]], 1, "whole numbers"),
        ([[5, 16, 3]], 2, "2 processes cannot share evenly"),
    ],
)
def test_bad_stages(rows, world, message):
    with pytest.raises(ConfigError, match=message):
        stages_from(rows, world)


def test_an_epoch_shorter_than_a_batch_is_refused():
    with pytest.raises(ConfigError, match="raise dataset_enlarge_ratio"):
        PatchSampler(3, [Stage(1, 8, 4)])


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    prepare_sr(write_photos(folder / "photos"), folder, [2], crop=None, workers=0)
    return {"dataroot_gt": str(folder / "GT.lmdb"), "dataroot_lq": str(folder / "LQ_x2.lmdb")}


def dataset(roots, **options) -> PairedPatchDataset:
    return PairedPatchDataset({**roots, "io_backend": {"type": "lmdb"}, "scale": 2, "phase": "train", **options})


def test_a_patch_depends_on_its_request_alone(roots):
    a, b = dataset(roots), dataset(roots)
    request = PatchRequest(1, 24, 77)
    b[PatchRequest(0, 24, 1)]
    assert torch.equal(a[request]["gt"], b[request]["gt"])
    assert torch.equal(a[request]["lq"], a[request]["lq"])
    assert not torch.equal(a[request]["gt"], a[PatchRequest(1, 24, 78)]["gt"])


@pytest.mark.parametrize("seed", range(8))
def test_lq_and_gt_show_the_same_place(roots, seed):
    item = dataset(roots)[PatchRequest(2, 32, seed)]
    assert item["lq"].shape == (3, 16, 16)
    assert item["gt"].shape == (3, 32, 32)
    small = torch.nn.functional.avg_pool2d(item["gt"], 2)
    assert (small - item["lq"]).abs().mean() < 0.02
    assert (small.flip(2) - item["lq"]).abs().mean() > 0.03


def test_whole_images_equal_the_stock_dataset(roots):
    from basicsr.data.paired_image_dataset import PairedImageDataset

    options = {**roots, "io_backend": {"type": "lmdb"}, "scale": 2, "phase": "val"}
    stock, ours = PairedImageDataset({**options, "io_backend": {"type": "lmdb"}}), PairedPatchDataset(options)
    assert len(stock) == len(ours) == 3
    for i in range(3):
        for key in ("lq", "gt"):
            torch.testing.assert_close(ours[i][key], stock[i][key], rtol=0, atol=1e-7)
        assert ours[i]["lq_path"] == stock[i]["lq_path"]


def test_images_smaller_than_the_patch_are_reflected(roots):
    item = dataset(roots)[PatchRequest(0, 200, 3)]
    assert item["gt"].shape == (3, 200, 200)
    row = np.arange(4, dtype=np.uint8).reshape(1, 4, 1).repeat(3, 2)
    wide = at_least(row.repeat(2, 0), 11)
    assert wide.shape[:2] == (11, 11)
    assert wide[0, :, 0].tolist() == [0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2]


def nearest(image: Image, scale: int) -> Image:
    return image.repeat(scale, 0).repeat(scale, 1)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 50), st.integers(1, 5))
def test_reflecting_and_enlarging_may_change_places(height: int, width: int, size: int, scale: int) -> None:
    lq = np.random.default_rng(height + 10 * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    np.testing.assert_array_equal(nearest(at_least(lq, size), scale), at_least(nearest(lq, scale), size * scale))


def test_an_image_large_enough_is_left_alone() -> None:
    image = np.zeros((5, 9, 3), np.uint8)
    assert at_least(image, 5) is image
    assert at_least(image, 6).shape == (6, 9, 3)


@pytest.fixture(scope="module")
def enlarged(tmp_path_factory) -> dict[int, dict[str, str]]:
    """By scale: databases of images from 2x3 to 40x7 LQ pixels whose GT is the LQ enlarged by nearest neighbour."""
    folder = tmp_path_factory.mktemp("enlarged")
    found = {}
    for scale in (1, 2, 3, 4):
        for height, width in ((2, 3), (12, 12), (40, 7), (13, 25)):
            lq = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
            for side, image in (("lq", lq), ("gt", nearest(lq, scale))):
                path = folder / str(scale) / side / f"{height}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(path), image)
        base = folder / str(scale)
        made = prepare_paired(base / "gt", base / "lq", base, scale=scale, workers=0)
        found[scale] = {"dataroot_gt": str(made.gt), "dataroot_lq": str(made.lq[scale])}
    return found


@pytest.mark.parametrize("size", [16, 48, 100])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [PairedPatchDataset, PairedLMDBDataset])
def test_patches_of_small_images_correspond(enlarged, kind, scale, size) -> None:
    options = {**enlarged[scale], "io_backend": {"type": "lmdb"}, "scale": scale, "phase": "train"}
    data = NamedSamples(kind(options | {"name": "enlarged"}))
    for seed in range(12):
        item = images_on(collate(data.__getitems__([PatchRequest(seed % 4, size * scale, seed)])), "cpu")
        lq, gt = item["lq"], item["gt"]
        assert lq.shape[-2:] == (size, size)
        assert torch.equal(lq.repeat_interleave(scale, -1).repeat_interleave(scale, -2), gt)


def test_switched_off_flips(roots):
    plain = dataset(roots, use_hflip=False, use_rot=False)
    whole = plain[0]["gt"]
    patch = plain[PatchRequest(0, whole.shape[1], 5)]["gt"]
    assert patch.shape[1:] == (whole.shape[1], whole.shape[1])
    assert any(torch.equal(patch, whole[:, :, i : i + patch.shape[2]]) for i in range(whole.shape[2]))


def test_a_pair_of_the_wrong_scale_is_named(roots):
    with pytest.raises(DatasetError, match=r"photo0' is 90x70, which is not 3 times its LQ of 45x35"):
        dataset(roots, scale=3)[PatchRequest(0, 24, 0)]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_folders_give_the_pixels_that_databases_give_whatever_their_orientation_tags(tmp_path, suffix) -> None:
    """PIL keeps the tag when it saves a photo, and drops it from what ``resize`` makes of it."""
    exif = Pillow.Exif()
    exif[274] = 6
    picture = Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    for side, options in (("gt", {"exif": exif}), ("lq", {})):
        (tmp_path / side).mkdir()
        picture.save(tmp_path / side / f"a.{suffix}", **options)
    made = prepare_paired(tmp_path / "gt", tmp_path / "lq", tmp_path / "packed", workers=0)
    packed = {"dataroot_gt": str(made.gt), "dataroot_lq": str(made.lq[1])}
    folders = {f"dataroot_{side}": str(tmp_path / side) for side in ("gt", "lq")}
    one, two = dataset(packed, scale=1)[0], dataset(folders, scale=1, io_backend={"type": "disk"})[0]
    for side in ("gt", "lq"):
        assert torch.equal(one[side], two[side])
    assert torch.equal(two["gt"], two["lq"])
