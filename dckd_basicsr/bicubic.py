"""MATLAB's bicubic ``imresize``, the filter behind every published super-resolution input.

Cubic convolution with a = -0.5 (Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981), widened by
1/scale when shrinking (antialiasing), symmetric borders. NumPy only.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["bicubic_matrix", "imresize_uint8"]

# Output values worked on at a time: three float64 buffers of this size stay in the processor's cache.
_BLOCK = 1 << 16


def bicubic_matrix(n_in: int, n_out: int, scale: float | None = None) -> NDArray[np.float64]:
    """Return the weights W, shape (n_out, n_in), for which ``W @ signal`` is ``imresize`` along one axis.

    Args:
        n_in: samples before, at least 1.
        n_out: samples after, at least 1.
        scale: enlargement factor; ``n_out / n_in`` if not given. Below 1 the kernel is widened (antialiasing).

    Raises:
        ValueError: a size below 1, or a scale that is not positive.
    """
    weights, indices = _taps(n_in, n_out, n_out / n_in if scale is None and n_in > 0 else float(scale or 0))
    matrix = np.zeros((n_out, n_in))
    # At a border several taps fall on the same mirrored sample, so they have to add up.
    np.add.at(matrix, (np.arange(n_out)[:, None], indices), weights)
    return matrix


def imresize_uint8(image: NDArray[np.uint8], scale: float | Fraction) -> NDArray[np.uint8]:
    """Resize as MATLAB's ``imresize(image, scale)`` does on class uint8, pixel for pixel.

    MATLAB filters the columns' direction first (rows are combined) and stores that result as uint8, rounded half up
    and clamped, before it filters the other direction. Leaving the rounding out changes 7 to 15 % of the values.

    Args:
        image: uint8, H x W or H x W x C, any channel order.
        scale: enlargement factor of both sides. A float that stands for a simple fraction (``1 / 3``) is taken as such.

    Returns:
        uint8, ``ceil(H * scale)`` x ``ceil(W * scale)`` (x C).

    Raises:
        TypeError: the image is not uint8.
        ValueError: not 2 or 3 axes, an empty image, or a scale that is not positive.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"imresize_uint8 takes uint8 images, got {image.dtype}; convert, or use bicubic_matrix")
    if image.ndim not in (2, 3) or not image.size:
        raise ValueError(f"imresize_uint8 takes non-empty H x W or H x W x C images, got shape {image.shape}")
    factor = _as_fraction(scale)
    height, width = (math.ceil(side * factor) for side in image.shape[:2])
    tall = _resize_rows(image, height, float(factor))
    return np.ascontiguousarray(_resize_rows(tall.swapaxes(0, 1), width, float(factor)).swapaxes(0, 1))


def _as_fraction(scale: float | Fraction) -> Fraction:
    """Undo the rounding of ``1 / 3`` to binary, which could add a row: ceil(n * scale) has to be exact."""
    simple = Fraction(scale).limit_denominator(1000)
    return simple if float(simple) == float(scale) else Fraction(scale)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@lru_cache(maxsize=32)
def _taps(n_in: int, n_out: int, scale: float) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return weights and source indices, both (n_out, taps); the weights of a row add up to 1."""
    if n_in < 1 or n_out < 1 or not scale > 0:
        raise ValueError(f"bicubic sizes and scale must be positive, got n_in={n_in}, n_out={n_out}, scale={scale}")
    shrink = min(scale, 1.0)
    width = 4 / shrink
    # Pixel centres: output i (from 0) lies over input (i + 0.5) / scale - 0.5.
    centre = (np.arange(n_out) + 0.5) / scale - 0.5
    first = np.floor(centre - width / 2).astype(np.intp)
    indices = first[:, None] + np.arange(math.ceil(width) + 2)
    weights = _cubic(shrink * (centre[:, None] - indices))
    weights /= weights.sum(axis=1, keepdims=True)
    used = np.any(weights != 0, axis=0)
    mirrored = np.mod(indices[:, used], 2 * n_in)
    return weights[:, used], np.minimum(mirrored, 2 * n_in - 1 - mirrored)


def _resize_rows(image: NDArray[np.uint8], n_out: int, scale: float) -> NDArray[np.uint8]:
    """Filter along axis 0, in blocks of output rows, tap by tap: no dense matrix and no float copy of the photo."""
    weights, indices = _taps(image.shape[0], n_out, scale)
    rows = np.ascontiguousarray(image).reshape(image.shape[0], -1)
    out = np.empty((n_out, rows.shape[1]), np.uint8)
    step = max(1, _BLOCK // rows.shape[1])
    for start in range(0, n_out, step):
        block = slice(start, start + step)
        total = np.zeros((len(out[block]), rows.shape[1]))
        for weight, index in zip(weights[block].T, indices[block].T):
            total += rows[index] * weight[:, None]
        out[block] = np.clip(np.floor(total + 0.5), 0, 255)
    return out.reshape(n_out, *image.shape[1:])
