"""The symmetric contraction of MACE: all O(3)-equivariant polynomials of the features of one atom, up to a degree.

Batatia et al., MACE (NeurIPS 2022), eqs. 10-11. The full many-body basis is that of mace-torch: one weight for each way
of coupling the factors one after the other. Many of these couplings coincide after symmetrisation; the reduced basis
keeps a linearly independent set. Either costs the same here: weights are folded into one coefficient per monomial
before atoms are touched.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, permutations
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.errors import ModelError
from sciten.tensor.multilinear import Multilinear, Operand, Term

#: Degrees up to six whose coupling has the opposite sign in e3nn 0.4, in whatever order they are coupled
#: (found by comparing `o3.wigner_3j` of e3nn 0.4.4 and 0.6.0 in float64; all others agree to rounding).
_FLIPPED_IN_E3NN_04 = frozenset(
    {(1, l, l) for l in range(2, 7)} | {(3, 4, 6), (4, 4, 5), (4, 5, 6), (5, 5, 5), (5, 6, 6)}
)


@dataclass(frozen=True, eq=False)
class Coupling:
    """All couplings of `correlation` factors into one degree.

    Attributes:
        monomials: the products of features that occur, as ascending component numbers.
        orders: for each row of `coefficients`, the position of its monomial and its order m of the result.
        coefficients: `[n_rows, n_paths]`.
        chains: for each path of the full basis the triples (l_out, l_left, l_right) of its successive couplings.
    """

    monomials: tuple[tuple[int, ...], ...]
    orders: tuple[tuple[int, int], ...]
    coefficients: NDArray[np.float64]
    chains: tuple[tuple[tuple[int, int, int], ...], ...]

    def signs_from_e3nn_04(self) -> NDArray[np.float64]:
        """For each path, the sign that turns a weight made with e3nn 0.4's couplings into ours, `[n_paths]`."""
        return np.array([np.prod([_sign_in_e3nn_04(*triple) for triple in chain]) for chain in self.chains])


def _sign_in_e3nn_04(l1: int, l2: int, l3: int) -> int:
    if max(l1, l2, l3) > 6:
        raise ModelError(
            f"the sign of the coupling ({l1}, {l2}, {l3}) in e3nn 0.4 is not on record: expected degrees up to 6"
        )
    return -1 if tuple(sorted((l1, l2, l3))) in _FLIPPED_IN_E3NN_04 else 1


@cache
def coupling(lmax: int, degree: int, correlation: int, *, reduced: bool = False) -> Coupling:
    """The couplings of `correlation` copies of features of degrees 0..lmax into `degree`, in mace-torch's order.

    With `reduced`, a basis of their span, orthogonal as symmetric tensors, each of squared norm 2 degree + 1.
    """
    # mace-torch keeps only natural-parity intermediates for four factors, to bound the number of paths.
    natural = correlation == 4
    chosen = [
        (path.tensor, path.chain)
        for path in _sequential_couplings(lmax, correlation, natural, only=degree)
        if path.l == degree and path.parity == (-1) ** degree
    ]
    full = _symmetrise(
        [tensor for tensor, _ in chosen], tuple(chain for _, chain in chosen), lmax, correlation
    )
    return _independent(full, 2 * degree + 1) if reduced else full


def _independent(full: Coupling, norm: int) -> Coupling:
    # A monomial's coefficient is shared by the entries of the symmetric tensor that it stands for.
    entries = np.array([len(set(permutations(full.monomials[monomial]))) for monomial, _ in full.orders])[
        :, None
    ]
    vectors, values, _ = np.linalg.svd(full.coefficients / np.sqrt(entries), full_matrices=False)
    kept = vectors[:, values > 1e-8 * values[0]]
    kept *= np.sign(kept[np.abs(kept).argmax(axis=0), range(kept.shape[1])])
    return Coupling(full.monomials, full.orders, np.ascontiguousarray(kept * np.sqrt(entries * norm)), ())


@dataclass(frozen=True, eq=False)
class _Partial:
    l: int
    parity: int
    tensor: NDArray[np.float64]  # [2l + 1, n, ..., n]
    chain: tuple[tuple[int, int, int], ...]


def _sequential_couplings(lmax: int, count: int, natural: bool, only: int | None = None) -> list[_Partial]:
    """Every way to couple `count` factors one after the other; stably sorted by (l, parity), as mace-torch does at
    each level, because the order of the weights follows from it."""
    n = (lmax + 1) ** 2
    if count == 1:
        eye = np.eye(n)
        return [_Partial(l, (-1) ** l, eye[l * l : (l + 1) ** 2], ()) for l in range(lmax + 1)]
    extended = [
        _extend(left, l, l_out, n)
        for left in _sequential_couplings(lmax, count - 1, natural)
        for l, l_out in _admissible(left, lmax, natural, only)
    ]
    return sorted(extended, key=lambda partial: (partial.l, partial.parity))


def _admissible(left: _Partial, lmax: int, natural: bool, only: int | None) -> Iterator[tuple[int, int]]:
    for l in range(lmax + 1):
        for l_out in range(abs(left.l - l), left.l + l + 1):
            parity = left.parity * (-1) ** l
            if (only is None or l_out == only) and not (natural and parity != (-1) ** l_out):
                yield l, l_out


def _extend(left: _Partial, l: int, l_out: int, n: int) -> _Partial:
    coupled = np.tensordot(sqrt(2 * l_out + 1) * wigner_3j(l_out, left.l, l), left.tensor, axes=(1, 0))
    tensor = np.zeros((2 * l_out + 1, *left.tensor.shape[1:], n))
    tensor[..., l * l : (l + 1) ** 2] = np.moveaxis(coupled, 1, -1)
    return _Partial(l_out, left.parity * (-1) ** l, tensor, (*left.chain, (l_out, left.l, l)))


def _symmetrise(
    tensors: list[NDArray[np.float64]],
    chains: tuple[tuple[tuple[int, int, int], ...], ...],
    lmax: int,
    correlation: int,
) -> Coupling:
    stacked = np.stack(tensors, axis=-1)
    monomials: list[tuple[int, ...]] = []
    orders: list[tuple[int, int]] = []
    rows: list[NDArray[np.float64]] = []
    for indices in combinations_with_replacement(range((lmax + 1) ** 2), correlation):
        orders_of_factors: list[Any] = sorted(set(permutations(indices)))
        block = np.sum([stacked[(slice(None), *p)] for p in orders_of_factors], axis=0)
        occurring = np.flatnonzero(np.abs(block).max(axis=1) > 1e-6)
        if len(occurring):
            orders += [(len(monomials), int(m)) for m in occurring]
            rows += [block[m] for m in occurring]
            monomials.append(indices)
    return Coupling(tuple(monomials), tuple(orders), np.array(rows), chains)


@cache
def contraction_map(lmax: int, degrees: tuple[int, ...], correlation: int) -> Multilinear:
    """The contraction as a map of two arguments.

    Arguments: coefficients `[n_species, n_coefficients, channels]`, gathered through the index "species" (for each
    output degree and each number of factors from `correlation` down to one, the rows of that `coupling`);
    features `[n_atoms, (lmax + 1)**2, channels]`. Result: `[n_atoms, sum of 2l + 1, channels]`.
    """
    terms = []
    position = start = 0
    for degree in degrees:
        for count in range(correlation, 0, -1):
            basis = coupling(lmax, degree, count)
            for monomial, m in basis.orders:
                factors = ((0, position), *((1, i) for i in basis.monomials[monomial]))
                terms.append(Term(1.0, factors, (0, start + m)))
                position += 1
        start += 2 * degree + 1
    return Multilinear(
        arguments=(Operand(position, index="species"), Operand((lmax + 1) ** 2)),
        results=(Operand(start),),
        terms=tuple(terms),
    )
