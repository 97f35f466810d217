"""The fast way from LMDB to training: patches cut in the memory map, everything else left to the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from ..errors import DatasetError
from ..install import register
from .lmdb.pack_id import refuse_two_packs
from .lmdb.patches import LmdbPatches
from .mixing import Mixture
from .paired_patch_dataset import to_tensor
from .patches import PatchRequest, Place
from .preflight import pair_problems

__all__ = ["PairedLMDBDataset", "collate", "root_list"]


@register(DATASET_REGISTRY)
class PairedLMDBDataset(Dataset):
    """LQ and GT images from LMDBs of `basicsr prepare`, PNG or raw; several pairs of databases make one set.

    In training it is indexed with a :class:`PatchRequest` and returns the patch as it is stored, with the flips it is
    to get; ``data/augment.py`` makes of it, on the device, what :class:`PairedPatchDataset` gives for the request.
    Indexed with a number it returns that whole pair, as :class:`PairedPatchDataset` does.

    Args:
        opt: ``dataroot_gt`` and ``dataroot_lq`` (a path or a list of paths each), ``scale``, ``phase``, and optionally
            ``weights``, ``use_hflip``, ``use_rot``. Weights count in the ``train`` phase, see :class:`Mixture`.

    Raises:
        DatasetError: databases that are damaged or do not match, or weights that do not fit them.
    """

    takes_requests = True

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self.opt = opt
        self.scale = int(opt["scale"])
        gts, lqs = root_list(opt["dataroot_gt"]), root_list(opt["dataroot_lq"])
        if len(gts) != len(lqs) or not gts:
            raise DatasetError(f"dataroot_gt names {len(gts)} databases and dataroot_lq {len(lqs)}; give pairs")
        training = opt["phase"] == "train"
        self.pairs = [_Pair(Path(gt), Path(lq), self.scale, exact=training) for gt, lq in zip(gts, lqs)]
        self.mixture = Mixture([len(pair.keys) for pair in self.pairs], opt.get("weights") if training else None)
        if not training:
            _refuse_equal_names(self.pairs)

    def __len__(self) -> int:
        return len(self.mixture)

    def __getitem__(self, item: PatchRequest | int) -> dict[str, Any]:
        """Return a patch or a pair.

        Returns:
            For a request ``lq`` (size, size, 3) and ``gt``, BGR uint8, and ``turn``, an int64, see :class:`Place`; for
            a number ``lq`` (3, h, w) and ``gt``, RGB float32 in [0, 1]. And their paths.
        """
        if not isinstance(item, PatchRequest):
            return self._whole(item)
        batch = self._patches([item])
        return {key: value[0] for key, value in batch.items()}

    def __getitems__(self, items: Sequence[PatchRequest | int]) -> dict[str, Any] | list[dict[str, Any]]:
        """Read a batch at once: of requests, all of one size, a collated batch; of numbers, the pairs.

        Use it with :func:`collate`.
        """
        requests = [item for item in items if isinstance(item, PatchRequest)]
        return self._patches(requests) if requests else [self[item] for item in items]

    def _patches(self, requests: Sequence[PatchRequest]) -> dict[str, Any]:
        count, size = len(requests), requests[0].gt_size // self.scale
        lq, gt = _empty(count, size), _empty(count, size * self.scale)
        lqs, gts = lq.numpy(), gt.numpy()
        turns, names = [], []
        with ExitStack() as stack:
            transactions: dict[int, Any] = {}
            for row, request in enumerate(requests):
                number, image = self.mixture.find(request.image, request.seed)
                pair = self.pairs[number]
                if number not in transactions:
                    transactions[number] = [stack.enter_context(side.reading()) for side in (pair.lq, pair.gt)]
                key = pair.keys[image]
                place = Place.of(request, pair.lq.shapes[key], self.scale, self.opt)
                top, left = place.top, place.left
                pair.lq.cut(transactions[number][0], key, top, left, lqs[row])
                pair.gt.cut(transactions[number][1], key, top * self.scale, left * self.scale, gts[row])
                turns.append(place.turn)
                names.append(key)
        return {"lq": lq, "gt": gt, "turn": torch.tensor(turns), "lq_path": names, "gt_path": list(names)}

    def _whole(self, item: int) -> dict[str, Any]:
        number, image = self.mixture.find(item)
        pair = self.pairs[number]
        key = pair.keys[image]
        with pair.lq.reading() as lqs, pair.gt.reading() as gts:
            lq, gt = pair.lq.view(lqs, key), pair.gt.view(gts, key)
            gt = gt[: lq.shape[0] * self.scale, : lq.shape[1] * self.scale]
            return {"lq": to_tensor(lq), "gt": to_tensor(gt), "lq_path": key, "gt_path": key}


def collate(data: Any) -> Any:
    """Pass on a batch that was read as one; collate a list of samples as PyTorch does."""
    return data if isinstance(data, Mapping) else default_collate(data)


def root_list(roots: str | Sequence[str]) -> list[str]:
    """Return a path or a list of paths as a list."""
    return [roots] if isinstance(roots, str) else list(roots)


class _Pair:
    """Two databases of the same images, keys sorted as BasicSR sorts them."""

    def __init__(self, gt: Path, lq: Path, scale: int, exact: bool) -> None:
        self.gt, self.lq = LmdbPatches(gt), LmdbPatches(lq)
        self.keys = sorted(self.lq.shapes)
        # Test images may have a rest, which is cut off.
        problems = pair_problems(gt, lq, scale, self.gt.shapes, self.lq.shapes, rest=not exact)
        if problems:
            raise DatasetError("; ".join(problems))
        refuse_two_packs(gt, lq)


def _refuse_equal_names(pairs: Sequence[_Pair]) -> None:
    """Results are kept by name, so one image would take another's place."""
    seen: dict[str, Path] = {}
    for pair in pairs:
        for key in pair.keys:
            if key in seen:
                raise DatasetError(
                    f"'{seen[key]}' and '{pair.gt.path}' both hold an image '{key}'; validate on them as two sets"
                )
            seen[key] = pair.gt.path


def _empty(count: int, size: int) -> Tensor:
    """Return room for patches; in a worker, memory that the main process sees too, so that nothing is copied again."""
    room = torch.empty(0, dtype=torch.uint8)
    if get_worker_info() is not None:
        room.set_(torch.UntypedStorage._new_shared(count * size * size * 3, device="cpu"))
    return room.resize_(count, size, size, 3)
