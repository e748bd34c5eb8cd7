"""Real spherical harmonics as polynomials of a unit vector, so that they differentiate like any other map."""

from collections import defaultdict
from functools import cache
from math import sqrt

import torch
from torch import Tensor

from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.errors import ConfigError
from sciten.tensor.multilinear import Executor, Multilinear, Operand, Term, evaluate
from sciten.tensor.tracing import constant

_Polynomial = dict[tuple[int, int, int], float]  # powers of x, y, z -> coefficient


def spherical_harmonics(lmax: int, unit_vectors: Tensor, *, executor: Executor | None = None) -> Tensor:
    """Real spherical harmonics of degrees 0..lmax.

    Component-normalised (the squares of each degree add up to 2l + 1), in e3nn's order and signs (the polar axis is y).

    Args:
        lmax: highest degree.
        unit_vectors: `[batch, 3]`, of length one: the polynomials are homogeneous and do not normalise.
        executor: who computes; by default the fastest one.

    Returns:
        `[batch, (lmax + 1)**2]`.

    Raises:
        ConfigError: `lmax` is below zero.
    """
    if lmax < 0:
        raise ConfigError(f"spherical_harmonics: expected lmax of at least 0, got {lmax}")
    if lmax == 0:
        return torch.ones_like(unit_vectors[:, :1])
    (higher,) = evaluate(harmonics_map(lmax), [unit_vectors], executor=executor)
    return torch.cat([torch.ones_like(unit_vectors[:, :1]), higher], dim=1)


@cache
@constant
def harmonics_map(lmax: int) -> Multilinear:
    """The degrees 1..lmax as a polynomial map from `[batch, 3]` to `[batch, (lmax + 1)**2 - 1]`."""
    terms = []
    for l in range(1, lmax + 1):
        for m, polynomial in enumerate(_harmonics(l)):
            for powers, coefficient in polynomial.items():
                factors = tuple((0, axis) for axis in range(3) for _ in range(powers[axis]))
                terms.append(Term(coefficient, factors, (0, l * l - 1 + m)))
    return Multilinear(
        (Operand(3, channels=False),), (Operand((lmax + 1) ** 2 - 1, channels=False),), tuple(terms)
    ).ready_to_record()


@cache
def _harmonics(l: int) -> tuple[_Polynomial, ...]:
    """Degree l from degree l - 1 by coupling with the vector itself: the only degree-l tensor in their product
    that is homogeneous of degree l, hence harmonic, hence proportional to the wanted one."""
    if l == 0:
        return ({(0, 0, 0): 1.0},)
    coupling = wigner_3j(l - 1, 1, l)
    raised: list[dict[tuple[int, int, int], float]] = [defaultdict(float) for _ in range(2 * l + 1)]
    for i, lower in enumerate(_harmonics(l - 1)):
        for axis in range(3):
            for m in range(2 * l + 1):
                if (c := coupling[i, axis, m]) != 0.0:
                    for powers, value in lower.items():
                        key = tuple(p + (a == axis) for a, p in enumerate(powers))
                        raised[m][key] += c * value  # type: ignore[index]
    # Along the polar axis y only m = 0 (the middle one) survives, with the value sqrt(2l + 1).
    scale = sqrt(2 * l + 1) / raised[l][0, l, 0]
    return tuple({k: scale * v for k, v in p.items() if abs(scale * v) > 1e-13} for p in raised)
