"""Any BasicSR dataset, read so that a sample depends on its request alone and errors name the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.single_image_dataset import SingleImageDataset
from torch.utils.data import Dataset

from ..errors import DatasetError
from .paired_patch_dataset import PairedPatchDataset
from .patches import PatchRequest
from .random_state import seeded
from .single_patch_dataset import SinglePatchDataset

__all__ = ["NamedSamples", "names_images"]


def names_images(dataset: Any) -> bool:
    """Whether this is a dataset that lists its files, so that a failure on an image can be told."""
    return isinstance(dataset, PairedImageDataset | PairedPatchDataset | SingleImageDataset | SinglePatchDataset)


class NamedSamples(Dataset):
    """Wraps a dataset: the seed of a :class:`PatchRequest` rules the global streams while its sample is drawn.

    So crops and flips depend neither on which worker draws them nor on what was drawn before. A dataset with a true
    ``takes_requests`` gets the request itself.

    Args:
        dataset: a map-style dataset with BasicSR's ``opt``.

    Raises:
        DatasetError: from indexing, when a dataset that lists its files fails on an image; names both.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.opt = dataset.opt

    @property
    def paths(self) -> Any:
        """What the dataset lists, as BasicSR's datasets do; None if it does not."""
        return getattr(self.dataset, "paths", None)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, item: PatchRequest | int) -> Any:
        if not isinstance(item, PatchRequest):
            return self._read(item, item)
        if getattr(self.dataset, "takes_requests", False):
            return self._read(item, item.image)
        with seeded(item.seed):
            return self._read(item.image, item.image)

    def __getitems__(self, items: Sequence[PatchRequest | int]) -> Any:
        """Read a batch: as one, where the dataset does that, for :func:`~..data.paired_lmdb_dataset.collate`."""
        whole = getattr(self.dataset, "__getitems__", None)
        if whole is not None and getattr(self.dataset, "takes_requests", False):
            return whole(items)
        return [self[item] for item in items]

    def _read(self, item: Any, image: int) -> Any:
        if not names_images(self.dataset):
            return self.dataset[item]  # how other datasets fail is theirs to say
        try:
            return self.dataset[item]
        except DatasetError:
            raise
        except Exception as error:  # an image that does not decode reaches OpenCV and NumPy as None
            entry = self.dataset.paths[image]
            where, cause = f"dataset '{self.opt['name']}': image", f"({type(error).__name__}: {error})"
            if isinstance(entry, str):
                raise DatasetError(f"{where} '{entry}' cannot be read {cause}; replace or remove it") from error
            roots = f"'{self.opt['dataroot_gt']}' and '{self.opt['dataroot_lq']}'"
            raise DatasetError(
                f"{where} '{entry['gt_path']}' cannot be read {cause}; look at {roots} with `basicsr prepare verify`, "
                "and pack them again"
            ) from error
