"""Operators of a grid as trains of bits, for grids of 2^L points in every direction.

Differences are written down; coefficients and data given as functions are sampled in bits. A divergence ∇·(k∇u) is the
flux through the upper face of each cell minus that through the lower one, with k at these faces.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.assemble import AffineMap
from sciten.pde.boundary import Dirichlet, Neumann, Periodic
from sciten.pde.differences import differences
from sciten.pde.fields import Source, as_field, require_cpu, sample_at
from sciten.pde.grid import Axis, Grid
from sciten.pde.operators import (
    Coefficient,
    Derivative,
    Diffusion,
    Given,
    Operator,
    Product,
    Term,
    may_be_singular,
)
from sciten.pde.quantised.multilevel import Ends, MultilevelPreconditioner, bpx, integration
from sciten.pde.quantised.ordering import bits, interleaved, serial
from sciten.pde.quantised.stencils import Condition, tridiagonal
from sciten.pde.quantised.vectors import unit
from sciten.tensor import TensorTrain
from sciten.tensor.decompose import tt_svd
from sciten.tensor.formats import Format
from sciten.tensor.formats.diagonal import diagonal

#: Sums of operators with coefficients are rounded to this share of their norm, near the precision.
_ROUNDING = 1e-15


@dataclass(frozen=True)
class Bits:
    """How the points of a grid are numbered by bits; a value for the `format` of `solve`.

    Args:
        interleave: whether the first bits of all directions come first, then the second ones, as multilevel
            preconditioners need it; otherwise all bits of the first direction come first, where ranks are smaller.
    """

    interleave: bool = False

    def multilevel(self, grid: Grid) -> bool:
        """Whether numbers are such that multilevel preconditioners have small ranks."""
        return self.interleave or len(grid) == 1

    def product(self, factors: Sequence[TensorTrain]) -> TensorTrain:
        """A product of trains of each direction."""
        return interleaved(factors) if self.interleave else serial(factors)

    def levels(self, grid: Grid) -> int:
        """Bits of each index.

        Raises:
            ConfigError: a direction is not uniform, or has another number of points than 2^L with one L for all.
        """
        n = grid.shape[0]
        if any(axis.chebyshev or axis.n != n for axis in grid.axes) or n & (n - 1):
            raise ConfigError(
                f"Bits: expected uniform axes of one power of two of points, got {grid.shape}"
                + (" on Chebyshev axes" if any(axis.chebyshev for axis in grid.axes) else "")
            )
        return n.bit_length() - 1

    def places(self, grid: Grid, shifts: Sequence[float]) -> Callable[[Tensor], Tensor]:
        """A function of bits `[n_places, d L]` to points `[n_places, d]`, shifted by so many spacings."""
        levels, d = self.levels(grid), len(grid)
        values = 2.0 ** torch.arange(levels - 1, -1, -1, dtype=torch.float64)

        def at(found: Tensor) -> Tensor:
            split = found.unflatten(1, (levels, d)).mT if self.interleave else found.unflatten(1, (d, levels))
            index = split.to(torch.float64) @ values
            return torch.stack(
                [_place(axis, index[:, a] + shifts[a]) for a, axis in enumerate(grid.axes)], -1
            )

        return at

    def indices(self, grid: Grid, indices: Tensor) -> Tensor:
        """Indices of bits, for `TensorTrain.at`, of indices of points `[n_places, d]`."""
        return bits(indices, self.levels(grid), interleave=self.interleave)

    def sample(
        self,
        grid: Grid,
        function: Callable[[Tensor], Any],
        shifts: Sequence[float],
        tolerance: float,
        name: str,
    ) -> TensorTrain:
        """A function at the points, or at others shifted from them by so many spacings in each direction."""
        shape = [2] * (self.levels(grid) * len(grid))
        return sample_at(function, self.places(grid, shifts), shape, tolerance, name=name)

    def field(self, grid: Grid, source: Source, tolerance: float, name: str = "source") -> TensorTrain:
        """Any of the ways to give a field, on the points."""
        levels, d = self.levels(grid), len(grid)
        shape = [2] * (levels * d)
        if isinstance(source, int | float | complex):
            return TensorTrain.ones(shape) * source
        if isinstance(source, TensorTrain) and source.shape == tuple(shape):
            require_cpu(name, source)
            return source
        if callable(source) and not isinstance(source, Format | Tensor):
            return self.sample(grid, source, [0.0] * d, tolerance, name)
        split = as_field(source, grid.points(), tolerance, name=name).reshape(shape)
        if not self.interleave or d == 1:
            return split
        raise ConfigError(
            f"{name}: expected a function, a number or a train of {len(shape)} bits for interleaved bits, got "
            f"{source!r:.100}"
        )


def assemble(operator: Operator, order: Bits, tolerance: float = 1e-10) -> AffineMap:
    """An operator as a train of bits, with what its boundary data add.

    Args:
        operator: on a grid of 2^L points in every direction.
        order: of the bits.
        tolerance: to which coefficients and data given as functions are resolved, relative.

    Raises:
        ConfigError: the grid has other numbers of points; a function is not finite or cannot be resolved; or the
            operator has a part that was given as a train.
    """
    builder = _Builder(operator.grid, order, tolerance)
    trains = [builder.matrix(term) * scale for scale, term in operator.terms]
    matrix = reduce(_sum, trains)
    if any(getattr(term, "coefficient", None) is not None for _, term in operator.terms):
        matrix = matrix.round(_ROUNDING)
    parts = [
        part * scale
        for scale, term in operator.terms
        if isinstance(term, Diffusion | Derivative)
        for side in (0, 1)
        if (part := builder.boundary_term(term, side)) is not None
    ]
    if not parts:
        return AffineMap(matrix, None)
    return AffineMap(matrix, reduce(_sum, parts).round(_ROUNDING))


class _Builder:
    def __init__(self, grid: Grid, order: Bits, tolerance: float) -> None:
        self.grid, self.order, self.tolerance = grid, order, tolerance
        self.levels = order.levels(grid)
        self.identity = TensorTrain.identity([2] * self.levels)

    def matrix(self, term: Term) -> TensorTrain:
        """A term without its data."""
        if isinstance(term, Given):
            raise ConfigError("solve: an operator that is given as a train cannot be split into bits")
        if isinstance(term, Product):
            matrix = self.on({axis: _split(one) for axis, one in term.matrices.items()})
            return self.multiplied(term.coefficient, matrix)
        if isinstance(term, Derivative):
            return self.multiplied(term.coefficient, self.on({term.axis: self.stencil(term.axis, _central)}))
        if term.coefficient is None:
            return self.on({term.axis: self.stencil(term.axis, _second)})
        upper, lower = (
            _times(
                self.at_face(term.coefficient, term.axis, shift),
                self.on({term.axis: self.stencil(term.axis, part)}),
            )
            for shift, part in ((0.5, _upper), (-0.5, _lower))
        )
        return upper - lower

    def on(self, factors: dict[int, TensorTrain]) -> TensorTrain:
        """A product of operators on some of the axes."""
        return self.order.product([factors.get(a, self.identity) for a in range(len(self.grid))])

    def multiplied(self, coefficient: Coefficient | None, matrix: TensorTrain) -> TensorTrain:
        if coefficient is None:
            return matrix
        values = self.order.field(self.grid, coefficient, self.tolerance, "coefficient")
        return _times(values, matrix)

    def at_face(self, coefficient: Coefficient, axis: int, shift: float) -> TensorTrain:
        assert callable(coefficient)
        shifts = [shift if a == axis else 0.0 for a in range(len(self.grid))]
        return self.order.sample(self.grid, coefficient, shifts, self.tolerance, "coefficient")

    def stencil(self, axis: int, part: Callable[[Axis], Tensor]) -> TensorTrain:
        """A tridiagonal matrix, whose entries are read from a small one of the same spacing and conditions."""
        own = self.grid.axes[axis]
        small = part(_shortened(own))
        return tridiagonal(
            self.levels,
            float(small[2, 1]),
            float(small[2, 2]),
            float(small[2, 3]),
            first=None if own.periodic else float(small[0, 0]),
            last=None if own.periodic else float(small[-1, -1]),
            periodic=own.periodic,
        )

    def boundary_term(self, term: "Diffusion | Derivative", side: int) -> TensorTrain | None:
        """What the data of one face add, or None where they are zero: something in the outermost layer of points."""
        axis = self.grid.axes[term.axis]
        condition = axis.conditions[side]
        if isinstance(condition, Periodic) or (not callable(condition.value) and condition.value == 0):
            return None
        own = differences(_shortened(axis))
        map_to_points = own.divergence if isinstance(term, Diffusion) else own.average
        factor = float((map_to_points @ own.data)[(0, -1)[side], side])
        face = (axis.lower, axis.upper)[side]
        shift = 0.0 if isinstance(term, Derivative) else (-0.5, 0.5)[side]

        def values(places: Tensor) -> Tensor:
            on_face = places.clone()
            on_face[:, term.axis] = face
            found = _value(condition.value, on_face)
            if term.coefficient is not None:
                beside = places.clone()
                outermost = axis.first + (0, axis.n - 1)[side] * axis.spacing
                beside[:, term.axis] = min(max(outermost + shift * axis.spacing, axis.lower), axis.upper)
                found = found * _value(term.coefficient, beside)
            return found

        layer = self.on_layer(term.axis, side)
        if not callable(condition.value) and term.coefficient is None:
            return layer * (factor * condition.value)
        train = self.order.sample(self.grid, values, [0.0] * len(self.grid), self.tolerance, "boundary data")
        return layer.to(dtype=train.dtype) * train * factor

    def on_layer(self, axis: int, side: int) -> TensorTrain:
        """One at the points beside a face, zero elsewhere."""
        ones = TensorTrain.ones([2] * self.levels)
        last = unit(self.levels, (0, -1)[side])
        return self.order.product([last if a == axis else ones for a in range(len(self.grid))])


def _times(values: TensorTrain, matrix: TensorTrain) -> TensorTrain:
    """The operator that multiplies by values after a matrix."""
    dtype = torch.promote_types(values.dtype, matrix.dtype)
    return diagonal(values.to(dtype=dtype)) @ matrix.to(dtype=dtype)


def _value(value: Any, places: Tensor) -> Tensor:
    if callable(value):
        return torch.as_tensor(value(places))
    return torch.full(
        (len(places),), value, dtype=torch.complex128 if isinstance(value, complex) else torch.float64
    )


def _second(axis: Axis) -> Tensor:
    own = differences(axis)
    return own.divergence @ own.gradient


def _central(axis: Axis) -> Tensor:
    own = differences(axis)
    return own.average @ own.gradient


def _upper(axis: Axis) -> Tensor:
    """The flux through the upper face of each cell, over the spacing."""
    own = differences(axis)
    return own.divergence.clamp(min=0) @ own.gradient


def _lower(axis: Axis) -> Tensor:
    own = differences(axis)
    return (-own.divergence).clamp(min=0) @ own.gradient


def _shortened(axis: Axis) -> Axis:
    """Few points of the same spacing with the same conditions, beginning at zero, where nothing is rounded."""
    n = 5
    gaps = n if axis.periodic else n - 1 + sum(axis.offsets)
    return Axis(0.0, axis.spacing * gaps, n, axis.conditions)


def _place(axis: Axis, index: Tensor) -> Tensor:
    place = axis.first + axis.spacing * index
    if axis.periodic:
        return torch.where(place < axis.lower, place + axis.length, place)
    return place.clamp(axis.lower, axis.upper)


def _split(matrix: Tensor) -> TensorTrain:
    """A dense matrix as an operator on bits."""
    levels = len(matrix).bit_length() - 1
    pairs = matrix.reshape([2] * (2 * levels)).permute([k + s for k in range(levels) for s in (0, levels)])
    train = tt_svd(pairs.reshape([4] * levels), 1e-15)
    return TensorTrain(tuple(core.unflatten(1, (2, 2)) for core in train.cores), operator=True)


# Elliptic operators, for multilevel preconditioners.


@dataclass(frozen=True, eq=False)
class Elliptic:
    """-∇·(k∇u) + q u with its multilevel preconditioner.

    Args:
        multilevel: the preconditioner C.
        matrix: C^T A C.
    """

    multilevel: MultilevelPreconditioner
    matrix: TensorTrain


def elliptic(
    operator: Operator, tolerance: float = 1e-10, dtype: torch.dtype = torch.float64
) -> Elliptic | None:
    """The preconditioned form of an elliptic operator; None where it has none.

    It has one where there is a diffusion term with a negative factor along each axis, no other term than these and
    potentials, Dirichlet, Neumann and periodic conditions only, and at most three directions; and where constants are
    not mapped to zero.

    Args:
        operator: on a grid of 2^L points in every direction.
        tolerance: to which coefficients given as functions are resolved, relative.
        dtype: of the result, unless coefficients are complex.
    """
    grid = operator.grid
    ends = [tuple(_KINDS.get(type(one)) for one in axis.conditions) for axis in grid.axes]
    diffusions: dict[int, tuple[float, Diffusion]] = {}
    potentials: list[tuple[complex, Product]] = []
    for scale, term in operator.terms:
        if isinstance(term, Diffusion) and term.axis not in diffusions and _negative(scale):
            diffusions[term.axis] = (float(scale.real), term)
        elif isinstance(term, Product) and not term.matrices:
            potentials.append((scale, term))
        else:
            return None
    if len(diffusions) != len(grid) or len(grid) > 3 or any(None in pair for pair in ends):
        return None
    if may_be_singular(operator):
        return None
    order = Bits(interleave=True)
    multilevel = _multilevel(grid, ends, dtype)  # type: ignore[arg-type]
    coefficients = []
    seen: set[int] = set()
    for axis in multilevel.axes:
        scale, term = diffusions[axis]
        upper_only = ends[axis] == (Condition.NEUMANN, Condition.DIRICHLET)
        shift = 0.5 if upper_only or axis in seen else -0.5
        seen.add(axis)
        coefficients.append(_weights(grid, order, term.coefficient, axis, shift, -scale, tolerance))
    reaction = None
    for scale, term in potentials:
        value = order.field(
            grid, 1.0 if term.coefficient is None else term.coefficient, tolerance, "potential"
        )
        part = diagonal(value) * scale
        reaction = part if reaction is None else _sum(reaction, part)
    given = [one for one in (*coefficients, reaction) if one is not None]
    dtype = reduce(torch.promote_types, [one.dtype for one in given], dtype)
    multilevel = _multilevel(grid, ends, dtype)  # type: ignore[arg-type]
    coefficients = [None if one is None else one.to(dtype=dtype) for one in coefficients]
    reaction = None if reaction is None else reaction.to(dtype=dtype)
    # Rounding is harmless after preconditioning; ranks of several directions need it.
    matrix = multilevel.preconditioned_operator(
        coefficients, reaction=reaction, tolerance=0.0 if len(grid) == 1 else _ROUNDING
    )
    return Elliptic(multilevel, matrix)


def _multilevel(grid: Grid, ends: list[Ends], dtype: torch.dtype) -> MultilevelPreconditioner:
    """With one Neumann face in one dimension sums up to each point are perfect, and of smaller rank than levels."""
    levels, spacings = Bits().levels(grid), [axis.spacing for axis in grid.axes]
    if len(ends) == 1 and set(ends[0]) == {Condition.DIRICHLET, Condition.NEUMANN}:
        return integration(levels, ends[0], spacings[0], dtype=dtype)
    return bpx(levels, ends, spacings, dtype=dtype)


def _sum(a: TensorTrain, b: TensorTrain) -> TensorTrain:
    dtype = torch.promote_types(a.dtype, b.dtype)
    return a.to(dtype=dtype) + b.to(dtype=dtype)


_KINDS = {Dirichlet: Condition.DIRICHLET, Neumann: Condition.NEUMANN, Periodic: Condition.PERIODIC}


def _negative(scale: complex) -> bool:
    return complex(scale).imag == 0 and complex(scale).real < 0


def _weights(
    grid: Grid,
    order: Bits,
    coefficient: Coefficient | None,
    axis: int,
    shift: float,
    scale: float,
    tolerance: float,
) -> TensorTrain | None:
    """The coefficient at the faces as a diagonal operator, with a factor; None for one."""
    if coefficient is None:
        if scale == 1:
            return None
        return TensorTrain.identity([2] * (order.levels(grid) * len(grid))) * scale
    assert callable(coefficient)
    shifts = [shift if a == axis else 0.0 for a in range(len(grid))]
    return diagonal(order.sample(grid, coefficient, shifts, tolerance, "coefficient")) * scale
