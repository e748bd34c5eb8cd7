"""Darcy's equation −∇·(a ∇u) = f on the unit square with u = 0 on its boundary.

Fields lie on n points of each axis from 0 to 1, both ends included, as users of the public data of the Fourier
neural operator read them (Li et al., ICLR 2021): the spacing is 1/(n - 1), and every k-th point of a finer grid of
k (n - 1) + 1 points is one of the coarse grid. Finite volumes around the inner points, with the harmonic mean of both
neighbours' coefficients on each face, as series of resistances have it: second order for smooth coefficients, and for
any positive ones a symmetric matrix with a nonnegative inverse (an M-matrix), so that u ≥ 0 where f ≥ 0.
"""

from math import isfinite

import numpy as np
import torch
from scipy.sparse import csc_array, diags_array
from scipy.sparse.linalg import splu
from torch import Tensor

from sciten.errors import ConfigError, DataError, DivergenceError

_NAME = "darcy"
#: Of the residual to ‖A‖ ‖u‖ + ‖f‖ in the maximum norm; a direct solver reaches rounding errors.
_LARGEST_RESIDUAL = 1e-11


def piecewise(field: Tensor, above: float = 12.0, below: float = 3.0) -> Tensor:
    """A coefficient of two values, by the sign of a field: `above` where it is zero or more."""
    return torch.where(field >= 0, above, below).to(torch.float64)


def log_normal(field: Tensor) -> Tensor:
    """The coefficient exp(field)."""
    return torch.exp(field.to(torch.float64))


def every_nth(field: Tensor, step: int) -> Tensor:
    """Every n-th point of fields `[..., n, n]`, with both ends.

    Raises:
        ConfigError: the step does not lead from one end to the other.
    """
    gaps = {size - 1 for size in field.shape[-2:]}
    if step < 1 or any(gap % step for gap in gaps):
        raise ConfigError(
            f"every_nth: expected a step that divides {sorted(gaps)}, one less than the numbers of points, got {step}"
        )
    return field[..., ::step, ::step]


def darcy_matrix(coefficient: np.ndarray) -> csc_array:
    """The discrete operator on the inner points.

    Args:
        coefficient: positive, on all points, `[n, m]`.

    Returns:
        `[(n - 2)(m - 2), (n - 2)(m - 2)]`, symmetric; the points are numbered along the last axis first.
    """
    n, m = coefficient.shape
    # Weights of the faces across each axis, inner in the other: [n - 1, m - 2] and [n - 2, m - 1].
    x = _harmonic(coefficient[:-1, 1:-1], coefficient[1:, 1:-1]) * (n - 1) ** 2
    y = _harmonic(coefficient[1:-1, :-1], coefficient[1:-1, 1:]) * (m - 1) ** 2
    diagonal = x[:-1] + x[1:] + y[:, :-1] + y[:, 1:]
    along_x = -x[1:-1].reshape(-1)
    along_y = -y[:, 1:].copy()
    along_y[:, -1] = 0.0  # the last of a line and the first of the next are no neighbours
    along_y = along_y.reshape(-1)[:-1]
    matrix = diags_array(
        [along_x, along_y, diagonal.reshape(-1), along_y, along_x], offsets=[-(m - 2), -1, 0, 1, m - 2]
    )
    return csc_array(matrix)


def solve_darcy(coefficient: Tensor, source: float | Tensor = 1.0) -> Tensor:
    """Solve for u, one sparse direct factorisation for each sample.

    Args:
        coefficient: a, `[..., n, m]`, positive, on the points with both ends.
        source: f, a number or values that broadcast to the coefficient's shape; on the boundary they mean nothing.

    Returns:
        u, of the coefficient's shape, float64, zero on the boundary.

    Raises:
        DataError: the coefficient is not positive and finite, or the source is not finite.
        DivergenceError: the coefficients vary so strongly that no digits are left, or the solution overflows.
    """
    a = coefficient.detach().cpu().to(torch.float64)
    if a.ndim < 2 or min(a.shape[-2:]) < 4:
        raise DataError(
            f"{_NAME}: expected a coefficient [..., n, m] on at least 4 points, got {list(a.shape)}"
        )
    f = torch.broadcast_to(torch.as_tensor(source, dtype=torch.float64).detach().cpu(), a.shape)
    good = torch.isfinite(a) & (a > 0) & torch.isfinite(f)
    if not bool(good.all()):
        sample, i, j = (~good).reshape(-1, *a.shape[-2:]).nonzero()[0].tolist()
        raise DataError(
            f"{_NAME}: expected a positive coefficient and a finite source, got "
            f"{float(a.reshape(-1, *a.shape[-2:])[sample, i, j])} and "
            f"{float(f.reshape(-1, *a.shape[-2:])[sample, i, j])} at the point ({i}, {j}) of sample {sample}"
        )
    if a.numel() == 0:
        return torch.empty_like(a)
    pairs = zip(a.reshape(-1, *a.shape[-2:]).numpy(), f.reshape(-1, *a.shape[-2:]).numpy(), strict=True)
    return torch.from_numpy(np.stack([_solve(*pair) for pair in pairs])).reshape(a.shape)


def _solve(coefficient: np.ndarray, source: np.ndarray) -> np.ndarray:
    # Powers of two change no digit, while sources near the smallest numbers have hardly any residual.
    (a, a_exponent), (f, f_exponent) = _of_unit_size(coefficient), _of_unit_size(source[1:-1, 1:-1])
    matrix, right_side = darcy_matrix(a), f.reshape(-1)
    try:
        factors = splu(
            matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
        inner = factors.solve(right_side)
    except RuntimeError:  # a pivot that is rounded to zero
        inner = np.full_like(right_side, np.nan)
    residual = float(np.abs(matrix @ inner - right_side).max())
    size = float(np.abs(matrix.data).max() * np.abs(inner).max() + np.abs(right_side).max())
    if not (isfinite(size) and residual <= _LARGEST_RESIDUAL * size):
        raise DivergenceError(
            f"{_NAME}: expected a residual of at most {_LARGEST_RESIDUAL:.0e}, got {residual / size:.1e}; the "
            f"coefficient varies from {coefficient.min():.1e} to {coefficient.max():.1e}, too strongly for double "
            "precision"
        )
    solution = np.zeros_like(coefficient)
    with np.errstate(over="ignore"):
        solution[1:-1, 1:-1] = np.ldexp(inner, f_exponent - a_exponent).reshape(f.shape)
    if not np.isfinite(solution).all():
        raise DivergenceError(
            f"{_NAME}: expected a solution that double precision can hold, got more than {np.finfo(float).max:.0e} "
            f"with sources up to {np.abs(source).max():.1e}; give the equation in other units"
        )
    return solution


def _of_unit_size(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Values over the power of two that follows their largest, and its exponent."""
    _, exponent = np.frexp(np.abs(values).max())
    return np.ldexp(values, -exponent), int(exponent)


def _harmonic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # Of quotients, since a product of large coefficients might overflow.
    return 2 / (1 / a + 1 / b)
