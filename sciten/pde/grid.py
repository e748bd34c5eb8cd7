"""Grids on boxes: where the unknowns of a field lie.

The conditions on the faces belong to the grid, because the points follow from them. On a uniform axis with spacing h
the unknowns begin at a distance h from a `Dirichlet` face, whose value is known, and at h/2 from every other face, so
that differences across that face are centred on it; both are of second order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, pi
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.boundary import Condition, Dirichlet, Neumann, Periodic, Robin

_PINNED = Dirichlet()


@dataclass(frozen=True)
class Axis:
    """One dimension of a grid.

    Args:
        lower, upper: ends of the interval.
        n: number of unknowns.
        conditions: at the lower and at the upper end.
        chebyshev: unknowns are the inner Chebyshev-Gauss-Lobatto points, dense towards both ends, in place of uniform
            ones. Derivatives then are those of the interpolating polynomial, of spectral order for smooth fields.

    Raises:
        ConfigError: an argument is out of range, or only one end is periodic.
    """

    lower: float
    upper: float
    n: int
    conditions: tuple[Condition, Condition] = (Dirichlet(), Dirichlet())
    chebyshev: bool = False

    def __post_init__(self) -> None:
        if not (isfinite(self.lower) and isfinite(self.upper) and self.lower < self.upper):
            raise ConfigError(f"Grid: expected bounds with lower < upper, got ({self.lower}, {self.upper})")
        if not isinstance(self.n, Integral) or isinstance(self.n, bool):
            raise ConfigError(f"Grid: expected a whole number of points in each dimension, got {self.n!r}")
        object.__setattr__(self, "n", int(self.n))
        if self.n < 2:
            raise ConfigError(f"Grid: expected at least 2 points in each dimension, got {self.n}")
        kinds = (Dirichlet, Neumann, Robin, Periodic)
        if len(self.conditions) != 2 or not all(isinstance(one, kinds) for one in self.conditions):
            raise ConfigError(
                "Grid: expected a pair of Dirichlet, Neumann, Robin or Periodic for each dimension, got "
                f"{self.conditions!r}"
            )
        periodic = [isinstance(one, Periodic) for one in self.conditions]
        if any(periodic) and not all(periodic):
            raise ConfigError(f"Grid: expected Periodic at both ends or at none, got {self.conditions!r}")
        if self.periodic and self.chebyshev:
            raise ConfigError("Grid: expected a uniform axis for Periodic, got a Chebyshev one")

    @property
    def periodic(self) -> bool:
        """Whether both ends are one."""
        return isinstance(self.conditions[0], Periodic)

    @property
    def length(self) -> float:
        """Of the interval."""
        return self.upper - self.lower

    @cached_property
    def spacing(self) -> float:
        """Distance of neighbours on a uniform axis; raises `ConfigError` on a Chebyshev one."""
        if self.chebyshev:
            raise ConfigError("Grid: expected a uniform axis, got a Chebyshev one, which has no one spacing")
        if self.periodic:
            return self.length / self.n
        return self.length / (self.n - 1 + sum(self.offsets))

    @property
    def offsets(self) -> tuple[float, float]:
        """Distances of the first and the last unknown from the faces, in units of the spacing."""
        first, last = (1.0 if isinstance(one, Dirichlet) else 0.5 for one in self.conditions)
        return first, last

    @property
    def first(self) -> float:
        """The first point of a uniform axis."""
        return self.lower if self.periodic else self.lower + self.offsets[0] * self.spacing

    def points(self) -> Tensor:
        """Where the unknowns are, `[n]`, ascending."""
        if self.chebyshev:
            return self.lobatto()[1:-1]
        return self.first + self.spacing * torch.arange(self.n, dtype=torch.float64)

    def lobatto(self) -> Tensor:
        """The Chebyshev-Gauss-Lobatto points with both ends, `[n + 2]`, ascending."""
        # The sine is symmetric about the middle to the last digit, as the cosine is not.
        angles = pi * (torch.arange(self.n + 2, dtype=torch.float64) / (self.n + 1) - 0.5)
        return self.lower + self.length * (torch.sin(angles) + 1) / 2


@dataclass(frozen=True)
class Grid:
    """A product of axes.

    Args:
        axes: one for each dimension.
    """

    axes: tuple[Axis, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", tuple(self.axes))
        if not self.axes:
            raise ConfigError("Grid: expected at least one axis, got none")

    @classmethod
    def uniform(
        cls,
        bounds: Sequence[tuple[float, float]],
        n: int | Sequence[int] | np.ndarray | Tensor,
        boundary: "Condition | Sequence[Condition | tuple[Condition, Condition]]" = _PINNED,
    ) -> "Grid":
        """A grid of uniform axes.

        Args:
            bounds: lower and upper end of each dimension.
            n: number of unknowns in each dimension, or one for all.
            boundary: the condition on all faces, by default u = 0; or for each dimension that on both faces, or a pair
                for the lower and the upper face.

        Raises:
            ConfigError: an argument has another form, or is out of range.
        """
        return cls(_axes(bounds, n, boundary, chebyshev=False))

    @classmethod
    def chebyshev(
        cls,
        bounds: Sequence[tuple[float, float]],
        n: int | Sequence[int] | np.ndarray | Tensor,
        boundary: "Condition | Sequence[Condition | tuple[Condition, Condition]]" = _PINNED,
    ) -> "Grid":
        """A grid of Chebyshev axes, with arguments as those of `uniform`."""
        return cls(_axes(bounds, n, boundary, chebyshev=True))

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of unknowns in each dimension."""
        return tuple(axis.n for axis in self.axes)

    def __len__(self) -> int:
        return len(self.axes)

    def points(self) -> tuple[Tensor, ...]:
        """Where the unknowns are, `[n]` for each dimension."""
        return tuple(axis.points() for axis in self.axes)


def _axes(
    bounds: Sequence[tuple[float, float]],
    n: int | Sequence[int] | np.ndarray | Tensor,
    boundary: "Condition | Sequence[Condition | tuple[Condition, Condition]]",
    *,
    chebyshev: bool,
) -> tuple[Axis, ...]:
    intervals = _intervals(bounds)
    d = len(intervals)
    given: Any = n.tolist() if isinstance(n, np.ndarray | Tensor) else n
    sizes = list(given) if isinstance(given, Sequence) else [given] * d
    conditions = list(boundary) if isinstance(boundary, Sequence) else [boundary] * d
    if len(sizes) != d or len(conditions) != d:
        raise ConfigError(
            f"Grid: expected one size and one boundary condition, or one for each of {d} dimensions, got "
            f"{len(sizes)} sizes and {len(conditions)} conditions"
        )
    pairs = [tuple(one) if isinstance(one, Sequence) else (one, one) for one in conditions]
    return tuple(
        Axis(lower, upper, size, pair, chebyshev)  # type: ignore[arg-type]  # checked by Axis
        for (lower, upper), size, pair in zip(intervals, sizes, pairs, strict=True)
    )


def _intervals(bounds: Any) -> list[tuple[float, float]]:
    """Bounds as they were given, checked for their form."""
    try:
        return [(float(lower), float(upper)) for lower, upper in bounds]
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            "Grid: expected bounds as a list of pairs (lower, upper), one for each dimension, such as [(0, 1)], got "
            f"{bounds!r:.200}"
        ) from error
