"""Hamiltonians of coupled oscillators, in units of ħ = m = ω = 1."""

from math import pi

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.grid import Axis, Grid
from sciten.pde.operators import Operator, local_operator, potential
from sciten.tensor import TensorTrain


def sine_kinetic(axis: Axis) -> Tensor:
    """-½ ∂² for functions that vanish at both ends, `[n, n]`: exact for the n lowest sines, so of spectral order.

    The sine discrete variable representation of Colbert and Miller (J. Chem. Phys. 96, 1982 (1992)).

    Raises:
        ConfigError: the axis is not a uniform one between Dirichlet ends.
    """
    if axis.chebyshev or axis.offsets != (1.0, 1.0) or axis.periodic:
        raise ConfigError(f"sine_kinetic: expected a uniform axis with Dirichlet at both ends, got {axis}")
    k = torch.arange(1, axis.n + 1, dtype=torch.float64)
    sines = (2 / (axis.n + 1)) ** 0.5 * torch.sin(pi * k[:, None] * k / (axis.n + 1))
    return sines @ torch.diag(0.5 * (pi * k / axis.length) ** 2) @ sines


def henon_heiles(
    dimensions: int, *, coupling: float = 0.111803, points: int = 32, half_width: float = 9.0
) -> Operator:
    """½ Σ_k (-∂_k² + q_k²) + λ Σ_k (q_k² q_(k+1) - q_(k+1)³ / 3), the benchmark of Nest and Meyer.

    J. Chem. Phys. 117, 10499 (2002). Its potential is not bounded from below: from three dimensions on there are wells
    within the box of 9 that are deeper than the one at the origin, behind a barrier of 1/(6 λ²). The state that is
    meant is the lowest one of the well at the origin; a search finds it from `gaussian(grid)`.

    Args:
        dimensions: f.
        coupling: λ.
        points: of each axis.
        half_width: of the box.
    """
    grid = Grid.uniform([(-half_width, half_width)] * dimensions, points)
    q = torch.diag(grid.points()[0])
    kinetic = sine_kinetic(grid.axes[0])
    total = potential(grid, 0.0)
    for k in range(dimensions):
        own = kinetic + 0.5 * q @ q
        if k > 0:
            own = own - coupling / 3 * q @ q @ q
            total = total + coupling * local_operator(grid, {k - 1: q @ q, k: q})
        total = total + local_operator(grid, {k: own})
    return total


def gaussian(grid: Grid) -> TensorTrain:
    """The ground state of uncoupled oscillators, of unit norm on the grid."""
    found = TensorTrain.rank_one([torch.exp(-points.square() / 2) for points in grid.points()])
    return found / found.norm()
