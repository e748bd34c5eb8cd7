"""Fields on grids of more or of fewer points: band-limited interpolation.

Every axis of n points is part of a signal with a period, n, or 2 (n - 1) where an axis with ends is mirrored about
them. Waves that both grids carry stay what they are, and others are left out: nothing fast comes back as something
slow. Like every sharp low-pass, this one overshoots by up to a tenth beside jumps; beside ends where a field has a
slope, and its mirror image a corner, it converges to first order.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sciten.neural_operators.fourier import analyse, synthesise


def resampled(fields: Tensor, grid: Sequence[int], periodic: Sequence[bool]) -> Tensor:
    """Real fields `[B, C, *points]` on another grid of the same domain, `[B, C, *grid]`.

    The n points of a periodic axis of length one lie at i / n, those of others at i / (n - 1). Not in mixed precision:
    sums over a whole grid would suffer most.
    """
    if tuple(fields.shape[2:]) == tuple(grid):
        return fields
    found = fields.movedim(1, -1)
    for axis, (n, continues) in enumerate(zip(fields.shape[2:], periodic, strict=True), 1):
        if not continues:
            places = torch.from_numpy(mirrored(np.arange(_period(n, continues)), n))
            found = found.index_select(axis, places.to(found.device))
    given = found.shape[1:-1]
    wanted = [_period(n, continues) for n, continues in zip(grid, periodic, strict=True)]
    # All waves below half a period from point to point, on both grids.
    modes = [a if a == b else 2 * ((min(a, b) - 1) // 2) + 1 for a, b in zip(given, wanted, strict=True)]
    with torch.autocast(fields.device.type, enabled=False):
        found = synthesise(analyse(found, modes), modes, wanted)
    for axis, n in enumerate(grid, 1):
        found = found.narrow(axis, 0, n)
    return found.movedim(-1, 1)


def mirrored(places: np.ndarray, points: int) -> np.ndarray:
    """Those of an axis' points that stand for points beyond its ends."""
    period = _period(points, periodic=False)
    places = places % period
    return np.where(places < points, places, period - places)


def _period(points: int, periodic: bool) -> int:
    return points if periodic else max(2 * points - 2, 1)
