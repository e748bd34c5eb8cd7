"""The linear systems of single cores: small but many, and as ill-conditioned as the whole.

GMRES (Saad and Schultz, SIAM J. Sci. Stat. Comput. 7, 856 (1986)) with the nearest sum of Kronecker products as its
preconditioner; see `kronecker_sum`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sciten.pde.solvers.environments import OperatorCore, project
from sciten.pde.solvers.kronecker_sum import KroneckerSum

#: Systems of at most so many unknowns are solved directly.
_DIRECT = 300
#: Entries of a block of Krylov vectors.
_ENTRIES = 2**22
#: Singular vectors that are dropped at once, where a solution is cut.
_BLOCK = 8


@dataclass(frozen=True, eq=False)
class LocalSystem:
    """The system of one core `[n, r, s]` between its environments `[R, t, r]` and `[R', u, s]`."""

    left: Tensor
    core: OperatorCore
    right: Tensor

    @cached_property
    def kronecker_sum(self) -> KroneckerSum:
        """The nearest sum of Kronecker products."""
        return KroneckerSum.nearest(self.left, self.core.dense, self.right)

    def apply(self, x: Tensor) -> Tensor:
        """The matrix times `[n, r, s]`."""
        return project(self.left, self.core, self.right, x)

    def solve(self, right_side: Tensor, start: Tensor, tolerance: float, max_iterations: int) -> Tensor:
        """A solution whose residual has at most the norm `tolerance`, if that can be reached."""
        if right_side.numel() <= _DIRECT:
            found = self._direct(right_side)
            if found is not None:
                return found
        return gmres(self.apply, right_side, start, self.kronecker_sum.inverse(), tolerance, max_iterations)

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
        rank = len(rest)
        while rank > 1:
            # From the least important: a block at once as long as it can go, then one by one.
            block = min(_BLOCK, rank - most if rank > most else rank - 1)
            through = self.core.between(self.left, basis[..., rank - block : rank])  # [S, n, t, k]
            while block:
                dropped = torch.einsum("Sntk,kSu->ntu", through[..., -block:], ends[rank - block : rank])
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
    basis = _Basis(residual, steps + 1)
    hessenberg = torch.zeros(steps + 1, steps, dtype=residual.dtype)
    basis.append(residual.reshape(-1) / norm)
    goal = torch.zeros(steps + 1, dtype=residual.dtype)
    goal[0] = norm
    found = torch.zeros(0, dtype=residual.dtype)
    for k in range(steps):
        vector = matrix(preconditioner(basis.last.view_as(residual))).reshape(-1)
        size = torch.linalg.vector_norm(vector)
        for _ in range(2):  # twice is enough (Kahan, Parlett)
            vector, along = basis.without(vector)
            hessenberg[: k + 1, k] += along.cpu()
        length = torch.linalg.vector_norm(vector)
        hessenberg[k + 1, k] = length.cpu()
        broken = bool(length <= 1e-14 * size)
        if not broken:
            basis.append(vector / length)
        small = hessenberg[: k + 2, : k + 1]
        found = torch.linalg.lstsq(small, goal[: k + 2, None]).solution[:, 0]
        left_over = float(torch.linalg.vector_norm(goal[: k + 2] - small @ found))
        if broken or left_over <= tolerance:
            break
    combined = basis.combined(found.to(residual.device))
    return preconditioner(combined.view_as(residual)), len(found)


class _Basis:
    """Orthonormal vectors, kept in blocks of limited size: made as they are needed, and none of them huge."""

    def __init__(self, like: Tensor, most: int) -> None:
        self._rows = max(1, min(most, _ENTRIES // max(1, like.numel())))
        self._blocks: list[Tensor] = []
        self._like, self._count = like, 0

    def append(self, vector: Tensor) -> None:
        if self._count == len(self._blocks) * self._rows:
            self._blocks.append(self._like.new_zeros(self._rows, self._like.numel()))
        self._blocks[-1][self._count % self._rows] = vector
        self._count += 1

    @property
    def last(self) -> Tensor:
        return self._blocks[-1][(self._count - 1) % self._rows]

    def without(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """A vector without what lies along the basis, and the coefficients of that."""
        along = torch.cat([block.conj() @ vector for block in self._used()])
        return vector - self.combined(along), along

    def combined(self, coefficients: Tensor) -> Tensor:
        """The sum of the first vectors times these coefficients."""
        found = self._like.new_zeros(self._like.numel())
        for block, part in zip(self._used(), coefficients.split(self._rows), strict=False):
            found += part @ block[: len(part)]
        return found

    def _used(self) -> list[Tensor]:
        counts = [min(self._rows, self._count - start) for start in range(0, self._count, self._rows)]
        return [block[:count] for block, count in zip(self._blocks, counts, strict=True)]
