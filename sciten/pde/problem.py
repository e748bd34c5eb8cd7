"""Stationary problems on grids, and how they are solved."""

import time
from dataclasses import dataclass, replace

import torch

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
from sciten.pde.solvers.solution import Solution
from sciten.tensor import TensorTrain
from sciten.tensor.formats import Tree
from sciten.tensor.formats.convert import to_tree_tensor

#: Coefficients and sources are resolved so much better than the solution has to be.
_RESOLUTION = 1e-2


@dataclass(frozen=True, eq=False)
class Problem:
    """`operator u = source` on the grid of the operator, whose boundary conditions are part of it.

    Args:
        operator: such as `-laplacian(grid)`.
        source: a number, a function of points `[n_points, d]` to `[n_points]`, or values on the grid (a `TensorTrain`,
            a `CP` or an array).
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
    if isinstance(format, Bits):
        if preconditioner is not None:
            raise ConfigError(f"solve: bits have their own preconditioner, got {preconditioner!r}")
        found = _solve_bits(problem, format, AMEn() if solver is None else solver, start)
    else:
        found = _solve_modes(problem, format, solver, preconditioner, start)
    return replace(found, seconds=time.perf_counter() - begun)


def _solve_modes(
    problem: Problem,
    format: "type[TensorTrain] | Tree",
    solver: "LinearSolver | ExponentialSums | None",
    preconditioner: Preconditioner | None,
    start: TensorTrain | None,
) -> Solution:
    grid = problem.operator.grid
    matrices = separable_matrices(problem.operator)
    if solver is None:
        solver = AMEn() if matrices is None else ExponentialSums()
    resolution = _resolution(solver)
    affine = assemble(problem.operator, resolution)
    right_side = _without(as_field(problem.source, grid.points(), resolution), affine, resolution)
    if isinstance(solver, ExponentialSums):
        if matrices is None:
            raise ConfigError(
                "solve: ExponentialSums expects an operator whose terms act on one axis each, with constant "
                "coefficients; use AMEn"
            )
        solution = solver.solve(matrices, right_side)
    else:
        matrix, right_side, note = regularised(affine.matrix, right_side)
        if preconditioner is None:
            solution = solver.solve(matrix, right_side, start)
        else:
            near_inverse = preconditioner.inverse(problem.operator, matrix)
            solution = solve_preconditioned(solver, matrix, right_side, near_inverse, start)
        solution = replace(solution, message=solution.message + note)
    if not isinstance(format, Tree):
        return solution
    return _on_tree(solution, affine, right_side, format, solver.tolerance)


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


def _on_tree(
    solution: Solution, affine: AffineMap, right_side: TensorTrain, tree: Tree, tolerance: float
) -> Solution:
    """A solution on a tree, rounded there, with its residual there."""
    assert isinstance(solution.field, TensorTrain)
    field = to_tree_tensor(solution.field, tree)
    dtype = field.dtype
    matrix, goal = (to_tree_tensor(train.to(dtype=dtype), tree) for train in (affine.matrix, right_side))
    residual = float((matrix @ field - goal).norm() / goal.norm().clamp(min=torch.finfo(torch.float64).tiny))
    return replace(
        solution, field=field, residual=residual, converged=solution.converged and residual <= tolerance
    )
