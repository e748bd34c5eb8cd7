"""Eigenvalues of the matrices of a Kronecker sum, and the null space of the sum that follows from them.

Eigenvalues of Σ_a I ⊗ ... A_a ... ⊗ I are the sums of one eigenvalue of each matrix. Where the lowest ones add up to
zero, and all others lie higher, the null space is the product of their eigenspaces, and so is the spectral projector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from sciten.errors import ConfigError

#: An eigenbasis of larger condition number would lose the digits that a quadrature has.
_WORST_BASIS = 1e6
#: Eigenvalues below this share of the largest count as zero, and those closer to each other as equal.
SINGULAR = 1e-12
#: Sums of eigenvalues that are looked at one by one.
_MOST = 10**6


class NotSeparableError(ConfigError):
    """Exponential sums do not apply to an operator, other than by its data; other solvers may."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A matrix in its eigenbasis: `vectors @ diag(values) @ inverse`."""

    values: Tensor
    vectors: Tensor
    inverse: Tensor
    complex_matrix: bool

    def exponentials(self, exponents: Tensor) -> Tensor:
        """exp(-t matrix) for each t: `[k, n, n]`."""
        decays = torch.exp(-exponents[:, None] * self.values)
        found = (self.vectors * decays[:, None, :]) @ self.inverse
        return found if self.complex_matrix else found.real

    def decayed(self, exponents: Tensor, core: Tensor) -> Tensor:
        """exp(-t matrix) applied to cores `[r, n, r']`: `[k, r, n, r']`."""
        inside = self.inverse @ core.to(self.inverse.dtype)
        decays = torch.exp(-exponents[:, None, None, None] * self.values[:, None])
        found = self.vectors @ (decays * inside)
        return found if self.complex_matrix or core.is_complex() else found.real

    def projector(self, chosen: Tensor) -> Tensor:
        """Onto the eigenvectors that a mask `[n]` chooses, along all others: `[n, n]`."""
        found = self.vectors[:, chosen] @ self.inverse[chosen]
        return found if self.complex_matrix else found.real


def spectra(matrices: Sequence[Tensor]) -> list[Spectrum]:
    """Of matrices, each different one once.

    Raises:
        NotSeparableError: a matrix has no well-conditioned eigenbasis.
    """
    found: list[Spectrum] = []
    for place, matrix in enumerate(matrices):
        same = next((k for k in range(place) if torch.equal(matrices[k], matrix)), None)
        found.append(_spectrum(matrix) if same is None else found[same])
    return found


def _spectrum(matrix: Tensor) -> Spectrum:
    scale = matrix.abs().max()
    if bool((matrix - matrix.mH).abs().max() <= 1e-14 * scale):
        values, vectors = torch.linalg.eigh(matrix)
        return Spectrum(values, vectors, vectors.mH, matrix.is_complex())
    values, vectors = torch.linalg.eig(matrix)
    condition = float(torch.linalg.cond(vectors))
    if not condition <= _WORST_BASIS:
        raise NotSeparableError(
            f"ExponentialSums: the eigenvectors of a matrix have condition number {condition:.1e}, as strong advection "
            "makes it; use AMEn"
        )
    return Spectrum(values, vectors, torch.linalg.inv(vectors), matrix.is_complex())


def size(axes: Sequence[Spectrum]) -> float:
    """A bound of the eigenvalues of the sum."""
    return sum(float(axis.values.abs().max()) for axis in axes)


def lowest(axes: Sequence[Spectrum]) -> float:
    """The smallest real part of an eigenvalue of the sum."""
    return sum(float(axis.values.real.min()) for axis in axes)


def null_projectors(axes: Sequence[Spectrum]) -> list[Tensor] | None:
    """The factors `[n, n]` of the projector onto the null space of the sum, along its range.

    None where the sum is regular, and where zero is neither the lowest nor the highest of its eigenvalues, so that the
    null space need not be a product.
    """
    limit = SINGULAR * size(axes)
    for sign in (1, -1):
        ends = [axis.values[(sign * axis.values.real).argmin()] for axis in axes]
        if abs(sum(complex(end) for end in ends)) > limit:
            continue
        chosen = [(axis.values - end).abs() <= limit for axis, end in zip(axes, ends, strict=True)]
        level = [(axis.values.real - end.real).abs() <= limit for axis, end in zip(axes, ends, strict=True)]
        if all(torch.equal(a, b) for a, b in zip(chosen, level, strict=True)):
            return [axis.projector(mask) for axis, mask in zip(axes, chosen, strict=True)]
    return None


def null_dimension(axes: Sequence[Spectrum]) -> int | None:
    """How many eigenvalues of the sum are zero; None where there are too many to look at."""
    if prod(len(axis.values) for axis in axes) > _MOST:
        return None
    sums = torch.zeros(1, dtype=torch.complex128)
    for axis in axes:
        sums = (sums[:, None] + axis.values).flatten()
    return int((sums.abs() <= SINGULAR * size(axes)).sum())
