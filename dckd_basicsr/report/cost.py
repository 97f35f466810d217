"""What a network costs: parameters, and time for an image on this machine."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

from ..archs.facts import ArchFacts
from ..inference.padding import run_padded

__all__ = ["milliseconds_per_megapixel", "parameter_count", "timed"]


def parameter_count(net: nn.Module) -> int:
    """Return the number of a network's parameters, whether they train or not; buffers are none."""
    return sum(parameter.numel() for parameter in net.parameters())


def milliseconds_per_megapixel(net: nn.Module, facts: ArchFacts, image: Tensor, repeats: int = 5) -> float:
    """Measure how long ``net`` takes per million pixels of output, in the precision and with the threads it finds.

    Args:
        net: in evaluation mode, on the device of ``image``.
        facts: its size rules; the image is padded to them.
        image: input (1, C, H, W) in [0, 1]. Small ones are dominated by what every call costs.
        repeats: how often it is timed, after one call that is not; the median counts, so that a busy moment does not.

    Returns:
        Milliseconds; reading and writing files is not in them.
    """
    output_pixels = timed(net, facts, image)[1]
    times = [timed(net, facts, image)[0] for _ in range(repeats)]
    return 1e3 * statistics.median(times) / (output_pixels / 1e6)


@torch.inference_mode()
def timed(net: nn.Module, facts: ArchFacts, image: Tensor) -> tuple[float, int]:
    """Run ``net`` once and return the seconds it took, padding included, and how many pixels came out.

    Args:
        net: in evaluation mode, on the device of ``image``.
        facts: its size rules; the image is padded to them.
        image: input (B, C, H, W) in [0, 1].
    """
    _finish(image.device)
    started = time.perf_counter()
    output = run_padded(net, image, facts)
    _finish(image.device)
    return time.perf_counter() - started, output.shape[0] * output.shape[-2] * output.shape[-1]


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
