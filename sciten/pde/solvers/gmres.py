"""GMRES with vectors in a low-rank format.

Dolgov, TT-GMRES, Russ. J. Numer. Anal. Math. Modelling 28, 149 (2013): Krylov vectors are rounded, and the more
coarsely, the smaller the residual has become (inexact Krylov methods, Simoncini and Szyld, SIAM J. Sci. Comput. 25, 454
(2003)).
"""

import time
from dataclasses import dataclass
from math import inf, isfinite

import torch
from torch import Tensor
from tqdm import tqdm

from sciten.errors import ConfigError
from sciten.pde.solvers.solution import Solution, relative_residual, require_options, require_system
from sciten.tensor import TensorTrain

_OVERFLOW = "numbers overflow; scale the operator and the right side to entries near one"


@dataclass(frozen=True)
class GMRES:
    """GMRES in tensor trains, for well-conditioned or preconditioned operators, definite or not.

    Assumes nothing of the operator but that Krylov spaces of it hold good solutions: iterations grow with the square
    root of the condition number, and ranks of Krylov vectors with the iterations, so that without a preconditioner fine
    grids are out of reach. Each iteration costs a product and a rounding at the product's ranks. Failing, it stops at
    `max_iterations` or where rounding prevents progress, and the solution says which.

    Args:
        tolerance: of the true residual, ‖A x - b‖ ≤ tolerance ‖b‖.
        preconditioner: an operator near the inverse, applied from the right.
        restart: Krylov vectors that are kept.
        max_iterations: products with the operator, over all restarts.
        max_rank: of Krylov vectors.
        progress: whether to show a progress bar.
    """

    tolerance: float = 1e-8
    preconditioner: TensorTrain | None = None
    restart: int = 30
    max_iterations: int = 300
    max_rank: int = 500
    progress: bool = False

    def __post_init__(self) -> None:
        require_options(self, "restart", "max_iterations", "max_rank")

    @torch.no_grad()
    def solve(
        self, matrix: TensorTrain, right_side: TensorTrain, start: TensorTrain | None = None
    ) -> Solution:
        """Solve `matrix @ x = right_side`; arguments and errors as those of `AMEn.solve`."""
        require_system("GMRES", matrix, right_side, start)
        begun = time.perf_counter()
        dtype = torch.promote_types(matrix.dtype, right_side.dtype)
        matrix, right_side = matrix.to(dtype=dtype), right_side.to(dtype=dtype)
        norm = float(right_side.norm())
        if norm == 0:
            return Solution(right_side, True, 0.0, time.perf_counter() - begun, 0, "the right side is zero")
        if not isfinite(norm):
            return Solution(right_side * 0.0, False, inf, time.perf_counter() - begun, 0, _OVERFLOW)
        x = right_side * 0.0 if start is None else start.to(dtype=dtype)
        x = x.round(0.1 * self.tolerance)
        best, best_residual = x, relative_residual(matrix, x, right_side)
        history = [best_residual]
        done = 0
        message = f"{self.max_iterations} iterations were not enough; give a preconditioner, or allow more"
        with tqdm(total=self.max_iterations, disable=not self.progress, desc="GMRES") as bar:
            while done < self.max_iterations and best_residual > self.tolerance:
                try:
                    residual = (right_side - matrix @ best).round(0.1 * self.tolerance)
                    step, steps = self._cycle(
                        matrix, residual, norm, min(self.restart, self.max_iterations - done)
                    )
                    x = (best + step).round(min(0.1, 0.1 * self.tolerance), rank=self.max_rank)
                    found = relative_residual(matrix, x, right_side)
                except (OverflowError, ConfigError, torch.linalg.LinAlgError) as error:
                    if isinstance(error, ConfigError) and "finite" not in str(error):
                        raise  # a preconditioner that does not fit
                    message = _OVERFLOW
                    break
                bar.update(steps)
                done += steps
                bar.set_postfix(residual=f"{found:.1e}", rank=max(x.ranks))
                history.append(found)
                stalled = found > 0.9 * best_residual
                if found < best_residual:
                    best, best_residual = x, found
                if stalled and best_residual > self.tolerance:
                    message = (
                        "a whole cycle brought no progress; give a preconditioner, a longer restart or a larger "
                        "max_rank"
                    )
                    break
        converged = best_residual <= self.tolerance
        if converged:
            message = "the true residual is within the tolerance"
        seconds = time.perf_counter() - begun
        return Solution(best, converged, best_residual, seconds, done, message, tuple(history))

    def _cycle(
        self, matrix: TensorTrain, residual: TensorTrain, norm: float, steps: int
    ) -> tuple[TensorTrain, int]:
        """The best correction from one Krylov space, and its dimension."""
        beta = residual.norm()
        basis = [residual / beta]
        hessenberg = torch.zeros(steps + 1, steps, dtype=residual.dtype)
        goal = torch.zeros(steps + 1, dtype=residual.dtype)
        goal[0] = beta
        wanted = self.tolerance * norm
        left_over, found = float(beta), torch.zeros(0, dtype=residual.dtype)
        for k in range(steps):
            rounding = min(0.1, 0.1 * wanted / left_over / steps**0.5)
            vector = (matrix @ self._preconditioned(basis[k], rounding)).round(rounding, rank=self.max_rank)
            size = vector.norm()
            vector, along = _orthogonalised(vector, basis, rounding, self.max_rank)
            hessenberg[: k + 1, k] = along
            length = vector.norm()
            hessenberg[k + 1, k] = length
            small = hessenberg[: k + 2, : k + 1]
            found = torch.linalg.lstsq(small, goal[: k + 2, None]).solution[:, 0]
            left_over = float(torch.linalg.vector_norm(goal[: k + 2] - small @ found))
            if left_over <= 0.5 * wanted or bool(length <= 1e-14 * size):
                break
            basis.append(vector / length)
        combined = basis[0] * found[0].item()
        for factor, vector in zip(found[1:], basis[1:], strict=False):
            combined = (combined + vector * factor.item()).round(0.01 * self.tolerance)
        return self._preconditioned(combined, 0.01 * self.tolerance), len(found)

    def _preconditioned(self, vector: TensorTrain, rounding: float) -> TensorTrain:
        if self.preconditioner is None:
            return vector
        return (self.preconditioner.to(dtype=vector.dtype) @ vector).round(rounding, rank=self.max_rank)


def _orthogonalised(
    vector: TensorTrain, basis: list[TensorTrain], rounding: float, max_rank: int
) -> tuple[TensorTrain, Tensor]:
    along = torch.stack([other.inner(vector) for other in basis])
    for factor, other in zip(along, basis, strict=True):
        vector = vector - other * factor.item()
    return vector.round(rounding, rank=max_rank), along
