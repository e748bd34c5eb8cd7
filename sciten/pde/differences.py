"""Derivatives along one axis, with the boundary conditions in them.

Everything goes through the faces between cells: a gradient from the unknowns to the faces, which knows the conditions,
and a divergence back. Div diag(k) Grad then conserves what flows, and is of second order for every condition; for a
Chebyshev axis the faces are all collocation points, and the order is spectral.

Conditions are affine: the gradient is `matrix @ u + data @ (value at the lower face, value at the upper face)`.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.boundary import Dirichlet, Periodic, Robin, as_robin
from sciten.pde.grid import Axis


@dataclass(frozen=True, eq=False)
class Differences:
    """The derivatives of an axis with n unknowns and m faces; complex where the weights of a condition are.

    Args:
        faces: where the faces are, `[m]`.
        gradient: unknowns to derivatives at the faces, `[m, n]`.
        data: values of the two conditions to derivatives at the faces, `[m, 2]`.
        divergence: fluxes at the faces to their divergence at the unknowns, `[n, m]`.
        average: values at the faces to values at the unknowns, `[n, m]`.
    """

    faces: Tensor
    gradient: Tensor
    data: Tensor
    divergence: Tensor
    average: Tensor


@lru_cache(maxsize=64)
def differences(axis: Axis) -> Differences:
    """The derivatives of an axis.

    Raises:
        ConfigError: a Robin condition determines no value at its face, for this spacing.
    """
    if axis.chebyshev:
        return _collocation(axis)
    return _periodic(axis) if axis.periodic else _uniform(axis)


def _uniform(axis: Axis) -> Differences:
    n, h, dtype = axis.n, axis.spacing, _dtype(axis)
    inner = torch.eye(n, dtype=dtype)
    gradient = torch.zeros(n + 1, n, dtype=dtype)
    gradient[1:-1] = (inner[1:] - inner[:-1]) / h
    data = torch.zeros(n + 1, 2, dtype=dtype)
    for side, (face, cell, outward) in enumerate(((0, 0, -1.0), (n, n - 1, 1.0))):
        own, given = _outward_slope(axis, side)
        gradient[face, cell] += outward * own
        data[face, side] += outward * given
    eye = torch.eye(n + 1, dtype=dtype)
    return Differences(
        faces=axis.first + h * (torch.arange(n + 1, dtype=torch.float64) - 0.5),
        gradient=gradient,
        data=data,
        divergence=(eye[1:] - eye[:-1]) / h,
        average=(eye[1:] + eye[:-1]) / 2,
    )


def _outward_slope(axis: Axis, side: int) -> tuple[float | complex, float | complex]:
    """The outward derivative between the outermost unknown and a point beyond it: its factors of the unknown and of the
    condition's value."""
    condition, h = axis.conditions[side], axis.spacing
    assert not isinstance(condition, Periodic)
    weight, slope = as_robin(condition)
    if isinstance(condition, Dirichlet):
        return -1 / h, 1 / h
    # The point beyond has the value v with weight (v + u)/2 + slope (v - u)/h = value at the face between them.
    beyond = weight / 2 + slope / h
    if abs(beyond) <= 1e-12 * (abs(weight) / 2 + abs(slope) / h):
        raise ConfigError(
            f"Robin: weight {weight} and slope {slope} determine nothing at spacing {h:.3g}; choose another number of "
            "points"
        )
    return -weight / (h * beyond), 1 / (h * beyond)


def _periodic(axis: Axis) -> Differences:
    n, h = axis.n, axis.spacing
    eye = torch.eye(n, dtype=torch.float64)
    return Differences(
        faces=axis.first + h * (torch.arange(n, dtype=torch.float64) - 0.5),
        gradient=(eye - eye.roll(-1, 1)) / h,
        data=torch.zeros(n, 2, dtype=torch.float64),
        divergence=(eye.roll(-1, 0) - eye) / h,
        average=(eye.roll(-1, 0) + eye) / 2,
    )


def _collocation(axis: Axis) -> Differences:
    dtype = _dtype(axis)
    derivative = chebyshev_derivative(axis.lobatto()).to(dtype)
    n = axis.n
    ends = torch.zeros(2, n + 2, dtype=dtype)  # the conditions, as rows over all points
    for side, (place, outward) in enumerate(((0, -1.0), (n + 1, 1.0))):
        condition = axis.conditions[side]
        assert not isinstance(condition, Periodic)
        weight, slope = as_robin(condition)
        ends[side] = outward * slope * derivative[place]
        ends[side, place] += weight
    outer, inner = ends[:, [0, -1]], ends[:, 1:-1]
    if float(torch.linalg.cond(outer)) > 1e12:
        raise ConfigError(f"Robin: {axis.conditions} determine no values at the ends of {axis.n} points")
    # Values at both ends from those inside and from the data: outer @ ends = data - inner @ u.
    extension = torch.zeros(n + 2, n, dtype=dtype)
    extension[1:-1] = torch.eye(n, dtype=dtype)
    extension[[0, -1]] = -torch.linalg.solve(outer, inner)
    data = torch.zeros(n + 2, 2, dtype=dtype)
    data[[0, -1]] = torch.linalg.inv(outer)
    return Differences(
        faces=axis.lobatto(),
        gradient=derivative @ extension,
        data=derivative @ data,
        divergence=derivative[1:-1],
        average=torch.eye(n + 2, dtype=dtype)[1:-1],
    )


def _dtype(axis: Axis) -> torch.dtype:
    """Complex where the weights of a condition are."""
    weights = [part for one in axis.conditions if isinstance(one, Robin) for part in (one.weight, one.slope)]
    return torch.complex128 if any(isinstance(part, complex) for part in weights) else torch.float64


def chebyshev_derivative(points: Tensor) -> Tensor:
    """The derivative of the polynomial through values at Chebyshev-Gauss-Lobatto points, `[n, n]`.

    Trefethen, Spectral Methods in MATLAB (2000), Theorem 7, with rows that add up to zero by construction
    (Baltensperger and Trummer, SIAM J. Sci. Comput. 24, 1465 (2003)), which keeps the derivative of a constant at zero.
    """
    n = len(points)
    weights = torch.ones(n, dtype=torch.float64)
    weights[[0, -1]] = 2.0
    weights[1::2] *= -1
    distances = points[:, None] - points[None, :] + torch.eye(n, dtype=torch.float64)
    matrix = weights[:, None] / weights[None, :] / distances
    matrix.fill_diagonal_(0.0)
    return matrix - torch.diag(matrix.sum(1))
