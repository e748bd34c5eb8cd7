"""Stationary problems on grids, and how they are solved."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.assemble import AffineMap, assemble, separable_matrices
from sciten.pde.fields import Source, as_field
from sciten.pde.operators import Operator, may_be_singular
from sciten.pde.preconditioners import LinearSolver, Preconditioner, solve_preconditioned
from sciten.pde.quantised import assemble as bitwise
from sciten.pde.quantised.assemble import Bits
from sciten.pde.singular import regularised
from sciten.pde.solvers.amen import AMEn
from sciten.pde.solvers.exponential_sums import ExponentialSums, NotSeparableError
from sciten.pde.solvers.solution import Solution, ratio, relative_residual
from sciten.tensor import TensorTrain, TreeTensor
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
        agree in all their digits; source and boundary data are solved for apart, and it is the larger of theirs.

    Raises:
        ConfigError: a coefficient, source or boundary value is not finite or cannot be resolved; shapes do not fit; the
            operator is singular and the source not in its range; or the solver or format does not apply.
    """
    begun = time.perf_counter()
    _require_arguments(format, solver, preconditioner, start)
    grid = problem.operator.grid
    if solver is None and (preconditioner is not None or start is not None):
        solver = AMEn()
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


def _require_arguments(
    format: object,
    solver: object,
    preconditioner: object,
    start: object,
) -> None:
    if format is not TensorTrain and not isinstance(format, Bits | Tree):
        raise ConfigError(f"solve: expected the format TensorTrain, Bits() or a Tree, got {format!r}")
    if solver is not None and (isinstance(solver, type) or not hasattr(solver, "solve")):
        raise ConfigError(f"solve: expected a solver such as AMEn(), got {solver!r}")
    if isinstance(solver, ExponentialSums) and not (preconditioner is None and start is None):
        raise ConfigError("solve: ExponentialSums takes neither a preconditioner nor a start; use AMEn")


@dataclass(frozen=True, eq=False)
class _System:
    """A problem with a core for each dimension.

    Args:
        problem: as it was given.
        solver: that was asked for, or is chosen for it.
        by_default: whether it was chosen.
        matrices: of each axis, where the operator is separable.
        matrix: the operator, made regular.
        right_side: the source without what the boundary data add, in the range of the operator.
        note: what was done to make it regular.
    """

    problem: Problem
    solver: "LinearSolver | ExponentialSums"
    by_default: bool
    matrices: list[Tensor] | None
    matrix: TensorTrain
    right_side: TensorTrain
    note: str

    @classmethod
    def of(cls, problem: Problem, solver: "LinearSolver | ExponentialSums | None") -> "_System":
        matrices = separable_matrices(problem.operator)
        chosen = solver
        if chosen is None:
            chosen = AMEn() if matrices is None else ExponentialSums()
        resolution = _resolution(chosen)
        affine = assemble(problem.operator, resolution)
        source = as_field(problem.source, problem.operator.grid.points(), resolution)
        right_side = _without(source, affine, resolution)
        matrix, right_side, note = _balanced(problem.operator, affine.matrix, right_side, matrices)
        return cls(problem, chosen, solver is None, matrices, matrix, right_side, note)

    def solve(self, preconditioner: Preconditioner | None, start: TensorTrain | None) -> Solution:
        if isinstance(self.solver, ExponentialSums):
            if self.matrices is None:
                raise ConfigError(
                    "solve: ExponentialSums expects an operator whose terms act on one axis each, with constant "
                    "coefficients; use AMEn"
                )
            try:
                solution = self.solver.solve(self.matrices, self.right_side)
            except NotSeparableError:
                if not self.by_default:
                    raise
                solution = AMEn(self.solver.tolerance).solve(self.matrix, self.right_side)
            return replace(solution, message=solution.message.partition(";")[0] + self.note)
        if preconditioner is None:
            solution = self.solver.solve(self.matrix, self.right_side, start)
        else:
            near_inverse = preconditioner.inverse(self.problem.operator, self.matrix)
            solution = solve_preconditioned(self.solver, self.matrix, self.right_side, near_inverse, start)
        return replace(solution, message=solution.message + self.note)

    def residual(self, field: TensorTrain) -> float:
        """‖A u - f‖ / ‖f‖."""
        dtype = reduce(torch.promote_types, [t.dtype for t in (self.matrix, field, self.right_side)])
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
    return _judged(solution, field, residual, system.solver.tolerance)


def _solve_bits(
    problem: Problem, order: Bits, solver: "LinearSolver | ExponentialSums", start: TensorTrain | None
) -> Solution:
    if isinstance(solver, ExponentialSums):
        raise ConfigError("solve: ExponentialSums works on whole dimensions; for bits use AMEn")
    resolution = _resolution(solver)
    affine = bitwise.assemble(problem.operator, order, resolution)
    source = order.field(problem.operator.grid, problem.source, resolution)
    elliptic = None
    if order.multilevel(problem.operator.grid):
        dtype = (
            source.dtype if affine.offset is None else torch.promote_types(source.dtype, affine.offset.dtype)
        )
        elliptic = bitwise.elliptic(problem.operator, resolution, dtype)
    if elliptic is None:
        right_side = _without(source, affine, resolution)
        matrix, right_side, note = _balanced(problem.operator, affine.matrix, right_side)
        solution = solver.solve(matrix, right_side, start)
        return replace(solution, message=solution.message + note)
    if start is not None:
        raise ConfigError(
            "solve: with a multilevel preconditioner the unknowns are others; expected no start"
        )
    # Boundary data enter divided by the square of the spacing, beside which a source would be below any tolerance.
    parts = [source] if affine.offset is None else [source, -affine.offset]
    return _summed(
        [_solve_elliptic(elliptic, part, solver) for part in parts if bool(part.norm() > 0)]
        or [_solve_elliptic(elliptic, source, solver)]
    )


def _solve_elliptic(elliptic: bitwise.Elliptic, right_side: TensorTrain, solver: "LinearSolver") -> Solution:
    change, dtype = elliptic.multilevel, elliptic.matrix.dtype
    goal = change.source(right_side.to(dtype=dtype)).round(1e-15)
    solution = solver.solve(elliptic.matrix, goal)
    assert isinstance(solution.field, TensorTrain)
    field = change.field(solution.field.to(dtype=dtype)).round(1e-15)
    return replace(
        solution, field=field, message=f"{solution.message}, that with the multilevel preconditioner"
    )


def _summed(solutions: Sequence[Solution]) -> Solution:
    """The solution for a sum of right sides; residuals are relative to each of them."""
    if len(solutions) == 1:
        return solutions[0]
    worst = max(solutions, key=lambda solution: solution.residual)
    fields = [solution.field for solution in solutions if isinstance(solution.field, TensorTrain)]
    dtype = reduce(torch.promote_types, [field.dtype for field in fields])
    return replace(
        worst,
        field=reduce(add, [field.to(dtype=dtype) for field in fields]).round(1e-15),
        converged=all(solution.converged for solution in solutions),
        iterations=sum(solution.iterations for solution in solutions),
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
    residual = ratio((matrix @ field - goal).norm(), goal.norm())
    return _judged(solution, field, residual, system.solver.tolerance)


def _judged(
    solution: Solution, field: "TensorTrain | TreeTensor", residual: float, tolerance: float
) -> Solution:
    """A solution after its field was brought into another format."""
    message = solution.message
    if solution.converged and residual > tolerance:
        message = "rounding errors of the change of format exceed the tolerance; ask for less"
    return replace(solution, field=field, residual=residual, converged=residual <= tolerance, message=message)


def _balanced(
    operator: Operator,
    matrix: TensorTrain,
    right_side: TensorTrain,
    separable: list[Tensor] | None = None,
) -> tuple[TensorTrain, TensorTrain, str]:
    """A regular system in place of one that may be singular; see `regularised`."""
    if not may_be_singular(operator):
        return matrix, right_side, ""
    return regularised(matrix, right_side, operator.grid.shape, separable)
