"""Functions on a box as Tucker decompositions of their Chebyshev coefficients."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.decompose.chebyshev.polynomials import GATHERED, evaluated
from sciten.tensor.formats.tucker import Tucker

Bounds = tuple[tuple[float, float], ...]


@dataclass(frozen=True, eq=False)
class ChebyshevTucker:
    """A function on a box that is evaluated anywhere: `f(points)`.

    f(x) = sum over j_1, ..., j_d of c[j_1, ..., j_d] T_{j_1}(u_1) ... T_{j_d}(u_d), u_k from -1 to 1 in the bounds.

    Args:
        coefficients: c, with factors `[degree_k + 1, r_k]`.
        bounds: (a, b) for each variable.
        error: the largest at independent samples, relative to the largest value of the function.
        converged: whether that is within the tolerance.
        message: why not, and what to try; empty where it is.
        evaluations: how many values of the function were taken.

    Raises:
        ConfigError: bounds are not one interval for each mode.
    """

    coefficients: Tucker
    bounds: Bounds
    error: float = field(default=torch.nan, kw_only=True)
    converged: bool = field(default=True, kw_only=True)
    message: str = field(default="", kw_only=True)
    evaluations: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bounds", box_of("ChebyshevTucker", self.bounds))
        if len(self.bounds) != len(self.coefficients.factors):
            raise ConfigError(
                f"ChebyshevTucker: expected an interval for each of {len(self.coefficients.factors)} modes, got "
                f"{self.bounds}"
            )

    @property
    def ranks(self) -> tuple[int, ...]:
        """The shape of the core."""
        return self.coefficients.ranks

    @property
    def degrees(self) -> tuple[int, ...]:
        """Of the polynomials in each variable."""
        return tuple(n - 1 for n in self.coefficients.shape)

    def __call__(self, points: Tensor) -> Tensor:
        """Values at `[n, d]` points, `[n]`.

        Raises:
            ConfigError: a point lies outside the bounds, or the shape is not as above.
        """
        d = len(self.bounds)
        if points.ndim != 2 or points.shape[1] != d:
            raise ConfigError(f"ChebyshevTucker: expected points [n, {d}], got {list(points.shape)}")
        step = max(1, GATHERED // max(*self.coefficients.shape, prod(self.ranks)))
        found = [self._values(part) for part in points.split(step)]
        return torch.cat(found) if found else self.coefficients.core.new_zeros(0)

    def _values(self, points: Tensor) -> Tensor:
        rows = self.on_grid(list(points.mT))
        same = torch.arange(len(points), device=points.device)[:, None].expand(-1, len(self.bounds))
        return rows.at(same)

    def on_grid(self, axes: Sequence[Tensor]) -> Tucker:
        """Values on the grid of points `[n_k]` in each variable.

        Raises:
            ConfigError: a point lies outside the bounds, or there are not as many axes as variables.
        """
        if len(axes) != len(self.bounds):
            raise ConfigError(f"ChebyshevTucker: expected {len(self.bounds)} axes, got {len(axes)}")
        factors = [
            evaluated(factor, _scaled(axis, interval, k))
            for k, (factor, axis, interval) in enumerate(
                zip(self.coefficients.factors, axes, self.bounds, strict=True)
            )
        ]
        return Tucker(self.coefficients.core, tuple(factors))


def _scaled(points: Tensor, interval: tuple[float, float], variable: int) -> Tensor:
    a, b = interval
    if points.ndim != 1 or not points.is_floating_point():
        raise ConfigError(
            f"ChebyshevTucker: expected real points [n] in variable {variable}, got {points.dtype} "
            f"{list(points.shape)}"
        )
    unit = (2 * points.double() - (a + b)) / (b - a)
    outside = ~(unit.abs() <= 1 + 1e-12)  # as rounding errors may leave them; NaN is outside
    if bool(outside.any()):
        raise ConfigError(
            f"ChebyshevTucker: expected points within [{a}, {b}] in variable {variable}, got "
            f"{float(points[outside][0])}"
        )
    return unit.clamp(-1, 1)


def box_of(name: str, bounds: Sequence[tuple[float, float]]) -> Bounds:
    """Bounds as floats; raises `ConfigError` where they are none."""
    box = tuple((float(a), float(b)) for a, b in bounds)
    if not box or not all(a < b and b - a < torch.inf for a, b in box):
        raise ConfigError(f"{name}: expected bounds (a, b) with a < b for every variable, got {bounds}")
    return box
