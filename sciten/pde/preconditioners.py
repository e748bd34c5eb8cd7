"""Preconditioners: operators near the inverse, and how a system is solved with one.

`BPX`, for trains of bits, changes the unknowns instead; see `quantised.multilevel`.
"""

from dataclasses import dataclass, is_dataclass, replace
from typing import Protocol

import torch

from sciten.errors import ConfigError
from sciten.pde.assemble import separable_matrices
from sciten.pde.fields import evaluated
from sciten.pde.operators import Diffusion, Operator, Product, Term
from sciten.pde.solvers.exponential_sums import inverse
from sciten.pde.solvers.solution import Solution, relative_residual
from sciten.tensor import TensorTrain

#: Times that a system is solved more accurately, where the residual without the preconditioner is too large.
_REPEATS = 3


class LinearSolver(Protocol):
    """What solves a linear system in tensor trains: `AMEn`, `ALS`, `GMRES`, or a user's own."""

    @property
    def tolerance(self) -> float:
        """Of the true residual."""

    def solve(
        self, matrix: TensorTrain, right_side: TensorTrain, start: TensorTrain | None = None
    ) -> Solution:
        """Solve `matrix @ x = right_side`."""


class Preconditioner(Protocol):
    """What approximates the inverse of an operator by a train of small rank."""

    def inverse(self, operator: Operator, matrix: TensorTrain) -> TensorTrain:
        """Near the inverse of `matrix`, into which `operator` was assembled, one core for each dimension."""


@dataclass(frozen=True)
class RankOne:
    """The inverse of the best Kronecker product: good where the operator is near one, such as a scaled identity.

    Raises (on use):
        ConfigError: a factor of the product is singular.
    """

    def inverse(self, operator: Operator, matrix: TensorTrain) -> TensorTrain:
        """The Kronecker product of inverses."""
        factors = [core[0, ..., 0] for core in matrix.round(0.0, rank=1).cores]
        found = []
        for axis, factor in enumerate(factors):
            one, info = torch.linalg.inv_ex(factor)
            if int(info) != 0 or float(torch.linalg.cond(factor)) > 1e12:
                raise ConfigError(
                    f"RankOne: the factor of axis {axis} is singular; use another preconditioner"
                )
            found.append(one)
        return TensorTrain.rank_one(found, operator=True)


@dataclass(frozen=True)
class ExponentialSum:
    """The inverse of the operator with its coefficients replaced by their means, by a sum of exponentials.

    Bounds the condition number by the ratio of the largest and the smallest coefficient, on any number of points. Its
    rank, a dozen or so, multiplies that of the operator.

    Args:
        tolerance: of the inverse; a rough one serves.
    """

    tolerance: float = 0.1

    def inverse(self, operator: Operator, matrix: TensorTrain) -> TensorTrain:
        """The inverse of the averaged operator."""
        found = inverse(_averaged(operator), self.tolerance)
        return found.round(0.1 * self.tolerance)


def _averaged(operator: Operator) -> list[torch.Tensor]:
    """Matrices of the diffusion with mean coefficients, and of terms that are separable anyway."""
    grid = operator.grid
    middle = torch.stack([(p[0] + p[-1]) / 2 for p in grid.points()])
    generator = torch.Generator().manual_seed(0)
    ends = torch.stack([torch.stack([p[0], p[-1]]) for p in grid.points()])
    places = ends[:, 0] + (ends[:, 1] - ends[:, 0]) * torch.rand(
        (256, len(middle)), generator=generator, dtype=torch.float64
    )
    kept: list[tuple[complex, Term]] = []
    for scale, term in operator.terms:
        if isinstance(term, Diffusion) and callable(term.coefficient):
            mean = evaluated(term.coefficient, places, "coefficient").mean().item()
            kept.append((scale * mean, Diffusion(term.axis)))
        elif isinstance(term, Diffusion) or (
            isinstance(term, Product) and not term.matrices and term.coefficient is None
        ):
            kept.append((scale, term))
    found = separable_matrices(Operator(grid, tuple(kept))) if kept else None
    if found is None:
        raise ConfigError("ExponentialSum: expected an operator with diffusion, got none")
    return found


def solve_preconditioned(
    solver: LinearSolver,
    matrix: TensorTrain,
    right_side: TensorTrain,
    near_inverse: TensorTrain,
    start: TensorTrain | None = None,
) -> Solution:
    """Solve `near_inverse @ matrix @ x = near_inverse @ right_side`, and measure the residual without it.

    The two residuals differ by up to the condition number of the preconditioner; where that costs too much, the system
    is solved again from where it stands, more accurately.
    """
    dtype = torch.promote_types(matrix.dtype, right_side.dtype)
    matrix, right_side, near_inverse = (t.to(dtype=dtype) for t in (matrix, right_side, near_inverse))
    product = (near_inverse @ matrix).round(1e-14)
    goal = (near_inverse @ right_side).round(1e-14)
    asked, current = solver.tolerance, solver
    seconds, iterations = 0.0, 0
    best: Solution | None = None
    for _ in range(_REPEATS + 1):
        found = current.solve(product, goal, start)
        seconds, iterations = seconds + found.seconds, iterations + found.iterations
        assert isinstance(found.field, TensorTrain)
        residual = relative_residual(matrix, found.field, right_side)
        message = found.message
        if residual <= asked:
            message = "the true residual is within the tolerance"
        elif found.converged:
            message = (
                "the preconditioned system is solved, but rounding errors keep the residual without the preconditioner "
                "above the tolerance"
            )
        if best is None or residual < best.residual:
            best = replace(found, residual=residual, converged=residual <= asked, message=message)
        if residual <= asked or not found.converged or not is_dataclass(current):
            break
        start = found.field
        current = replace(current, tolerance=max(1e-15, 0.3 * current.tolerance * asked / residual))
    assert best is not None
    return replace(best, seconds=seconds, iterations=iterations)
