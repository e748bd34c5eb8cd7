"""Multilevel preconditioners on 2^L points in every direction, as trains of bits with ranks that do not grow with L.

The preconditioner of Bramble, Pasciak and Xu in the symmetric form of Bachmayr and Kazeev (Found. Comput. Math. 20,
1175 (2020)), `C = sum over l of 2^((L - l)(1 - d)) P_l P_l^T`, with the prolongations P_l from the hat functions of
level l to all points. For A = sum over a of D_a^T K_a D_a, with differences D_a, the condition number of C A C is
bounded independently of L.

Rounding errors are what matters at 2^30 points: A has a condition number of 2^60 there, and forming C A C of A and C
loses everything. But the difference of a hat function is a step function, so that D_a C is written down as it is, with
entries of order one and no cancellation, and C A C = sum over a of (D_a C)^T K_a (D_a C).

Indices run from 1 here, as hats of level l have their peaks at the multiples of 2^(L - l). A cell c of level l has the
points c H + 1, ..., c H + H, with H = 2^(L - l); P_l P_l^T couples cells that are equal or neighbours, by products of
functions that are linear on a cell, and one at its lower end a, or its upper end b. So an automaton first compares the
cells of row and column, which are the leading bits, and then reads linear functions off the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import inf

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.quantised.automata import (
    ONE_ZERO,
    ONES,
    SAME,
    ZERO_ONE,
    ZEROS,
    require_levels,
    train,
    transitions,
    weights,
    working_dtype,
)
from sciten.pde.quantised.inverses import summation
from sciten.pde.quantised.ordering import interleaved, widened
from sciten.pde.quantised.products import rounded_product
from sciten.pde.quantised.stencils import Condition, mirrored, require_ends
from sciten.pde.quantised.vectors import unit
from sciten.tensor import TensorTrain
from sciten.tensor.formats.diagonal import diagonal

Ends = tuple[Condition, Condition]


@dataclass(frozen=True, eq=False)
class MultilevelPreconditioner:
    """A change of unknowns u = C v after which an elliptic operator is well-conditioned.

    Args:
        preconditioner: C, in interleaved order (of one dimension, the order of bits).
        gradients: D C for the differences D of neighbouring points, divided by the mesh widths. The row of a point is
            that of the face below it, at half a mesh width; where only the upper end of a direction is a Dirichlet
            value, that of the face above it. A direction between two Dirichlet values has one more face than points,
            and a second train for it, in the rows of the last points.
        axes: the direction of each gradient.
    """

    preconditioner: TensorTrain
    gradients: tuple[TensorTrain, ...]
    axes: tuple[int, ...]

    def field(self, v: TensorTrain) -> TensorTrain:
        """u = C v, of the unknowns v; not rounded."""
        return self.preconditioner @ v

    def source(self, f: TensorTrain) -> TensorTrain:
        """C^T f, the right-hand side for the unknowns v; not rounded."""
        return self.preconditioner.mT @ f

    def flux(self, v: TensorTrain) -> tuple[TensorTrain, ...]:
        """The gradients of u = C v at the faces, accurate where differences of u are not; not rounded."""
        return tuple(gradient @ v for gradient in self.gradients)

    def preconditioned_operator(
        self,
        coefficients: Sequence[TensorTrain | None] | None = None,
        *,
        reaction: TensorTrain | None = None,
        tolerance: float = 1e-14,
    ) -> TensorTrain:
        """`sum over a of (D_a C)^T K_a (D_a C) + C^T q C`.

        Args:
            coefficients: K_a for each of the gradients, diagonal operators on the faces; None is one.
            reaction: q, a diagonal operator on the points.
            tolerance: of rounding, relative to the Frobenius norm of each step. On n points that is up to √n times
                the largest eigenvalue, and the large scales are a small part of it, where the relative error is up to
                √n times the tolerance or the precision. Zero for none: accurate at any n, with ranks that are products
                of those of the gradients, squared, and of the coefficients.

        Raises:
            ConfigError: another number of coefficients than of gradients.
        """
        given = [None] * len(self.gradients) if coefficients is None else list(coefficients)
        if len(given) != len(self.gradients):
            raise ConfigError(
                f"MultilevelPreconditioner: expected a coefficient for each of {len(self.gradients)} gradients, got "
                f"{len(given)}"
            )
        pairs = list(zip(self.gradients, given, strict=True))
        if reaction is not None:
            pairs.append((self.preconditioner, reaction))

        def product(left: TensorTrain, right: TensorTrain) -> TensorTrain:
            return left @ right if tolerance == 0 else rounded_product(left, right, tolerance)

        terms = [
            product(side.mT, side if middle is None else product(middle, side)) for side, middle in pairs
        ]
        if tolerance == 0:
            return reduce(TensorTrain.__add__, terms)
        return reduce(lambda x, y: (x + y).round(tolerance), terms)


def integration(
    levels: int,
    ends: Ends,
    spacing: float = 1.0,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> MultilevelPreconditioner:
    """The perfect preconditioner of one dimension with one Neumann face: C = D^-1, so that C^T A C = K.

    The unknowns v are the derivative of u. C is not symmetric; rank 2.

    Args:
        levels: bits of an index.
        ends: the conditions below and above, one of them Dirichlet and the other Neumann.
        spacing: the mesh width.
        dtype, device: of the cores.

    Raises:
        ConfigError: no levels, or other conditions.
    """
    if set(ends) != {Condition.DIRICHLET, Condition.NEUMANN}:
        raise ConfigError(
            "integration: expected a Dirichlet condition at one end and a Neumann face at the other, got "
            f"{ends[0].value} and {ends[1].value}"
        )
    inverse = summation(levels, dtype=dtype, device=device) * spacing
    if ends[0] is Condition.NEUMANN:
        inverse = mirrored(inverse) * -1.0
    identity = TensorTrain.identity([2] * levels, dtype=dtype, device=device)
    return MultilevelPreconditioner(inverse, (identity,), (0,))


def bpx(
    levels: int,
    conditions: Sequence[Ends],
    spacings: Sequence[float],
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> MultilevelPreconditioner:
    """The preconditioner of Bramble, Pasciak and Xu on 2^levels points in each direction.

    Ranks are at most 9, 41 and 189 in one, two and three dimensions, those of the operator without rounding their
    squares: in three dimensions gradients are better applied one after another. The bound of the condition number, the
    same for any L, is multiplied by the ratio of the largest coefficient to the smallest, and by the square of that of
    mesh widths. The operator between periodic points or Neumann faces alone is singular, and needs a reaction term.

    Args:
        levels: bits of each index.
        conditions: below and above, for each direction.
        spacings: mesh widths, for each direction.
        dtype, device: of the cores.

    Raises:
        ConfigError: no levels or directions, other numbers of conditions than spacings, or spacings that are not
            positive and finite.
    """
    require_levels("bpx", levels)
    working_dtype("bpx", dtype)
    if not conditions or len(conditions) != len(spacings) or not all(0 < h < inf for h in spacings):
        raise ConfigError(
            "bpx: expected conditions and a positive mesh width for each direction, got "
            f"{len(conditions)} conditions and {list(spacings)}"
        )
    for ends in conditions:
        require_ends("bpx", *ends)
    unit_length = min(spacings)
    values = [_products(ends) for ends in conditions]
    preconditioner = _summed(values, levels) * unit_length
    gradients, axes = [], []
    for a, ends in enumerate(conditions):
        terms = [*values[:a], _differences(ends), *values[a + 1 :]]
        gradients.append(_summed(terms, levels) * (unit_length / spacings[a]))
        axes.append(a)
    for a, ends in enumerate(conditions):
        if ends == (Condition.DIRICHLET, Condition.DIRICHLET):
            gradients.append(_last_face(levels, a, len(conditions)) * (-unit_length / spacings[a]))
            axes.append(a)
    made = tuple(gradient.to(dtype=dtype, device=device) for gradient in gradients)
    return MultilevelPreconditioner(preconditioner.to(dtype=dtype, device=device), made, tuple(axes))


# A direction's part in a sum over levels.


@dataclass(frozen=True)
class _Direction:
    """What one direction contributes to a sum over levels of products over directions.

    Args:
        start: weights of the states that compare cells, before the first bit, `[p]`.
        cells: their core, `[p, 2, 2, p]`.
        switch: from them to functions on a cell, `[p, q]`; it happens once, between two bits.
        functions: the core of these, `[q, 2, 2, q]`.
        finest: weights at the end without a switch, `[p]`.
        end: weights of the functions at the end, `[q]`.
    """

    start: Tensor
    cells: Tensor
    switch: Tensor
    functions: Tensor
    finest: Tensor
    end: Tensor


_FUNCTIONS = (
    "aa",
    "ab",
    "ba",
    "bb",
)  # of row and column: linear, one at the lower end a or the upper end b of a cell


def _products(ends: Ends) -> _Direction:
    """P_l P_l^T; the finest level is the identity."""
    if ends == (Condition.NEUMANN, Condition.DIRICHLET):
        return _turned(_products((ends[1], ends[0])))
    states, start, cells = _cells(ends)
    couplings = {  # which ends of the cells of row and column are the same node, if there is a hat at it
        "equal": {"aa": 1.0, "bb": 1.0},
        "first": {"bb": 1.0},
        "last": {"aa": 1.0},
        "up": {"ba": 1.0},
        "down": {"ab": 1.0},
    }
    switch = torch.stack([weights(_FUNCTIONS, couplings.get(state, {})) for state in states])
    finest = weights(states, {"equal": 1, "first": 1, "last": 1})
    hats = _linear_functions()
    functions = torch.einsum("aic,bjd->abijcd", hats, hats).reshape(4, 2, 2, 4)
    return _Direction(start, cells, switch, functions, finest, weights(_FUNCTIONS, {"bb": 1}))


def _differences(ends: Ends) -> _Direction:
    """D P_l P_l^T: on the row side a function falls by 1/H from point to point, or rises."""
    if ends == (Condition.NEUMANN, Condition.DIRICHLET):
        turned = _turned(_differences((ends[1], ends[0])))
        return replace(turned, start=-turned.start)
    states, *_ = _cells(ends)
    values = _products(ends)
    slopes = torch.kron(torch.tensor([[-1.0], [1.0]], dtype=torch.float64), SAME)  # [q, a or b of the column]
    # 1/H is a factor of one half for each bit within a cell.
    steps = 0.5 * _linear_functions().unsqueeze(1).expand(2, 2, 2, 2)
    finest = weights(states, {"equal": 1, "first": 1, "last": 1, "down": -1})
    end = torch.tensor([0.0, 1.0], dtype=torch.float64)
    found = _Direction(values.start, values.cells, values.switch @ slopes, steps, finest, end)
    return _without_first_row(found) if ends[0] is Condition.NEUMANN else found


def _cells(ends: Ends) -> tuple[tuple[str, ...], Tensor, Tensor]:
    """States that compare the cells of row and column, their weights at the start and their core.

    There is no hat at the lower end of the first cell where a Dirichlet value stands there, and none at the upper end
    of the last, which is a point: the Dirichlet value is one further, and all hats but the finest would reach beyond.
    """
    moves = {
        ("equal", "equal"): SAME,
        ("equal", "up"): ZERO_ONE,  # the cell of the column is the next one
        ("up", "up"): ONE_ZERO,
        ("equal", "down"): ONE_ZERO,
        ("down", "down"): ZERO_ONE,
    }
    states = ["equal", "up", "down"]
    for pinned, state, own, other in (
        (ends[0] is Condition.DIRICHLET, "first", ZEROS, ONES),
        (ends[1] is Condition.DIRICHLET, "last", ONES, ZEROS),
    ):
        if pinned:
            states.append(state)
            moves |= {(state, state): own, (state, "equal"): other}
            moves |= {(state, "up"): ZERO_ONE, (state, "down"): ONE_ZERO}
    begin = {"equal": 1.0}
    if ends[0] is Condition.DIRICHLET:
        begin = {"first": 1.0}
    if ends[1] is Condition.DIRICHLET:
        # A single cell is the first and the last, and has no hats at all.
        states.append("single")
        begin = {"single": 1.0}
        moves |= {("single", "first"): ZEROS, ("single", "last"): ONES}
        moves |= {("single", "up"): ZERO_ONE, ("single", "down"): ONE_ZERO}
    if ends[0] is Condition.PERIODIC:
        begin = {"equal": 1.0, "up": 1.0, "down": 1.0}  # a single cell is also its own neighbour
    return tuple(states), weights(states, begin), transitions(states, moves)


def _linear_functions() -> Tensor:
    """`[s, b, t]`: what a function on a cell that is one at its end s is at the end t of its half b."""
    hats = [[[1.0, 0.5], [0.5, 0.0]], [[0.0, 0.5], [0.5, 1.0]]]
    return torch.tensor(hats, dtype=torch.float64)


def _without_first_row(x: _Direction) -> _Direction:
    """The same with zeros in the row of the first point: rows count once a bit of theirs was one."""
    seen = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]], dtype=torch.float64)
    none, some = torch.eye(2, dtype=torch.float64)

    def watched(core: Tensor) -> Tensor:
        s = core.shape[0]
        return torch.einsum("pijq,min->pmijqn", core, seen).reshape(2 * s, 2, 2, 2 * s)

    return _Direction(
        torch.kron(x.start, none),
        watched(x.cells),
        torch.kron(x.switch, SAME),
        watched(x.functions),
        torch.kron(x.finest, some),
        torch.kron(x.end, some),
    )


def _turned(x: _Direction) -> _Direction:
    """The same with points counted from the other end."""
    return replace(x, cells=x.cells.flip(1, 2), functions=x.functions.flip(1, 2))


def _summed(directions: Sequence[_Direction], levels: int) -> TensorTrain:
    """The sum over levels of 2^((L - l)(1 - d)) times the product over directions, in interleaved order."""
    d = len(directions)
    start = reduce(torch.kron, [x.start for x in directions])
    finest = reduce(torch.kron, [x.finest for x in directions])
    end = reduce(torch.kron, [x.end for x in directions])
    switch = reduce(torch.kron, [x.switch for x in directions])
    cores = []
    for a in range(d):
        cells = _widened([x.cells for x in directions], a)
        functions = _widened([x.functions for x in directions], a)
        if a == 0:  # levels end, and weights fall, before the first direction's bit
            functions = functions * 2.0 ** (1 - d)
            across = torch.tensordot(switch, functions, 1)
        else:
            across = cells.new_zeros(len(cells), 2, 2, functions.shape[-1])
        above = torch.cat([cells, across], -1)
        below = torch.cat([functions.new_zeros(len(functions), 2, 2, cells.shape[-1]), functions], -1)
        cores.append(torch.cat([above, below]))
    return train(
        torch.cat([start, torch.zeros_like(switch[0])]),
        cores * levels,
        torch.cat([finest, end]),
        operator=True,
    )


def _widened(cores: Sequence[Tensor], a: int) -> Tensor:
    sizes = [len(core) for core in cores]
    return widened(cores[a], sizes[:a], sizes[a + 1 :], operator=True)


def _last_face(levels: int, a: int, d: int) -> TensorTrain:
    """The rows of C in the last points of direction a: there only the finest level counts, which is the identity."""
    factors = [TensorTrain.identity([2] * levels)] * d
    factors[a] = diagonal(unit(levels, -1))
    return interleaved(factors)
