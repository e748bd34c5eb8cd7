"""Sums of Kronecker products near the systems of single cores.

Between its environments, a core of an operator of a PDE is near L ⊗ I ⊗ I + I ⊗ D ⊗ I + I ⊗ I ⊗ R, with matrices for
what lies to the left, for the core itself and for what lies to the right; for a Laplacian it is that. The inverse comes
from diagonalising the three (Lynch, Rice and Thomas, Numer. Math. 6, 185 (1964)), and leaves GMRES few steps to do.

Which sum is the nearest depends on what one looks at. Plain partial traces weigh all states alike, so that a
coefficient that varies, times the highest energies, enters the matrices of the others and drowns the low energies,
which solutions are made of. With means over states of low energy GMRES takes a fifth of the steps for a coefficient
that varies by a factor of two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Parts = tuple[Tensor, Tensor, Tensor]
Eigen = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class KroneckerSum:
    """L ⊗ I ⊗ I + I ⊗ D ⊗ I + I ⊗ I ⊗ R - mean, Hermitian, by the eigenvalues and eigenvectors of its parts.

    Args:
        core: of D, `[n]` and `[n, n]`.
        left: of L, `[r]` and `[r, r]`.
        right: of R, `[s]` and `[s, s]`.
        mean: what is counted in all three parts, but belongs there once.
    """

    core: Eigen
    left: Eigen
    right: Eigen
    mean: Tensor

    @classmethod
    def nearest(cls, left: Tensor, core: Tensor, right: Tensor) -> "KroneckerSum":
        """Near the system of a core `[R, n, m, S]` between environments `[R, t, r]` and `[S, u, s]`."""
        sizes = core.shape[1], left.shape[-1], right.shape[-1]
        alike = [torch.eye(k, dtype=core.dtype, device=core.device) / k for k in sizes]
        parts, _ = _partial_means(left, core, right, alike)
        parts, mean = _partial_means(left, core, right, [_low_energy_weights(part) for part in parts])
        of_core, of_left, of_right = (torch.linalg.eigh((part + part.mH) / 2) for part in parts)
        return cls(of_core, of_left, of_right, mean.real)

    def inverse(self, shift: float = 0.0) -> Callable[[Tensor], Tensor]:
        """The inverse of the sum minus a shift, as a function of `[n, r, s]`."""
        (d, U), (l, V), (q, W) = self.core, self.left, self.right
        values = d[:, None, None] + l[:, None] + q - (2 * self.mean + shift)
        # An indefinite system keeps the signs; what is near zero must not be blown up.
        floor = 1e-8 * values.abs().max().clamp(min=torch.finfo(values.dtype).tiny)
        inverse = torch.where(values.abs() < floor, 1 / floor, 1 / values)

        def apply(x: Tensor) -> Tensor:
            found = V.mH @ (U.mH @ x.flatten(1)).view_as(x) @ W.conj()
            found = V @ (found * inverse) @ W.mT
            return (U @ found.flatten(1)).view_as(x)

        return apply

    def lowest(self, count: int) -> Tensor:
        """The eigenvectors of the lowest eigenvalues, `[count, n, r, s]`."""
        (d, U), (l, V), (q, W) = self.core, self.left, self.right
        values = d[:, None, None] + l[:, None] + q
        places = torch.unravel_index(values.flatten().topk(count, largest=False).indices, values.shape)
        i, j, k = places
        return torch.einsum("nc,rc,sc->cnrs", U[:, i], V[:, j], W[:, k])

    def smoothed(self, x: Tensor) -> Tensor:
        """The inverse root of |D| applied to `[n, r, s]`.

        Residuals are rough where errors are smooth. As directions to enlarge a core by they make alternation as slow as
        steepest descent on an ill-conditioned system; smoothed in each dimension they are near to preconditioned ones.
        """
        values, vectors = self.core
        size = values.abs().clamp(min=1e-12 * float(values.abs().max()) + torch.finfo(values.dtype).tiny)
        return (vectors @ (size[:, None] ** -0.5 * (vectors.mH @ x.flatten(1)))).view_as(x)


def _partial_means(
    left: Tensor, core: Tensor, right: Tensor, weights: Sequence[Tensor]
) -> tuple[Parts, Tensor]:
    """Means over two of the three factors, `[n, n]`, `[r, r]` and `[s, s]`, and the mean over all.

    Weights are matrices of trace one for the core, the left and the right.
    """
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
    """Weights for states of low energy, measured from the lowest in units of the gap to the next but one."""
    values, vectors = torch.linalg.eigh((part + part.mH) / 2)
    above = values - values[0]
    gap = above[min(2, len(above) - 1)] + 1e-6 * above[-1]
    if not bool(gap > 0):
        return torch.eye(len(part), dtype=part.dtype, device=part.device) / len(part)
    share = (1 + above / gap) ** -2
    return (vectors * (share / share.sum())) @ vectors.mH
