"""Chebyshev polynomials: values at nodes, coefficients, values anywhere."""

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor

#: The degree that is tried first.
FIRST_DEGREE = 8
#: Numbers that are made at a time where polynomials or functions are evaluated.
GATHERED = 2**22
#: The last part of the coefficients, one in so many, that has to be small.
_TAIL = 4


def sufficient_degree(
    fibres: Callable[[Tensor], Tensor],
    interval: tuple[float, float],
    probes: Tensor,
    limit: float,
    least: int,
    most: int,
) -> int:
    """The degree from which on the coefficients of fibres are below a tenth of a limit.

    Args:
        fibres: values `[m, n]` at points `[n]` of the interval.
        interval: (a, b).
        probes: points `[p]` where the polynomials have to agree with the fibres, as nodes may step over a narrow peak.
        limit: of errors.
        least, most: of the result.
    """
    expected = fibres(probes)
    degree = FIRST_DEGREE
    while True:
        degree = min(max(degree, least), most)
        coefficients = to_coefficients(fibres(nodes(degree, interval)), -1)
        sizes = coefficients.abs().amax(0)
        precision = 8 * torch.finfo(sizes.dtype).eps * float(sizes.max())  # of the coefficients
        needed = sizes > max(0.1 * limit, precision)
        resolved = not bool(needed[-max(1, (degree + 1) // _TAIL) :].any())
        if resolved and _agree(coefficients, interval, probes, expected, limit):
            last = int(needed.nonzero()[-1]) if bool(needed.any()) else 0
            return max(last, min(least, most))
        if degree == most:
            return degree
        degree = 2 * degree


def _agree(
    coefficients: Tensor, interval: tuple[float, float], probes: Tensor, expected: Tensor, limit: float
) -> bool:
    a, b = interval
    unit = ((2 * probes - (a + b)) / (b - a)).clamp(-1, 1).to(coefficients.device)
    errors = (evaluated(coefficients.mT, unit).mT - expected).abs()
    precision = torch.finfo(errors.dtype).eps * len(coefficients.mT) * float(coefficients.abs().max())
    return float(errors.max()) <= max(limit, precision)


def nodes(degree: int, interval: tuple[float, float]) -> Tensor:
    """The extrema of T_degree, from b to a."""
    a, b = interval
    if degree == 0:
        return torch.tensor([(a + b) / 2], dtype=torch.float64)
    unit = torch.cos(torch.arange(degree + 1, dtype=torch.float64) * (pi / degree))
    return ((a + b) / 2 + (b - a) / 2 * unit).clamp(a, b)


def to_coefficients(values: Tensor, axis: int) -> Tensor:
    """Chebyshev coefficients of values at the nodes, along an axis."""
    moved = values.movedim(axis, -1)
    degree = moved.shape[-1] - 1
    if degree == 0:
        return values
    mirrored = torch.cat([moved, moved[..., 1:-1].flip(-1)], -1)
    found = torch.fft.fft(mirrored)[..., : degree + 1] / degree
    found[..., [0, degree]] *= 0.5
    return (found if values.is_complex() else found.real).movedim(-1, axis)


def evaluated(coefficients: Tensor, unit: Tensor) -> Tensor:
    """Values at `[n]` in [-1, 1] of polynomials with coefficients `[degree + 1, r]`: `[n, r]`."""
    orders = torch.arange(len(coefficients), device=unit.device, dtype=unit.dtype)
    step = max(1, GATHERED // len(coefficients))
    parts = [
        torch.cos(torch.arccos(part)[:, None] * orders).to(coefficients.dtype) @ coefficients
        for part in unit.split(step)
    ]
    return torch.cat(parts) if parts else coefficients.new_zeros(0, coefficients.shape[1])
