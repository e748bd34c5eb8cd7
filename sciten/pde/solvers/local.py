"""The linear systems of single cores.

They are small but many, and as ill-conditioned as the whole. What makes them quick is that operators of PDEs are near a
sum of Kronecker products, L ⊗ I ⊗ I + I ⊗ D ⊗ I + I ⊗ I ⊗ R, of the left environment, the core and the right one: the
nearest such sum, in a sense that stresses low energies, comes from partial means, is inverted exactly by diagonalising
three small matrices (Lynch, Rice and Thomas, Numer. Math. 6, 185 (1964)), and leaves GMRES (Saad and Schultz, SIAM J.
Sci. Stat. Comput. 7, 856 (1986)) few steps to do: for a Laplacian the sum is the system itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sciten.pde.solvers.environments import OperatorCore, project

#: Systems of at most so many unknowns are solved directly.
_DIRECT = 300
#: Singular vectors that are dropped at once, where a solution is cut.
_BLOCK = 8


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

    def rank_within(self, basis: Tensor, rest: Tensor, residual: Tensor, limit: float, most: int) -> int:
        """The least rank q, up to `most`, at which `basis[..., :q] @ rest[:q]` has a residual of norm `limit`, if any.

        Args:
            basis: `[n, r, k]`, in the order of importance.
            rest: `[k, s]`.
            residual: right side minus the matrix times `basis @ rest`.
            limit: of the norm of the residual.
            most: largest rank.
        """
        ends = torch.einsum("Sus,ks->kSu", self.right, rest)  # what follows each vector of the basis
        through = self.core.between(self.left, basis)  # [S, n, t, k]
        rank = len(rest)
        while rank > 1:
            # From the least important: a block at once as long as it can go, then one by one.
            block = min(_BLOCK, rank - most if rank > most else rank - 1)
            while block:
                dropped = torch.einsum(
                    "Sntk,kSu->ntu", through[..., rank - block : rank], ends[rank - block : rank]
                )
                if rank > most or float(torch.linalg.vector_norm(residual + dropped)) <= limit:
                    residual, rank = residual + dropped, rank - block
                    break
                block //= 2
            if not block:
                break
        return rank

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
    parts, mean = _partial_means(system, None)
    parts, mean = _partial_means(system, [_low_energy_weights(part) for part in parts])
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


Parts = tuple[Tensor, Tensor, Tensor]


def _partial_means(system: LocalSystem, weights: "Sequence[Tensor] | None") -> tuple[Parts, Tensor]:
    """Means over two of the three factors, `[n, n]`, `[r, r]` and `[s, s]`, and the mean over all.

    With weights: matrices of trace one for each factor, over which means are taken in place of all states alike.
    """
    left, right, core = system.left, system.right, system.core.dense
    if weights is None:
        sizes = core.shape[1], left.shape[-1], right.shape[-1]
        weights = [torch.eye(k, dtype=core.dtype, device=core.device) / k for k in sizes]
    of_core, of_left, of_right = weights
    left_mean = torch.einsum("Rtr,rt->R", left, of_left)
    right_mean = torch.einsum("Sus,su->S", right, of_right)
    core_mean = torch.einsum("RnmS,mn->RS", core, of_core)
    parts = (
        torch.einsum("R,RnmS,S->nm", left_mean, core, right_mean),
        torch.einsum("Rtr,R->tr", left, core_mean @ right_mean),
        torch.einsum("Sus,S->us", right, left_mean @ core_mean),
    )
    return parts, left_mean @ core_mean @ right_mean


def _low_energy_weights(part: Tensor) -> Tensor:
    """Weights for states of low energy.

    The means over all states of a coefficient that varies, times the highest energies, would be far larger than the low
    energies, which the solution is made of, and the sum wrong for these.
    """
    values, vectors = torch.linalg.eigh((part + part.mH) / 2)
    above = values - values[0]
    gap = above[min(2, len(above) - 1)] + 1e-6 * above[-1]
    if not bool(gap > 0):
        return torch.eye(len(part), dtype=part.dtype, device=part.device) / len(part)
    share = (1 + above / gap) ** -2
    return (vectors * (share / share.sum())) @ vectors.mH


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
