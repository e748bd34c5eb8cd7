"""Linear operators on the fields of a grid, as sums of terms; how they look in a low-rank format is in `assemble`.

An operator is a value: `-laplacian(grid) + advection(grid, [1.0, 0.0]) + potential(grid, v)`. Boundary conditions with
data make it affine, A u + b; `solve` moves b to the other side.
"""

import cmath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.boundary import Dirichlet, Robin
from sciten.pde.fields import require_cpu
from sciten.pde.grid import Grid
from sciten.tensor import TensorTrain
from sciten.tensor.formats import Format

#: A number, a function of points `[n_points, d]` to `[n_points]`, or values on the points of the grid.
Coefficient = float | complex | Callable[[Tensor], Any] | Format | Tensor | np.ndarray


@dataclass(frozen=True, eq=False)
class Diffusion:
    """∂_a k ∂_a along one axis, with k at the faces; without a coefficient the second derivative."""

    axis: int
    coefficient: Coefficient | None = None


@dataclass(frozen=True, eq=False)
class Derivative:
    """b ∂_a along one axis, with b at the unknowns."""

    axis: int
    coefficient: Coefficient | None = None


@dataclass(frozen=True, eq=False)
class Product:
    """A product of matrices `[n, n]` on some of the axes, then of a coefficient at the unknowns."""

    matrices: Mapping[int, Tensor]
    coefficient: Coefficient | None = None


@dataclass(frozen=True, eq=False)
class Given:
    """An operator that is there already."""

    train: TensorTrain


Term = Diffusion | Derivative | Product | Given


@dataclass(frozen=True, eq=False)
class Operator:
    """A sum of terms on a grid, each with a factor; to be added, subtracted and multiplied by numbers."""

    grid: Grid
    terms: tuple[tuple[complex, Term], ...]

    def __add__(self, other: "Operator") -> "Operator":
        if not isinstance(other, Operator):
            raise ConfigError(f"Operator: + expects another operator, got a {type(other).__name__}")
        if other.grid != self.grid:
            raise ConfigError(f"Operator: + expects operators on one grid, got {self.grid} and {other.grid}")
        return Operator(self.grid, self.terms + other.terms)

    def __mul__(self, factor: complex) -> "Operator":
        if not isinstance(factor, Number):
            raise ConfigError(
                f"Operator: * expects a number, got a {type(factor).__name__}; coefficients go into `divergence`, "
                "`advection` and `potential`"
            )
        return Operator(self.grid, tuple((factor * scale, term) for scale, term in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> "Operator":
        return self * -1.0

    def __sub__(self, other: "Operator") -> "Operator":
        return self + (-other)

    def __truediv__(self, factor: complex) -> "Operator":
        return self * (1 / factor)


@dataclass(frozen=True)
class Gradient:
    """The gradient of the fields of a grid, with its boundary conditions; an argument of `divergence`."""

    grid: Grid


def gradient(grid: Grid) -> Gradient:
    """The gradient ∇ of the fields of a grid."""
    return Gradient(grid)


def divergence(k: "Coefficient | Sequence[Coefficient]", grad: Gradient) -> Operator:
    """∇·(k ∇u), in the form that conserves fluxes: k is taken at the faces between unknowns.

    Args:
        k: one coefficient, or one for each dimension (a diagonal tensor): a number, or a function of points. Values
            on the grid do not do, since faces lie between its points.
        grad: `gradient(grid)`.
    """
    grid = grad.grid
    terms = []
    for axis, one in enumerate(_for_each_axis("divergence", k, grid)):
        scale, coefficient = _split_number(one)
        if coefficient is not None and not callable(coefficient):
            raise ConfigError(
                f"divergence: expected k as a number or a function of points, got a {type(one).__name__}"
            )
        terms.append((scale, Diffusion(axis, coefficient)))
    return Operator(grid, tuple(terms))


def laplacian(grid: Grid) -> Operator:
    """The Laplacian ∇·∇u, of second order on uniform axes and of spectral order on Chebyshev ones."""
    return divergence(1.0, gradient(grid))


def advection(grid: Grid, velocity: "Coefficient | Sequence[Coefficient]") -> Operator:
    """b·∇u by central differences.

    Args:
        grid: of the field.
        velocity: one coefficient for each dimension, or one for all.
    """
    coefficients = [_split_number(one) for one in _for_each_axis("advection", velocity, grid)]
    return Operator(
        grid,
        tuple((scale, Derivative(axis, one)) for axis, (scale, one) in enumerate(coefficients) if scale != 0),
    )


def potential(grid: Grid, value: Coefficient) -> Operator:
    """v u, entry by entry."""
    scale, coefficient = _split_number(value)
    return Operator(grid, ((scale, Product({}, coefficient)),))


def local_operator(grid: Grid, matrices: Mapping[int, Tensor], coefficient: Coefficient = 1.0) -> Operator:
    """A product of matrices on some axes, the identity on the others: the term that users build their own from.

    A pair interaction is `local_operator(grid, {i: a, j: b})`; sums of any number of them are assembled with shared
    partial products.

    Args:
        grid: of the field.
        matrices: axis to matrix, `[n, n]`, without boundary data.
        coefficient: multiplies the result.
    """
    given = {axis: torch.as_tensor(matrix) for axis, matrix in matrices.items()}
    for axis, matrix in given.items():
        if not 0 <= axis < len(grid):
            raise ConfigError(f"local_operator: expected axes from 0 to {len(grid) - 1}, got {axis}")
        n = grid.axes[axis].n
        if matrix.shape != (n, n):
            raise ConfigError(
                f"local_operator: expected a matrix [{n}, {n}] for axis {axis}, got {list(matrix.shape)}"
            )
        require_cpu("local_operator", matrix)
        if not bool(torch.isfinite(matrix).all()):
            raise ConfigError(f"local_operator: expected finite entries for axis {axis}, got inf or NaN")
    scale, function = _split_number(coefficient)
    return Operator(grid, ((scale, Product(given, function)),))


def given_operator(grid: Grid, train: TensorTrain) -> Operator:
    """An operator in the tensor-train format, with a core `[r, n, n, r']` for each dimension."""
    if not train.operator or train.modes != tuple((n, n) for n in grid.shape) or train.batch_shape:
        raise ConfigError(f"given_operator: expected an operator on {grid.shape}, got {train!r}")
    require_cpu("given_operator", train)
    return Operator(grid, ((1.0, Given(train)),))


def separable_parts(operator: Operator) -> list[list[tuple[complex, Term]]] | None:
    """For each axis the terms that act on it alone, with constant coefficients; None where there are other terms.

    Multiples of the identity are counted to the first axis.
    """
    parts: list[list[tuple[complex, Term]]] = [[] for _ in operator.grid.axes]
    for scale, term in operator.terms:
        if isinstance(term, Given) or term.coefficient is not None:
            return None
        if isinstance(term, Product):
            if len(term.matrices) > 1:
                return None
            parts[next(iter(term.matrices), 0)].append((scale, term))
        else:
            parts[term.axis].append((scale, term))
    return parts


def _for_each_axis(name: str, value: "Coefficient | Sequence[Coefficient]", grid: Grid) -> list[Coefficient]:
    if isinstance(value, np.ndarray | Tensor) and value.ndim == 1 and value.shape != grid.shape:
        value = list(value.tolist())
    if not isinstance(value, Sequence):
        return [value] * len(grid)
    if len(value) != len(grid):
        raise ConfigError(f"{name}: expected one coefficient for each of {len(grid)} axes, got {len(value)}")
    return list(value)


def _split_number(value: Coefficient) -> tuple[complex, Coefficient | None]:
    """A coefficient as a number times a function, one of which is trivial."""
    if isinstance(value, np.ndarray | Tensor) and value.ndim == 0:
        value = value.item()
    if isinstance(value, Format | np.ndarray | Tensor) or callable(value):
        return 1.0, value
    if not isinstance(value, Number):
        raise ConfigError(
            "expected a coefficient as a number, a function of points [n_points, d] or values on the grid, got a "
            f"{type(value).__name__}"
        )
    number = complex(value)  # type: ignore[call-overload]  # any number of Python's or NumPy's
    if not cmath.isfinite(number):
        raise ConfigError(f"expected a finite coefficient, got {value}")
    return (number if number.imag else number.real), None


def may_be_singular(operator: Operator) -> bool:
    """Whether nothing rules out that the operator maps constants to zero: no value on a face, and no potential."""
    for scale, term in operator.terms:
        if scale == 0:
            continue
        if isinstance(term, Product) and not term.matrices:
            return False
        if isinstance(term, Diffusion):
            for condition in operator.grid.axes[term.axis].conditions:
                if isinstance(condition, Dirichlet) or (
                    isinstance(condition, Robin) and condition.weight != 0
                ):
                    return False
    return True
