"""One axis of a grid cut into windows.

Beyond its ends a periodic axis repeats, and others are mirrored about their end points, which keeps fields continuous,
makes nothing larger than it was, and needs no values from outside.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sciten.neural_operators.resampling import mirrored


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
        inside = places % self.points if self.periodic else mirrored(places, self.points)
        return x.index_select(axis, torch.from_numpy(inside.ravel()).to(x.device))

    def stitch(self, x: Tensor, axis: int) -> Tensor:
        """The inverse of `cut`: every point of the axis from the window that owns it."""
        starts, points = self.starts(), np.arange(self.points)
        owner = np.searchsorted(starts, points, side="right") - 1
        indices = torch.from_numpy(owner * self.size + self.halo + points - starts[owner])
        return x.index_select(axis, indices.to(x.device))
