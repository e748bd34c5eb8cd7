"""Real Wigner matrices as polynomials of the rotation matrix: no Euler angles, hence no poles.

Basis and signs are e3nn's (polar axis y, degree one is x, y, z). Degree l is the part of highest degree in the
product of degree l - 1 and the vector representation, D^l = C^T (D^(l-1) x R) C with the coupling C of `wigner_3j`; by
D C = C D a few rows of the product suffice (Ivanic and Ruedenberg, J. Phys. Chem. 100, 6342 (1996), have the same
recursion with the couplings written out).
"""

from collections.abc import Iterator
from functools import cache
from math import sqrt

import torch
from torch import Tensor

from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.errors import ConfigError
from sciten.tensor.multilinear import Executor, Multilinear, Operand, Term, evaluate
from sciten.tensor.multilinear.reference import Reference
from sciten.tensor.tracing import constant

#: Highest degree for which accuracy is tested.
LMAX = 12
#: A kernel for more terms takes seconds to compile and is not made unless asked for.
_KERNEL_TERMS = 1400


def wigner_d(l: int, rotation: Tensor, *, executor: Executor | None = None) -> Tensor:
    """The matrix D^l of a rotation: harmonics satisfy Y_l(R r) = D^l(R) Y_l(r).

    A polynomial in the entries of the rotation, differentiable to every order. Improper rotations are allowed:
    D^l(-R) = (-1)^l D^l(R), the natural parity of degree l. That `rotation` is orthogonal is not checked.

    Args:
        l: degree, at most `LMAX`.
        rotation: `[..., 3, 3]`, float32 or float64.
        executor: who computes; by default the fastest one for each degree.

    Returns:
        `[..., 2l + 1, 2l + 1]`.

    Raises:
        ConfigError: the degree is not supported, or the shape or dtype is not as above.
    """
    return wigner_matrices(l, rotation, executor=executor)[l]


def wigner_matrices(
    lmax: int, rotation: Tensor, *, mmax: int | None = None, executor: Executor | None = None
) -> tuple[Tensor, ...]:
    """The matrices of `wigner_d` for all degrees 0..lmax, or of each only the rows of orders -mmax..mmax.

    Returns:
        For each degree `[..., 2 min(l, mmax) + 1, 2l + 1]`.

    Raises:
        ConfigError: a degree is not supported, or the shape or dtype is not as `wigner_d` says.
    """
    mmax = lmax if mmax is None else mmax
    _check(lmax, mmax, rotation)
    batch = rotation.shape[:-2]
    flat = rotation.reshape(-1, 9)
    top = min(1, mmax)
    matrices = [torch.ones_like(flat[:, :1]), flat[:, 3 - 3 * top : 6 + 3 * top]][: lmax + 1]
    for l in range(2, lmax + 1):
        map_ = recursion_map(l, min(l, mmax))
        chosen = Reference() if executor is None and len(map_.terms) > _KERNEL_TERMS else executor
        matrices += evaluate(map_, [matrices[-1], flat], executor=chosen)
    return tuple(matrix.view(*batch, 2 * min(l, mmax) + 1, 2 * l + 1) for l, matrix in enumerate(matrices))


@cache
@constant
def recursion_map(l: int, mmax: int) -> Multilinear:
    """D^l from D^(l-1) and R: a bilinear map, closed on the rows of orders -mmax..mmax.

    Arguments: the rows of D^(l-1), `[batch, (2 min(l - 1, mmax) + 1) (2l - 1)]`, and R, `[batch, 9]`. Result:
    `[batch, (2 mmax + 1) (2l + 1)]`; `mmax` is at most l.
    """
    coupling = sqrt(2 * l + 1) * wigner_3j(l - 1, 1, l)
    columns = list(zip(*coupling.nonzero(), strict=True))
    below = min(l - 1, mmax)
    terms = []
    for row, m in enumerate(range(-mmax, mmax + 1)):
        for order, axis, factor in _sources(l, m):
            for j, b, k in columns:
                lower = (order + below) * (2 * l - 1) + int(j)
                factors = ((0, lower), (1, 3 * axis + int(b)))
                value = factor * float(coupling[j, b, k])
                terms.append(Term(value, factors, (0, row * (2 * l + 1) + int(k))))
    return Multilinear(
        arguments=(Operand((2 * below + 1) * (2 * l - 1), channels=False), Operand(9, channels=False)),
        results=(Operand((2 * mmax + 1) * (2 * l + 1), channels=False),),
        terms=tuple(terms),
    ).ready_to_record()


def _sources(l: int, m: int) -> Iterator[tuple[int, int, float]]:
    """Which rows (order of degree l - 1, axis) of the product, times what, add up to row m of degree l.

    By (D^(l-1) x R) C = C D^l any left inverse of C serves. The polar axis couples orders of equal m alone, so one row
    is enough and the rows of low order need no others; only m = -l, l are new.
    """
    coupling = sqrt(2 * l + 1) * wigner_3j(l - 1, 1, l)
    if abs(m) < l:
        yield m, 1, 1 / float(coupling[m + l - 1, 1, m + l])
        return
    for i, axis in zip(*coupling[:, :, m + l].nonzero(), strict=True):
        yield int(i) - (l - 1), int(axis), float(coupling[i, axis, m + l])


def _check(lmax: int, mmax: int, rotation: Tensor) -> None:
    if not 0 <= lmax <= LMAX:
        raise ConfigError(f"wigner_d: expected a degree from 0 to {LMAX}, got {lmax}")
    if not 0 <= mmax <= lmax:
        raise ConfigError(f"wigner_d: expected mmax from 0 to lmax = {lmax}, got {mmax}")
    if rotation.shape[-2:] != (3, 3):
        raise ConfigError(
            f"wigner_d: expected rotations of shape [..., 3, 3], got {list(rotation.shape)}; vectors are turned "
            "into rotations by align_to_y"
        )
    if rotation.dtype not in (torch.float32, torch.float64):
        raise ConfigError(f"wigner_d: expected rotations in float32 or float64, got {rotation.dtype}")
