"""What pseudo-spectral solvers on the unit torus share: dealiasing, and checks that a field can be trusted."""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, isfinite

import torch
from torch import Tensor

from sciten.errors import ConfigError, DataError, DivergenceError


def highest_kept(n: int) -> int:
    """The highest wavenumber that the 2/3 rule keeps: products of two such waves do not fold back onto them."""
    return (n - 1) // 3


def require_start(name: str, field: Tensor, dimensions: int) -> Tensor:
    """A start `[..., n, ...]` as float64; raises `DataError` where it is no finite field on n points of each axis."""
    shape = tuple(field.shape[-dimensions:])
    if field.ndim < dimensions or len(set(shape)) != 1 or shape[0] < 4 or field.is_complex():
        raise DataError(
            f"{name}: expected a real start of shape [..., {', '.join(['n'] * dimensions)}] with n of at least 4, got "
            f"{list(field.shape)} of {field.dtype}"
        )
    finite = torch.isfinite(field).reshape(-1, shape[0] ** dimensions).all(-1)
    if not bool(finite.all()):
        raise DataError(
            f"{name}: expected a finite start, got inf or NaN in sample {int((~finite).nonzero()[0])}"
        )
    return field.to(torch.float64)


def require_times(name: str, times: Sequence[float]) -> list[float]:
    """Times as a list; raises `ConfigError` unless they are finite and ascend from zero or later."""
    found = [float(time) for time in times]
    ascending = all(a < b for a, b in pairwise(found))
    if not found or not ascending or found[0] < 0 or not all(map(isfinite, found)):
        raise ConfigError(f"{name}: expected ascending times from 0 on, got {found}")
    return found


def require_positive(name: str, **values: float | None) -> None:
    """Raise `ConfigError` for a value that is given and not a positive finite number."""
    for key, value in values.items():
        if value is not None and not (isfinite(value) and value > 0):
            raise ConfigError(f"{name}: expected a positive {key}, got {value}")


def require_resolved(name: str, power: Tensor, wavenumber: Tensor, n: int, limit: float, time: float) -> None:
    """Raise `DivergenceError` where waves are not damped before the grid ends.

    Args:
        name: of the equation.
        power: squared absolute coefficients, `[..., *modes]`, each with the weight that it has in the sum.
        wavenumber: largest integer wavenumber of each coefficient, `[*modes]`.
        n: number of points in each dimension.
        limit: largest share of the power that the last sixth of the kept wavenumbers may have.
        time: for the message.
    """
    modes = tuple(range(-wavenumber.ndim, 0))
    tail = torch.where(wavenumber > 5 * highest_kept(n) / 6, power, 0.0).sum(modes)
    total = power.sum(modes)
    share = float((tail / total.clamp(min=torch.finfo(power.dtype).tiny)).max())
    if share > limit:
        raise DivergenceError(
            f"{name}: {n} points in each direction do not resolve the field at t = {time:g} (a share of {share:.1e} is "
            f"in the shortest waves, expected at most {limit:.1e}); solve on more points, and keep every second or "
            "fourth"
        )


def number_of_steps(interval: float, longest: float) -> int:
    """How many equal steps, none longer than `longest`, an interval is cut into."""
    # A hair less, so that 0.1 fits ten times into 1.
    return max(1, ceil(interval / longest * (1 - 1e-9)))
