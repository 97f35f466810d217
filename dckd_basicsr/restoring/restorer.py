"""A picture through a network: colours, transparency and depth, whole or in tiles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..archs.facts import ArchFacts
from ..data.photos.headers import Header
from ..data.photos.pictures import Picture, Pixels
from ..errors import ConfigError, DatasetError
from ..inference.restore import restorer
from ..portable import Opened
from .memory import TileChoice, available_bytes, bytes_per_pixel, host_bytes, network_budget

__all__ = ["PictureRestorer"]

_ENSEMBLE_BATCH = 4


class PictureRestorer:
    """Restores pictures with one network.

    Values are divided by 255 (or 65535), pass the network as float32, RGB, in [0, 1], and are clamped, multiplied and
    rounded: of 8-bit colours what ``basicsr test`` writes, bit by bit. A grey picture passes as three equal channels,
    whose mean is kept, and so does transparency, unless it is the same everywhere. A network of one channel gets the
    channels one by one.

    Args:
        opened: the network; it is moved to ``device``.
        device: where it runs.
        half: in float16; GPUs only.
        self_ensemble: mean over eight flips and transpositions.
        tile: sides of tiles.

    Raises:
        ConfigError: half precision without a GPU, or a network of other channels than 1 or 3.
    """

    def __init__(
        self,
        opened: Opened,
        device: torch.device,
        *,
        half: bool = False,
        self_ensemble: bool = False,
        tile: TileChoice | None = None,
    ) -> None:
        if half and device.type != "cuda":
            raise ConfigError("--half is for GPUs, where it saves time; leave it out on a CPU")
        self.facts: ArchFacts = opened.facts
        self.channels = self.facts.input_channels or 3
        if self.channels not in (1, 3):
            raise ConfigError(
                f"'{opened.file}' is a network of {self.channels} input channels; 1 or 3 can be fed with pictures"
            )
        self.device, self.dtype = device, torch.float16 if half else torch.float32
        self.tile, self.self_ensemble = tile or TileChoice(), self_ensemble
        self.net = opened.net.to(device=device, dtype=self.dtype)
        self.per_pixel = 0.0
        if self.tile.size == "auto":
            self.per_pixel = bytes_per_pixel(self.net, self.facts, device, self.dtype)
            self.per_pixel *= _ENSEMBLE_BATCH if self_ensemble else 1
        self.tiled = 0
        """Pictures that did not pass whole."""

    def admit(self, header: Header) -> None:
        """Raise DatasetError if a file's pictures, before and after, do not fit into memory; nothing is decoded yet."""
        need = host_bytes(header.height, header.width, self.facts.scale, 2 if header.bits > 8 else 1)
        free = available_bytes(torch.device("cpu"))
        if free is not None and need > free:
            raise DatasetError(
                f"has {header.width} x {header.height} px, and needs {need / 2**30:.1f} GiB of memory with its "
                f"restoration, of which {free / 2**30:.1f} are free; cut it into parts"
            )

    def __call__(self, picture: Picture) -> Picture:
        """Return the restored picture, ``scale`` times as large.

        Raises:
            DatasetError: the network fails on it, gives values that are no numbers, or memory is too small.
        """
        pixels = self._restored(picture.pixels)
        alpha = None if picture.alpha is None else self._alpha(picture.alpha)
        return replace(picture, pixels=pixels, alpha=alpha)

    def _alpha(self, alpha: Pixels) -> Pixels:
        if alpha.min() == alpha.max():
            scale = self.facts.scale
            return np.full((alpha.shape[0] * scale, alpha.shape[1] * scale), alpha.flat[0], alpha.dtype)
        return self._restored(alpha)

    @torch.inference_mode()
    def _restored(self, pixels: Pixels) -> Pixels:
        """Restore H x W or H x W x 3, BGR."""
        most = float(np.iinfo(pixels.dtype).max)
        grey = pixels.ndim == 2
        planes = pixels[None] if grey else pixels[..., ::-1].transpose(2, 0, 1)
        x = torch.from_numpy(np.ascontiguousarray(planes).astype(np.float32)).div_(most)
        x = x[:, None] if self.channels == 1 else x[None].expand(1, 3, -1, -1).contiguous()
        out = self._run(x).float()
        out = out.transpose(0, 1) if self.channels == 1 else out  # back to one image
        if out.shape[1] != (1 if grey and self.channels == 1 else 3):
            raise ConfigError(f"the network gives {out.shape[1]} channels; as many as it takes were expected")
        if not bool(torch.isfinite(out).all()):
            raise DatasetError(
                "the network gives values that are not numbers"
                + ("; leave out --half" if self.dtype == torch.float16 else "; look at its weights")
            )
        out = out.clamp_(0, 1)[0]
        out = out.mean(0, keepdim=True) if grey else out.flip(0)
        values = out.mul_(most).round_().numpy().astype(pixels.dtype)
        return np.ascontiguousarray(values[0] if grey else values.transpose(1, 2, 0))

    def _run(self, x: Tensor) -> Tensor:
        """Run the network over (B, C, H, W) in host memory, in tiles where memory asks for them."""
        height, width = x.shape[-2:]
        beside = host_bytes(height, width, self.facts.scale, 1)
        budget = network_budget(self.device, beside) if self.tile.size == "auto" else 0.0
        side = self.tile.side(height, width, budget, self.per_pixel * len(x), self.facts)
        while True:
            try:
                self.tiled += side is not None
                return self._pass(x, side)
            except Exception as error:  # whatever a network raises
                smaller = self._smaller(side or max(height, width), error)
                if smaller is None:
                    raise _failed(error) from error
                side = smaller
            torch.cuda.empty_cache()  # of nothing, without a GPU

    def _pass(self, x: Tensor, side: int | None) -> Tensor:
        val: dict[str, Any] = {"self_ensemble": self.self_ensemble}
        if side is not None:
            val["tile"] = {"size": side, "overlap": self.tile.overlap}
        run = restorer(self.net, self.facts, val)
        return run(x.to(device=self.device, dtype=self.dtype)).cpu()

    def _smaller(self, side: int, error: BaseException) -> int | None:
        """Return the side to try after a pass for which memory was too small; None for other errors, or at the end."""
        if self.tile.size != "auto" or not _lacks_memory(error):
            return None
        smaller = self.tile.smallest_at_least(side // 2, self.facts)
        return smaller if smaller < side else None


def _lacks_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _failed(error: BaseException) -> DatasetError:
    if _lacks_memory(error):
        return DatasetError("the network needs more memory than there is; give --tile with a smaller number")
    return DatasetError(f"the network fails on it ({(str(error).splitlines() or [type(error).__name__])[0]})")
