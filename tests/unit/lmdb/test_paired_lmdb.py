"""The fast dataset: the patches of PairedPatchDataset bit by bit, whatever is stored and however it is read."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, default_collate

from dckd_basicsr.data.augment import images_on, turned_rgb
from dckd_basicsr.data.mixing import Mixture
from dckd_basicsr.data.paired_lmdb_dataset import PairedLMDBDataset, collate
from dckd_basicsr.data.paired_patch_dataset import PairedPatchDataset
from dckd_basicsr.data.patches import PatchRequest, PatchSampler, Stage
from dckd_basicsr.data.samples import NamedSamples
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.prepare.sets.sr import prepare_sr
from tests.tiny import write_photos


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    write_photos(folder / "photos", 4)
    write_photos(folder / "others", 2, (66, 48))
    for payload in ("png", "raw"):
        prepare_sr(folder / "photos", folder / payload, [2], crop=None, workers=0, payload=payload)
    prepare_sr(folder / "others", folder / "more", [2], crop=32, step=32, workers=0, payload="raw")
    return folder


def options(folder: Path, *names: str, **more: Any) -> dict[str, Any]:
    gts, lqs = [str(folder / n / "GT.lmdb") for n in names], [str(folder / n / "LQ_x2.lmdb") for n in names]
    roots = {"dataroot_gt": gts if len(gts) > 1 else gts[0], "dataroot_lq": lqs if len(lqs) > 1 else lqs[0]}
    return {"name": "pairs", **roots, "io_backend": {"type": "lmdb"}, "scale": 2, "phase": "train", **more}


def requests(size: int = 24, count: int = 24, images: int = 4) -> list[PatchRequest]:
    return [PatchRequest(i % images, size, 1000 * i + size) for i in range(count)]


@pytest.mark.parametrize("size", [16, 32, 70, 200])  # 200: larger than every image
@pytest.mark.parametrize("payload", ["png", "raw"])
@pytest.mark.parametrize("flips", [{}, {"use_hflip": False}, {"use_rot": False}])
def test_patches_are_those_of_the_patch_dataset(folder: Path, size: int, payload: str, flips: dict[str, bool]) -> None:
    asked = requests(size)
    slow = PairedPatchDataset(options(folder, "png", **flips))
    wanted = default_collate([slow[request] for request in asked])
    found = images_on(PairedLMDBDataset(options(folder, payload, **flips)).__getitems__(asked), "cpu")
    for key in ("lq", "gt"):
        assert found[key].is_contiguous()
        assert torch.equal(found[key], wanted[key])


def test_all_turns_occur_and_only_those_allowed(folder: Path) -> None:
    def turns(**flips: bool) -> set[int]:
        dataset = PairedLMDBDataset(options(folder, "raw", **flips))
        return set(dataset.__getitems__(requests(16, 100))["turn"].tolist())

    assert turns() == set(range(8))
    assert turns(use_rot=False) == {0, 1}
    assert turns(use_hflip=False) == {0, 2, 4, 6}


def test_stored_samples_do_not_depend_on_the_payload_or_the_batch(folder: Path) -> None:
    png, raw = (PairedLMDBDataset(options(folder, payload)) for payload in ("png", "raw"))
    batch = raw.__getitems__(requests())
    for row, request in enumerate(requests()):
        a, b = png[request], raw[request]
        assert a.keys() == b.keys() == batch.keys()
        for key in ("lq", "gt", "turn"):
            assert torch.equal(a[key], b[key])
            assert torch.equal(a[key], batch[key][row])
        assert a["lq"].dtype == torch.uint8
        assert a["lq_path"] == batch["gt_path"][row]


def test_a_whole_image_is_that_of_the_patch_dataset(folder: Path) -> None:
    slow = PairedPatchDataset(options(folder, "png", phase="val"))
    fast = PairedLMDBDataset(options(folder, "raw", phase="val"))
    assert len(fast) == len(slow) == 4
    loader = DataLoader(fast, batch_size=1)
    for number, batch in enumerate(loader):
        wanted = slow[number]
        assert torch.equal(batch["lq"][0], wanted["lq"])
        assert torch.equal(batch["gt"][0], wanted["gt"])
        assert batch["lq_path"] == [wanted["lq_path"]]
        assert torch.equal(images_on(batch, "cpu")["gt"], batch["gt"])  # nothing is left to do


@given(st.integers(1, 9), st.integers(0, 7), st.integers(0, 2**32 - 1))
def test_turning_is_flip_flip_transpose(size: int, turn: int, seed: int) -> None:
    stored = np.random.default_rng(seed).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    image = stored[0]
    image = image[:, ::-1] if turn & 1 else image
    image = image[::-1] if turn & 2 else image
    image = image.transpose(1, 0, 2) if turn & 4 else image
    rgb = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)).astype(np.float32) / np.float32(255)
    found = turned_rgb(torch.from_numpy(stored), torch.tensor([turn]))
    np.testing.assert_array_equal(found[0].numpy(), rgb)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_the_same_images() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(8, 16, 16, 3).contiguous()
    turn = torch.arange(8)
    torch.cuda.set_sync_debug_mode("default")
    on_gpu = turned_rgb(every.cuda(), turn.cuda())
    assert torch.equal(on_gpu.cpu(), turned_rgb(every, turn))
    torch.cuda.set_sync_debug_mode("error")  # the second time the table is there, and nothing may wait
    try:
        turned_rgb(every.cuda(non_blocking=True), turn.to("cuda", non_blocking=True))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_work_on_a_batch_does_not_grow_with_it() -> None:
    from torch.profiler import ProfilerActivity, profile

    def operations(count: int) -> Counter[str]:
        data = torch.zeros(count, 8, 8, 3, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64)
        turned_rgb(*data)
        with profile(activities=[ProfilerActivity.CPU]) as found:
            turned_rgb(*data)
        return Counter(event.name for event in found.events() if event.name.startswith("aten::"))

    assert operations(2) == operations(16)
    assert not {"aten::item", "aten::_local_scalar_dense"} & operations(2).keys()


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing(folder: Path, workers: int) -> None:
    dataset = NamedSamples(PairedLMDBDataset(options(folder, "raw", "more")))
    sampler = PatchSampler(len(dataset), [Stage(2, 16, 4), Stage(9, 24, 2)], ratio=3)
    loader: DataLoader = DataLoader(
        dataset, batch_sampler=sampler, num_workers=workers, collate_fn=collate, persistent_workers=workers > 0
    )
    direct = PairedLMDBDataset(options(folder, "raw", "more"))
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for batch, asked in zip(loader, list(sampler), strict=True):
            wanted = direct.__getitems__(asked)
            assert all(torch.equal(batch[key], wanted[key]) for key in ("lq", "gt", "turn"))
            assert batch["gt_path"] == wanted["gt_path"]
            assert batch["gt"].is_shared() == (workers > 0)  # written by the worker where the run reads it


def test_batches_of_other_datasets_are_collated_as_ever(folder: Path) -> None:
    slow = NamedSamples(PairedPatchDataset(options(folder, "png")))
    found = collate(slow.__getitems__(requests()))
    assert torch.equal(found["gt"], default_collate([slow[request] for request in requests()])["gt"])


# --- several databases


def test_databases_follow_one_another(folder: Path) -> None:
    both = PairedLMDBDataset(options(folder, "raw", "more"))
    single = [PairedLMDBDataset(options(folder, name)) for name in ("raw", "more")]
    assert len(both) == sum(map(len, single))
    names = [both[i]["gt_path"] for i in range(len(both))]
    assert names == [one[i]["gt_path"] for one in single for i in range(len(one))]
    first = single[1][PatchRequest(0, 16, 5)]
    assert torch.equal(both[PatchRequest(len(single[0]), 16, 5)]["gt"], first["gt"])


def test_weights_are_shares_of_the_patches(folder: Path) -> None:
    both = PairedLMDBDataset(options(folder, "raw", "more", weights=[3, 1]))
    images = 4, len(PairedLMDBDataset(options(folder, "more")))
    assert both.mixture.counts == list(images)
    assert both.mixture.numbers[0] == 3 * both.mixture.numbers[1]
    sampler = PatchSampler(len(both), [Stage(1, 16, 4)])
    names = Counter(name for asked in sampler for name in both.__getitems__(asked)["gt_path"])
    shares = sum(count for name, count in names.items() if "_s" not in name), sum(names.values())
    assert abs(shares[0] / shares[1] - 0.75) < 0.05
    assert sum("_s" in name for name in names) >= images[1] - 3  # the rest of an epoch that is no whole batch


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0.01, 10)), min_size=1, max_size=4),
    st.integers(0, 2**62),
)
def test_a_mixture_shows_every_image_and_keeps_the_shares(databases: list[tuple[int, float]], seed: int) -> None:
    counts, weights = zip(*databases)
    mixture = Mixture(counts, weights)
    found = Counter(mixture.find(number, seed) for number in range(len(mixture)))
    assert all((database, image) in found for database, count in enumerate(counts) for image in range(count))
    unit = max(count / weight for count, weight in databases)
    for number, weight in zip(mixture.numbers, weights):
        assert abs(number - unit * weight) <= 1
    for (database, image), times in found.items():
        extra = mixture.numbers[database] % counts[database] if image == seed % counts[database] else 0
        assert times == mixture.numbers[database] // counts[database] + extra
    with pytest.raises(IndexError, match=f"^{len(mixture)}$"):
        mixture.find(len(mixture))


def test_numbers_left_over_follow_the_seed() -> None:
    mixture = Mixture([100, 10], weights=[3, 1])  # 100 and 33 numbers
    assert [mixture.find(129, seed) for seed in (0, 7)] == [(1, 9)] * 2
    assert [mixture.find(130, seed) for seed in (0, 7, 25)] == [(1, 0), (1, 7), (1, 5)]
    assert mixture.find(130) == (1, 0)


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, -2], [float("nan"), 1]])
def test_weights_that_do_not_fit(weights: list[float]) -> None:
    with pytest.raises(DatasetError, match="one positive number for each of the 2 databases"):
        Mixture([3, 4], weights)


# --- what is refused


def test_pairs_that_do_not_match(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not 3 times smaller"):
        PairedLMDBDataset(options(folder, "raw", scale=3))
    mixed = options(folder, "raw") | {"dataroot_lq": str(folder / "more/LQ_x2.lmdb")}
    with pytest.raises(DatasetError, match="hold different images"):
        PairedLMDBDataset(mixed)
    with pytest.raises(DatasetError, match="dataroot_gt names 1 databases and dataroot_lq 2"):
        PairedLMDBDataset(options(folder, "raw", "more") | {"dataroot_gt": mixed["dataroot_gt"]})
    with pytest.raises(DatasetError, match=r"does not exist.*check the path"):
        PairedLMDBDataset(options(tmp_path, "nowhere"))


def test_two_sets_with_one_name_are_not_validated_together(folder: Path) -> None:
    with pytest.raises(DatasetError, match="both hold an image 'photo0'; validate on them as two sets"):
        PairedLMDBDataset(options(folder, "raw", "png", phase="val"))
    assert len(PairedLMDBDataset(options(folder, "raw", "png"))) == 8  # training keeps nothing by name


def test_damage_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "raw", tmp_path / "raw")
    data = tmp_path / "raw/GT.lmdb/data.mdb"
    with data.open("rb+") as file:
        file.truncate(data.stat().st_size - 4096)
    with pytest.raises(DatasetError, match=r"GT\.lmdb/data\.mdb' is cut short"):
        PairedLMDBDataset(options(tmp_path, "raw"))[PatchRequest(0, 16, 1)]
    shutil.copytree(folder / "png", tmp_path / "png")
    for name, shape in (("LQ_x2", "(35,45,3)"), ("GT", "(70,90,3)")):
        meta = tmp_path / f"png/{name}.lmdb/meta_info.txt"
        meta.write_text(meta.read_text().replace(shape, f"({shape[4:6]},{shape[1:3]},3)"))
    with pytest.raises(DatasetError, match=r"'photo0' is 35x45, meta_info\.txt says 45x35"):
        PairedLMDBDataset(options(tmp_path, "png", phase="val"))[0]
