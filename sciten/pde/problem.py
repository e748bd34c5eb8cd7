"""Stationary problems on grids, and how they are solved."""

import time
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.assemble import AffineMap, assemble, separable_matrices
from sciten.pde.fields import Source, as_field
from sciten.pde.operators import Operator
from sciten.pde.preconditioners import LinearSolver, Preconditioner, solve_preconditioned
from sciten.pde.quantised import assemble as bitwise
from sciten.pde.quantised.assemble import Bits
from sciten.pde.singular import regularised
from sciten.pde.solvers.amen import AMEn
from sciten.pde.solvers.exponential_sums import ExponentialSums
from sciten.pde.solvers.solution import Solution, relative_residual
from sciten.tensor import TensorTrain
from sciten.tensor.formats import Tree
from sciten.tensor.formats.convert import to_tree_tensor

#: Coefficients and sources are resolved so much better than the solution has to be.
_RESOLUTION = 1e-2
#: Levels up to which bits of one direction after the other are solved in whole dimensions: one core of 2^9 values is
#: easier to optimise, and to precondition, than nine of two.
_SPLIT = 9


@dataclass(frozen=True, eq=False)
class Problem:
    """`operator u = source` on the grid of the operator, whose boundary conditions are part of it.

    Args:
        operator: such as `-laplacian(grid)`.
        source: a number, a function of points `[n_points, d]` to `[n_points]`, or values on the grid (an array,
            or any low-rank format).
    """

    operator: Operator
    source: Source


def solve(
    problem: Problem,
    *,
    format: "type[TensorTrain] | Bits | Tree" = TensorTrain,
    solver: "LinearSolver | ExponentialSums | None" = None,
    preconditioner: Preconditioner | None = None,
    start: TensorTrain | None = None,
) -> Solution:
    """Solve a stationary problem in a low-rank format.

    Args:
        problem: operator and source.
        format: `TensorTrain`, with a core for each dimension; `Bits()`, with a core for each bit, for huge grids in few
            dimensions; or a `Tree` with its leaves in order, to which the solution is converted.
        solver: by default `ExponentialSums()` where the operator is a sum of terms that act on one axis each with
            constant coefficients, and `AMEn()` otherwise and for bits.
        preconditioner: for iterative solvers. Elliptic problems in bits have a multilevel one, in one dimension and
            where the bits are interleaved; its ranks are high in more than one.
        start: first guess, for iterative solvers.

    Returns:
        The field with its true residual; whether it converged must be looked at. With a multilevel preconditioner C the
        residual is that of C^T A C v = C^T f, since A u cannot be evaluated on very fine grids: neighbouring values
        agree in all their digits.

    Raises:
        ConfigError: a coefficient, source or boundary value is not finite or cannot be resolved; shapes do not fit; the
            operator is singular and the source not in its range; or the solver or format does not apply.
    """
    begun = time.perf_counter()
    grid = problem.operator.grid
    if isinstance(format, Bits):
        if preconditioner is not None:
            raise ConfigError(f"solve: bits have their own preconditioner, got {preconditioner!r}")
        if format.multilevel(grid) or format.levels(grid) > _SPLIT:
            found = _solve_bits(problem, format, AMEn() if solver is None else solver, start)
        else:
            found = _solve_split(problem, format, solver, start)
    else:
        system = _System.of(problem, solver)
        found = system.solve(preconditioner, start)
        if isinstance(format, Tree):
            found = _on_tree(found, system, format)
    return replace(found, seconds=time.perf_counter() - begun)


@dataclass(frozen=True, eq=False)
class _System:
    """A problem with a core for each dimension.

    Args:
        problem: as it was given.
        solver: that was asked for, or is chosen for it.
        matrices: of each axis, where the operator is separable.
        matrix: the operator.
        right_side: the source without what the boundary data add.
    """

    problem: Problem
    solver: "LinearSolver | ExponentialSums"
    matrices: list[Tensor] | None
    matrix: TensorTrain
    right_side: TensorTrain

    @classmethod
    def of(cls, problem: Problem, solver: "LinearSolver | ExponentialSums | None") -> "_System":
        matrices = separable_matrices(problem.operator)
        if solver is None:
            solver = AMEn() if matrices is None else ExponentialSums()
        resolution = _resolution(solver)
        affine = assemble(problem.operator, resolution)
        source = as_field(problem.source, problem.operator.grid.points(), resolution)
        return cls(problem, solver, matrices, affine.matrix, _without(source, affine, resolution))

    def solve(self, preconditioner: Preconditioner | None, start: TensorTrain | None) -> Solution:
        if isinstance(self.solver, ExponentialSums):
            if self.matrices is None:
                raise ConfigError(
                    "solve: ExponentialSums expects an operator whose terms act on one axis each, with constant "
                    "coefficients; use AMEn"
                )
            return self.solver.solve(self.matrices, self.right_side)
        matrix, right_side, note = regularised(self.matrix, self.right_side)
        if preconditioner is None:
            solution = self.solver.solve(matrix, right_side, start)
        else:
            near_inverse = preconditioner.inverse(self.problem.operator, matrix)
            solution = solve_preconditioned(self.solver, matrix, right_side, near_inverse, start)
        return replace(solution, message=solution.message + note)

    def residual(self, field: TensorTrain) -> float:
        """‖A u - f‖ / ‖f‖; zero for a right side of zero."""
        dtype = reduce(torch.promote_types, [t.dtype for t in (self.matrix, field, self.right_side)])
        if float(self.right_side.norm()) == 0:
            return 0.0
        return relative_residual(
            self.matrix.to(dtype=dtype), field.to(dtype=dtype), self.right_side.to(dtype=dtype)
        )


def _solve_split(
    problem: Problem, order: Bits, solver: "LinearSolver | ExponentialSums | None", start: TensorTrain | None
) -> Solution:
    """Solve in whole dimensions and split the field into bits, with its residual as it is then."""
    grid = problem.operator.grid
    shape = [2] * (order.levels(grid) * len(grid))

    def whole(train: TensorTrain) -> TensorTrain:
        return train.reshape(grid.shape) if train.shape == tuple(shape) else train

    source = whole(problem.source) if isinstance(problem.source, TensorTrain) else problem.source
    system = _System.of(replace(problem, source=source), solver)
    solution = system.solve(None, None if start is None else whole(start))
    assert isinstance(solution.field, TensorTrain)
    field = solution.field.reshape(shape)
    residual = system.residual(whole(field))
    return replace(solution, field=field, residual=residual, converged=residual <= system.solver.tolerance)


def _solve_bits(
    problem: Problem, order: Bits, solver: "LinearSolver | ExponentialSums", start: TensorTrain | None
) -> Solution:
    if isinstance(solver, ExponentialSums):
        raise ConfigError("solve: ExponentialSums works on whole dimensions; for bits use AMEn")
    resolution = _resolution(solver)
    affine = bitwise.assemble(problem.operator, order, resolution)
    source = order.field(problem.operator.grid, problem.source, resolution)
    right_side = _without(source, affine, resolution)
    elliptic = (
        bitwise.elliptic(problem.operator, resolution) if order.multilevel(problem.operator.grid) else None
    )
    if elliptic is None:
        matrix, right_side, note = regularised(affine.matrix, right_side)
        solution = solver.solve(matrix, right_side, start)
        return replace(solution, message=solution.message + note)
    change = elliptic.multilevel
    dtype = torch.promote_types(elliptic.matrix.dtype, right_side.dtype)
    goal = change.source(right_side).to(dtype=dtype).round(1e-15)
    solution = solver.solve(elliptic.matrix.to(dtype=dtype), goal, start)
    assert isinstance(solution.field, TensorTrain)
    field = change.field(solution.field).round(1e-15)
    return replace(
        solution, field=field, message=f"{solution.message}, that with the multilevel preconditioner"
    )


def _resolution(solver: "LinearSolver | ExponentialSums") -> float:
    return max(1e-14, _RESOLUTION * solver.tolerance)


def _without(source: TensorTrain, affine: AffineMap, tolerance: float) -> TensorTrain:
    """The source without what the boundary data add to the operator."""
    if affine.offset is None:
        return source
    dtype = torch.promote_types(source.dtype, affine.offset.dtype)
    return (source.to(dtype=dtype) - affine.offset.to(dtype=dtype)).round(tolerance)


def _on_tree(solution: Solution, system: _System, tree: Tree) -> Solution:
    """A solution on a tree, with its residual there."""
    assert isinstance(solution.field, TensorTrain)
    field = to_tree_tensor(solution.field, tree)
    matrix, goal = (to_tree_tensor(t.to(dtype=field.dtype), tree) for t in (system.matrix, system.right_side))
    norm = float(goal.norm())
    residual = float((matrix @ field - goal).norm()) / norm if norm else 0.0
    return replace(solution, field=field, residual=residual, converged=residual <= system.solver.tolerance)
