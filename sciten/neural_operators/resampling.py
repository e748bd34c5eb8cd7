"""One axis of a grid on more or on fewer points: band-limited interpolation.

Every axis of n points is part of a signal with a period, n, or 2 (n - 1) where an axis with ends is mirrored about
them. Waves that both grids carry stay what they are, and others are left out: nothing fast comes back as something
slow. Like every sharp low-pass, this one overshoots by up to a tenth beside jumps; beside ends where a field has a
slope, and its mirror image a corner, it converges to first order.
"""

from functools import lru_cache

import numpy as np
import torch
from scipy.special import diric
from torch import Tensor


def resampled(x: Tensor, axis: int, points: int, periodic: bool) -> Tensor:
    """`x` with another number of points along an axis of the same length.

    The n points of a periodic axis lie at i / n of it, those of others at i / (n - 1).
    """
    given = x.shape[axis]
    if given == points:
        return x
    matrix = torch.from_numpy(_matrix(given, points, periodic)).to(x.device, x.dtype)
    return torch.tensordot(x, matrix, dims=([axis], [1])).movedim(-1, axis)


def mirrored(places: np.ndarray, points: int) -> np.ndarray:
    """Those of an axis' points that stand for points beyond its ends."""
    period = _period(points, periodic=False)
    places = places % period
    return np.where(places < points, places, period - places)


@lru_cache(maxsize=64)
def _matrix(given: int, points: int, periodic: bool) -> np.ndarray:
    """`[points, given]`. Kept as an array: a tensor of `torch.inference_mode` would be of no use in a training step."""
    period, other = _period(given, periodic), _period(points, periodic)
    kept = 2 * ((min(period, other) - 1) // 2) + 1  # waves below half a period from point to point, on both
    places = np.arange(points) * (period / other)
    angles = 2 * np.pi / period * (places[:, None] - np.arange(period))
    kernel = kept / period * diric(angles, kept)
    if periodic:
        return np.ascontiguousarray(kernel)
    matrix = np.zeros((points, given))
    np.add.at(matrix.T, mirrored(np.arange(period), given), kernel.T)
    return matrix


def _period(points: int, periodic: bool) -> int:
    return points if periodic else max(2 * points - 2, 1)
