"""One axis of a grid cut into windows, and what they see of it on coarser scales.

Beyond its ends a periodic axis repeats, and others are mirrored about their end points, so that every axis of n points
is part of a signal with a period: n, or 2 (n - 1). Mirroring keeps fields continuous, makes nothing larger than it was,
and needs no values from outside. A coarser view is this signal without the waves that the coarser points cannot carry,
taken at these points: constants and slow waves stay what they are, and nothing fast comes back as something slow.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy.special import diric
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """Windows of equal size that cover an axis.

    Each owns `core` points, or one fewer where the points do not divide evenly; it then holds one point of its
    neighbour's too, so that all windows have the same size and none has invented points.

    Args:
        points: how many points the axis has.
        count: how many windows, at most `points`.
        halo: further points on either side of a window.
        periodic: whether the axis continues at its other end; otherwise the halo beyond an end is mirrored.
    """

    points: int
    count: int
    halo: int
    periodic: bool

    @property
    def core(self) -> int:
        """Points of a window without its halo."""
        return -(-self.points // self.count)

    @property
    def size(self) -> int:
        """Points of a window with its halo."""
        return self.core + 2 * self.halo

    def starts(self) -> np.ndarray:
        """The first point that each window owns, `[count]`."""
        return np.arange(self.count) * self.points // self.count

    def cut(self, x: Tensor, axis: int) -> Tensor:
        """`axis` replaced by the windows' points, one window after the other: count · size of them."""
        places = self.starts()[:, None] - self.halo + np.arange(self.size)
        indices = torch.from_numpy(self._folded(places).ravel()).to(x.device)
        return x.index_select(axis, indices)

    def stitch(self, x: Tensor, axis: int) -> Tensor:
        """The inverse of `cut`: every point of the axis from the window that owns it."""
        starts, points = self.starts(), np.arange(self.points)
        owner = np.searchsorted(starts, points, side="right") - 1
        indices = torch.from_numpy(owner * self.size + self.halo + points - starts[owner])
        return x.index_select(axis, indices.to(x.device))

    def coarse(self, x: Tensor, axis: int, factor: int) -> Tensor:
        """As `cut`, from windows `factor` times as wide about the same centres, whose points lie `factor` apart.

        A window reaches to where the next one begins on periodic axes, and to its last point on others, so that on a
        finer grid its centre, and with it all that a wider window sees, stays where it is.

        Waves that are not below half a period for each two coarse points are left out.
        """
        if factor == 1:
            return self.cut(x, axis)
        matrix = torch.from_numpy(_coarse_matrix(self, factor)).to(x.device, x.dtype)
        return torch.tensordot(x, matrix, dims=([axis], [1])).movedim(-1, axis)

    def _period(self) -> int:
        return self.points if self.periodic else max(2 * self.points - 2, 1)

    def _folded(self, places: np.ndarray) -> np.ndarray:
        """Points of the axis that stand for any places."""
        places = places % self._period()
        return np.where(places < self.points, places, self._period() - places)


@lru_cache(maxsize=64)
def _coarse_matrix(windows: Windows, factor: int) -> np.ndarray:
    """From an axis to its coarse windows, `[count * size, points]`: band-limited interpolation at their points.

    Kept as an array: a tensor made under `torch.inference_mode` would be of no use in a later training step.
    """
    period = windows._period()
    end = 0 if windows.periodic else 1
    centres = windows.starts() + (windows.core - end) / 2
    offsets = factor * (np.arange(windows.size) - (windows.size - end) / 2)
    places = (centres[:, None] + offsets).ravel()
    kept = 2 * ((period - 1) // (2 * factor)) + 1  # all waves below 1 / (2 factor) periods for each point
    angles = 2 * np.pi / period * (places[:, None] - np.arange(period))
    kernel = kept / period * diric(angles, kept)
    matrix = np.zeros((len(places), windows.points))
    np.add.at(matrix.T, windows._folded(np.arange(period)), kernel.T)
    return matrix
