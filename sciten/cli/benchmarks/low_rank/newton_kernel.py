"""The long-range part of the Newton kernel 1/|x| on [-1, 1]³ in Chebyshev-Tucker form.

1/r = 2/√π ∫ exp(-t² r²) dt over t > 0, by the trapezoidal rule in t = sinh u: a sum of Gaussians whose nodes grow
geometrically (Hackbusch and Khoromskij, Computing 76, 177 (2006)). The rule resolves radii down to half a cell of the
grid. Its wide Gaussians are the long-range part (Benner, Khoromskaia and Khoromskij, SIAM J. Sci. Comput. 40, A1034
(2018)); of R terms the published experiments with Chebyshev-Tucker take the ⌈R/2⌉ - 3 widest (arXiv:2503.01696). R
grows with log n, and so do ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import asinh, ceil, log, pi, sqrt
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from sciten.tensor.decompose.chebyshev import chebyshev_tucker_cp

#: The published ranks at a tolerance of 1e-7, for each n.
PUBLISHED_RANKS = {256: 9, 512: 11, 1024: 12, 2048: 13}


@dataclass(frozen=True)
class Gaussians:
    """The sum of `weights[k] exp(-exponents[k] |x|²)`.

    Args:
        weights: `[r]`.
        exponents: `[r]`, ascending.
    """

    weights: Tensor
    exponents: Tensor

    def factor(self, x: Tensor) -> Tensor:
        """The Gaussians of one variable at points `[n]`: `[n, r]`."""
        return torch.exp(-x[:, None].square() * self.exponents)

    def radial(self, r: Tensor) -> Tensor:
        """Values at radii `[n]`."""
        return self.factor(r) @ self.weights


def newton_kernel(smallest: float, accuracy: float) -> Gaussians:
    """1/r by Gaussians, to a relative accuracy for radii from `smallest` to √3, the largest in the box.

    In the strip |Im u| < π/4 the integrand is analytic and at most exp(r²/2) times larger, so that the error of the
    rule is about 2 exp(r²/2 - π²/(2 step)); the last node is where the narrowest Gaussian has come down to the accuracy
    at the smallest radius.
    """
    digits = log(1 / accuracy)
    step = pi**2 / (2 * (digits + log(2) + 3 / 2))
    count = ceil(asinh(sqrt(digits) / smallest) / step)
    u = step * torch.arange(count + 1, dtype=torch.float64)
    weights = 2 * step / sqrt(pi) * torch.cosh(u)
    weights[0] /= 2  # all others stand for two nodes, at u and at -u
    return Gaussians(weights, torch.sinh(u).square())


def long_range(kernel: Gaussians) -> Gaussians:
    """The ⌈R/2⌉ - 3 widest of R Gaussians."""
    kept = ceil(len(kernel.weights) / 2) - 3
    return Gaussians(kernel.weights[:kept], kernel.exponents[:kept])


def measure(cells: Sequence[int] = tuple(PUBLISHED_RANKS), tolerance: float = 1e-7) -> list[dict[str, Any]]:
    """A row for each number of cells along an edge.

    Args:
        cells: n, of grids of n³ cells.
        tolerance: of Chebyshev-Tucker, relative to the largest value.

    Returns:
        Each with `n`, `terms` of the kernel and of its long-range part, `ranks`, `published_rank` (None where there is
        none), `degrees`, `relative_error` on the slice of cell centres beside the middle, in the maximum norm, whether
        the approximation `converged`, and the `seconds` that it took.
    """
    return [_row(n, tolerance) for n in cells]


def _row(n: int, tolerance: float) -> dict[str, Any]:
    kernel = newton_kernel(1 / n, tolerance)
    part = long_range(kernel)
    start = perf_counter()
    found = chebyshev_tucker_cp(part.weights, [part.factor] * 3, [(-1.0, 1.0)] * 3, tolerance)
    seconds = perf_counter() - start
    centres = (2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1
    middle = centres[n // 2 : n // 2 + 1]
    expected = (part.factor(centres) * (part.weights * part.factor(middle))) @ part.factor(centres).T
    error = found.on_grid([middle, centres, centres]).full()[0] - expected
    return {
        "n": n,
        "terms": len(kernel.weights),
        "long_range_terms": len(part.weights),
        "ranks": list(found.ranks),
        "published_rank": PUBLISHED_RANKS.get(n) if tolerance == 1e-7 else None,
        "degrees": list(found.degrees),
        "relative_error": float(error.abs().max() / expected.abs().max()),
        "converged": found.converged,
        "seconds": seconds,
    }
