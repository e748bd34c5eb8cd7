"""The linear systems of single cores.

They are small but many, and as ill-conditioned as the whole. What makes them quick is that operators of PDEs are near a
sum of Kronecker products, L ⊗ I ⊗ I + I ⊗ D ⊗ I + I ⊗ I ⊗ R, of the left environment, the core and the right one: the
nearest such sum comes from partial traces, is inverted exactly by diagonalising three small matrices (Lynch, Rice and
Thomas, Numer. Math. 6, 185 (1964)), and leaves GMRES (Saad and Schultz, SIAM J. Sci. Stat. Comput. 7, 856 (1986)) few
steps to do: for a Laplacian the sum is the system itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sciten.pde.solvers.environments import OperatorCore, project

#: Systems of at most so many unknowns are solved directly.
_DIRECT = 300


@dataclass(frozen=True, eq=False)
class LocalSystem:
    """The system of one core `[n, r, s]` between its environments `[R, t, r]` and `[R', u, s]`."""

    left: Tensor
    core: OperatorCore
    right: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """The matrix times `[n, r, s]`."""
        return project(self.left, self.core, self.right, x)

    def solve(self, right_side: Tensor, start: Tensor, tolerance: float, max_iterations: int) -> Tensor:
        """A solution whose residual has at most the norm `tolerance`, if that can be reached."""
        if right_side.numel() <= _DIRECT:
            found = self._direct(right_side)
            if found is not None:
                return found
        return gmres(self.apply, right_side, start, kronecker_sum_inverse(self), tolerance, max_iterations)

    def dense(self) -> Tensor:
        """The matrix, `[n r s, n r s]`."""
        found = torch.einsum("Rtr,RnmS,Sus->ntumrs", self.left, self.core.dense, self.right)
        size = found.shape[0] * found.shape[1] * found.shape[2]
        return found.reshape(size, size)

    def _direct(self, right_side: Tensor) -> Tensor | None:
        found, info = torch.linalg.solve_ex(self.dense(), right_side.reshape(-1))
        return found.view_as(right_side) if int(info) == 0 and bool(torch.isfinite(found).all()) else None


def kronecker_sum_inverse(system: LocalSystem, shift: float = 0.0) -> Callable[[Tensor], Tensor]:
    """The inverse of the nearest sum of Kronecker products, of the Hermitian part, as a function of `[n, r, s]`.

    With a shift that of the sum minus the shift.
    """
    left, right, core = system.left, system.right, system.core.dense
    r, s, n = left.shape[-1], right.shape[-1], core.shape[1]
    left_trace = left.diagonal(dim1=1, dim2=2).sum(-1)  # [R]
    right_trace = right.diagonal(dim1=1, dim2=2).sum(-1)  # [R']
    core_trace = core.diagonal(dim1=1, dim2=2).sum(-1)  # [R, R']
    mean = left_trace @ core_trace @ right_trace / (n * r * s)
    parts = (
        torch.einsum("R,RnmS,S->nm", left_trace, core, right_trace) / (r * s),
        torch.einsum("Rtr,R->tr", left, core_trace @ right_trace) / (n * s),
        torch.einsum("Sus,S->us", right, left_trace @ core_trace) / (n * r),
    )
    (d, U), (l, V), (q, W) = (torch.linalg.eigh((part + part.mH) / 2) for part in parts)
    values = d[:, None, None] + l[:, None] + q - (2 * mean.real + shift)
    # An indefinite system keeps the signs; what is near zero must not be blown up.
    floor = 1e-8 * values.abs().max().clamp(min=torch.finfo(values.dtype).tiny)
    inverse = torch.where(values.abs() < floor, 1 / floor, 1 / values)

    def apply(x: Tensor) -> Tensor:
        found = V.mH @ (U.mH @ x.flatten(1)).view_as(x) @ W.conj()
        found = V @ (found * inverse) @ W.mT
        return (U @ found.flatten(1)).view_as(x)

    return apply


def gmres(
    matrix: Callable[[Tensor], Tensor],
    right_side: Tensor,
    start: Tensor,
    preconditioner: Callable[[Tensor], Tensor],
    tolerance: float,
    max_iterations: int,
    restart: int = 40,
) -> Tensor:
    """GMRES with the preconditioner on the right, so that the residual it minimises is that of the system.

    Args:
        matrix, preconditioner: linear maps of tensors as `right_side`.
        right_side, start: of any shape.
        tolerance: norm of the residual at which to stop.
        max_iterations: products with the matrix, at most.
        restart: vectors that are kept.
    """
    x, done = start, 0
    while done < max_iterations:
        residual = right_side - matrix(x) if bool(x.any()) else right_side
        norm = float(torch.linalg.vector_norm(residual))
        if norm <= tolerance or norm == 0:
            break
        step, steps = _arnoldi_step(
            matrix, preconditioner, residual, norm, tolerance, min(restart, max_iterations - done)
        )
        x, done = x + step, done + steps
    return x


def _arnoldi_step(
    matrix: Callable[[Tensor], Tensor],
    preconditioner: Callable[[Tensor], Tensor],
    residual: Tensor,
    norm: float,
    tolerance: float,
    steps: int,
) -> tuple[Tensor, int]:
    """The best correction from the Krylov space of a residual, and its dimension."""
    basis = residual.new_zeros(steps + 1, residual.numel())
    hessenberg = torch.zeros(steps + 1, steps, dtype=residual.dtype)
    basis[0] = residual.reshape(-1) / norm
    goal = torch.zeros(steps + 1, dtype=residual.dtype)
    goal[0] = norm
    found = torch.zeros(0, dtype=residual.dtype)
    for k in range(steps):
        vector = matrix(preconditioner(basis[k].view_as(residual))).reshape(-1)
        size = torch.linalg.vector_norm(vector)
        for _ in range(2):  # twice is enough (Kahan, Parlett)
            along = basis[: k + 1].conj() @ vector
            vector = vector - along @ basis[: k + 1]
            hessenberg[: k + 1, k] += along.cpu()
        length = torch.linalg.vector_norm(vector)
        hessenberg[k + 1, k] = length.cpu()
        broken = bool(length <= 1e-14 * size)
        if not broken:
            basis[k + 1] = vector / length
        small = hessenberg[: k + 2, : k + 1]
        found = torch.linalg.lstsq(small, goal[: k + 2, None]).solution[:, 0]
        left_over = float(torch.linalg.vector_norm(goal[: k + 2] - small @ found))
        if broken or left_over <= tolerance:
            break
    combined = found.to(basis.device) @ basis[: len(found)]
    return preconditioner(combined.view_as(residual)), len(found)
