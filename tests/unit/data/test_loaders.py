"""Loaders of a run: stages and batches by the options, what each epoch reads, who reads which validation image."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from dckd_basicsr.data import loaders
from dckd_basicsr.data.loaders import accumulation, create_loaders, patch_stages, share_of
from dckd_basicsr.data.patches import Stage
from dckd_basicsr.data.samples import NamedSamples
from dckd_basicsr.errors import DatasetError
from dckd_basicsr.prepare.sets.sr import prepare_sr
from tests.tiny import write_photos


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loaders")
    write_photos(folder / "photos", 4)
    prepare_sr(folder / "photos", folder / "data", [2], crop=None, workers=0)
    return folder


def run_options(folder: Path, **more: Any) -> dict[str, Any]:
    roots = {"dataroot_gt": str(folder / "data/GT.lmdb"), "dataroot_lq": str(folder / "data/LQ_x2.lmdb")}
    common = {"type": "PairedPatchDataset", **roots, "io_backend": {"type": "lmdb"}, "scale": 2}
    train = {**common, "name": "t", "phase": "train", "gt_size": 32, "batch_size_per_gpu": 2, "num_worker_per_gpu": 0}
    return {
        "model_type": "DCKDModel",
        "dist": False,
        "num_gpu": 0,
        "rank": 0,
        "world_size": 1,
        "manual_seed": 3,
        "datasets": {
            "train": {**train, **more},
            "val": {**common, "name": "v", "phase": "val"},
            "val_2": {**common, "name": "w", "phase": "val", "num_worker_per_gpu": 1},
            "test_1": {**common, "name": "x", "phase": "test"},
        },
        "train": {"total_iter": 6},
    }


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux")
@pytest.mark.parametrize("default", ["fork", "forkserver"], ids=["before Python 3.14", "since"])
def test_workers_are_forked_unless_the_process_starts_them_otherwise(folder, default, monkeypatch):
    methods = [default, "spawn", "fork", "forkserver"]
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: methods)
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none=False: default)
    made = create_loaders(run_options(folder, num_worker_per_gpu=1))
    for loader in (made.train, made.validation[1]):
        assert loader.multiprocessing_context.get_start_method() == "fork"
    assert made.validation[0].multiprocessing_context is None  # read without workers
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none=False: "spawn")
    assert create_loaders(run_options(folder, num_worker_per_gpu=1)).train.multiprocessing_context is None


# --- stages


@pytest.mark.parametrize(
    ("changes", "batch"),
    [
        ({}, 2),
        ({"world_size": 3, "dist": True, "num_gpu": 4}, 6),  # a launcher's processes have one GPU each
        ({"num_gpu": 4}, 8),  # BasicSR's own models use several without a launcher
        ({"num_gpu": 1}, 2),
        ({"train": {"total_iter": 6, "accumulate": 5}}, 10),
        ({"train": {"total_iter": 6, "accumulate": 5}, "model_type": "RestorationModel"}, 10),
        ({"train": {"total_iter": 6, "accumulate": 5}, "model_type": "SRModel"}, 2),
        ({"train": {"total_iter": 6, "accumulate": None}}, 2),
    ],
)
def test_one_stage_of_what_an_optimizer_step_sees(folder: Path, changes: dict[str, Any], batch: int) -> None:
    assert patch_stages({**run_options(folder), **changes}) == [Stage(6, 32, batch)]


def test_a_dataset_that_sizes_its_patches_itself(folder: Path) -> None:
    opt = run_options(folder)
    del opt["datasets"]["train"]["gt_size"]
    assert patch_stages(opt) == [Stage(6, 0, 2)]


def test_progressive_stages_are_total_batches(folder: Path) -> None:
    opt = run_options(folder, progressive=[[2, 16, 12], [9, 32, 6]])
    opt |= {"world_size": 3, "train": {"total_iter": 6, "accumulate": 2}}
    assert patch_stages(opt) == [Stage(2, 16, 12), Stage(9, 32, 6)]
    with pytest.raises(Exception, match="3 processes cannot share evenly in 2 accumulated parts"):
        patch_stages(opt | {"datasets": {"train": {"progressive": [[2, 16, 9]]}}})


def test_parts_of_a_batch() -> None:
    def parts(accumulate: int | None, model: str = "DCKDModel") -> int:
        return accumulation({"model_type": model, "train": {"accumulate": accumulate}})

    assert [parts(None), parts(0), parts(1), parts(4), parts(4, "SRModel")] == [1, 1, 1, 4, 1]


# --- what a run reads


def test_batches_go_on_over_epochs_and_after_a_resume(folder: Path) -> None:
    def read(start: int, count: int) -> list[tuple[int, torch.Tensor]]:
        opt = run_options(folder, dataset_enlarge_ratio=1.2)  # rounded up: eight patches, four batches an epoch
        batches = create_loaders(opt, start).batches(opt, start)
        return [(epoch, batch["gt"]) for epoch, batch in (next(batches) for _ in range(count))]

    straight = read(0, 9)
    assert [epoch for epoch, _ in straight] == [0] * 4 + [1] * 4 + [2]
    for start in (3, 4, 6):
        for (epoch, gt), (wanted_epoch, wanted) in zip(read(start, 9 - start), straight[start:], strict=True):
            assert epoch == wanted_epoch
            assert torch.equal(gt, wanted)


def test_the_sampler_knows_seed_rank_and_processes(folder: Path) -> None:
    opt = run_options(folder) | {"rank": 1, "world_size": 2, "dist": True, "manual_seed": 11}
    sampler = create_loaders(opt, 5).sampler
    assert (sampler.images, sampler.rank, sampler.world_size, sampler.seed) == (4, 1, 2, 11)
    assert sampler.start_iteration == 5
    assert create_loaders(opt).sampler.start_iteration == 0
    assert sampler.per_epoch == 2


def test_only_validation_sets_are_validated_on(folder: Path) -> None:
    found = create_loaders(run_options(folder)).validation
    assert [loader.dataset.opt["name"] for loader in found] == ["v", "w"]
    assert [loader.num_workers for loader in found] == [0, 1]
    assert [loader.batch_size for loader in found] == [1, 1]


def test_making_an_iterator_draws_nothing_from_the_global_stream(folder: Path) -> None:
    found = create_loaders(run_options(folder))
    before = torch.get_rng_state()
    for loader in (found.train, *found.validation):
        next(iter(loader))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, (0, False, False, None)),
        ({"num_worker_per_gpu": 2}, (2, False, False, 2)),
        ({"num_worker_per_gpu": 2, "persistent_workers": True, "pin_memory": True}, (2, True, True, 2)),
        ({"num_worker_per_gpu": 1, "persistent_workers": True}, (1, True, False, 2)),
        ({"persistent_workers": True}, (0, False, False, None)),  # which PyTorch refuses without workers
        ({"prefetch_mode": "cpu", "num_prefetch_queue": 4}, (0, False, False, None)),
        ({"num_worker_per_gpu": 1, "prefetch_mode": "cpu", "num_prefetch_queue": 4}, (1, False, False, 4)),
        ({"num_worker_per_gpu": 1, "prefetch_mode": "cpu", "num_prefetch_queue": 1}, (1, False, False, 2)),
        ({"num_worker_per_gpu": 1, "prefetch_mode": "cuda", "num_prefetch_queue": 4}, (1, False, False, 2)),
    ],
)
def test_workers_by_the_options(folder: Path, options: dict[str, Any], wanted: tuple) -> None:
    train = create_loaders(run_options(folder, **options)).train
    found = train.num_workers, train.persistent_workers, train.pin_memory, train.prefetch_factor
    assert found == wanted


def test_workers_leave_signals_to_their_parent(folder: Path) -> None:
    found = create_loaders(run_options(folder, num_worker_per_gpu=1))
    for loader in (found.train, found.validation[1]):
        own = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        try:
            loader.worker_init_fn(0)
            assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == [signal.SIG_IGN] * 2
        finally:
            signal.signal(signal.SIGINT, own[0])
            signal.signal(signal.SIGTERM, own[1])


def test_what_a_run_reads_is_said(folder: Path, said: list[str]) -> None:
    opt = run_options(folder, progressive=[[2, 16, 4], [9, 32, 4]], dataset_enlarge_ratio=2)
    create_loaders(opt | {"world_size": 2, "dist": True, "train": {"total_iter": 6, "accumulate": 2}})
    opt = run_options(folder)
    del opt["datasets"]["train"]["gt_size"]
    create_loaders(opt)
    batch = "total batch 4 = 1 per GPU x 2 processes x 2 accumulated"
    wanted = [
        "Training: 4 images, 6 iterations, 3 epochs",
        f"Up to iteration 2: GT patches of 16 px, {batch}",
        f"Up to iteration 9: GT patches of 32 px, {batch}",
        "Training: 4 images, 6 iterations, 3 epochs",
        "Up to iteration 6: total batch 2 = 2 per GPU x 1 processes x 1 accumulated",
    ]
    assert [text for text in said if text.startswith(("Training:", "Up to"))] == wanted


# --- who reads which validation image


class Numbers(Dataset):
    """Not a paired dataset: left as it is."""

    opt: dict[str, Any] = {}  # noqa: RUF012

    def __len__(self) -> int:
        return 7

    def __getitem__(self, item: int) -> int:
        return item


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_a_validation_set_in_order(world: int) -> None:
    loader = DataLoader(Numbers(), batch_size=1, num_workers=0)
    shares = [[int(item) for item in share_of(loader, rank, world)] for rank in range(world)]
    assert shares == [list(range(rank, 7, world)) for rank in range(world)]


def test_a_loader_that_needs_no_change_is_kept() -> None:
    loader = DataLoader(Numbers(), batch_size=1)
    assert share_of(loader, 0, 1) is loader
    assert isinstance(share_of(loader, 1, 2).dataset, Subset)
    assert share_of(DataLoader(Numbers(), num_workers=1), 0, 2).num_workers == 1


def test_the_loader_of_a_paired_set_names_the_image_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = create_loaders(run_options(folder)).validation[0]
    plain = DataLoader(found.dataset.dataset, batch_size=1)
    monkeypatch.setattr(type(found.dataset.dataset), "__getitem__", lambda self, item: 1 / 0)
    for loader in (found, share_of(plain, 0, 1), share_of(plain, 0, 2)):
        with pytest.raises(DatasetError, match=r"dataset 'v': image 'photo0' cannot be read \(ZeroDivisionError"):
            next(iter(loader))


# --- the prefetcher


class Prefetcher:
    """Takes the place of BasicSR's, which needs a GPU."""

    def __init__(self, loader: Any, opt: Any) -> None:
        self.batches = iter(loader)

    def next(self) -> Any:
        return next(self.batches, None)


class OnAGpu(torch.Tensor):
    streams: list[Any] = []  # noqa: RUF012

    def record_stream(self, stream: Any) -> None:
        self.streams.append(stream)


def test_batches_of_the_prefetcher_are_marked_as_used_on_the_runs_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "CUDAPrefetcher", Prefetcher)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: "the run's")
    monkeypatch.setattr(OnAGpu, "streams", [])
    data = [{"lq": torch.zeros(1).as_subclass(OnAGpu), "name": "a"}, {"lq": torch.zeros(1).as_subclass(OnAGpu)}]
    opt = {"datasets": {"train": {"prefetch_mode": "cuda"}}}
    assert list(loaders._read(data, opt)) == data
    assert OnAGpu.streams == ["the run's"] * 2
    assert list(loaders._read(data, {"datasets": {"train": {}}})) == data
    assert OnAGpu.streams == ["the run's"] * 2


# --- samples


class Requested(Numbers):
    def __init__(self, takes_requests: bool) -> None:
        self.takes_requests = takes_requests

    def __getitem__(self, item: Any) -> Any:
        return item, torch.rand(()).item()

    def __getitems__(self, items: Any) -> Any:
        return "whole"


def test_a_request_reaches_a_dataset_that_takes_it_and_seeds_the_others() -> None:
    from dckd_basicsr.data.patches import PatchRequest

    first, again, other = PatchRequest(2, 16, 5), PatchRequest(3, 16, 5), PatchRequest(2, 16, 6)
    takes, seeded = NamedSamples(Requested(True)), NamedSamples(Requested(False))
    assert takes[first][0] == first
    assert takes[first][1] != takes[first][1]  # its seed is its own business
    assert seeded[first][0] == 2
    assert seeded[first] == seeded[first]
    assert seeded[first][1] == seeded[again][1] != seeded[other][1]
    assert seeded[4][0] == 4
    assert (len(takes), takes.__getitems__([first]), [item for item, _ in seeded.__getitems__([first, 4])]) == (
        7,
        "whole",
        [2, 4],
    )
    assert NamedSamples(Numbers()).__getitems__([1, first]) == [1, 2]


def test_a_dataset_that_reads_batches_but_takes_no_requests_is_asked_singly() -> None:
    class Batches(Numbers):
        def __getitems__(self, items: Any) -> Any:
            return "whole"

    assert NamedSamples(Batches()).__getitems__([3, 1]) == [3, 1]
