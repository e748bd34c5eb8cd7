"""The algebra of 3x3 matrices in an orthonormal basis of irreducible parts, as multilinear maps.

A feature of TensorNet is a 3x3 matrix per atom and channel. Here it is held as three tensors, one for each degree:
`[n_atoms, 1, channels]` (a multiple of the identity), `[n_atoms, 3, channels]` (the antisymmetric part) and
`[n_atoms, 5, channels]` (the symmetric traceless part). The basis is orthonormal, so that the squared Frobenius norm is
the sum of the squares of the nine components, and of degrees l = 0, 1, 2 in e3nn's order.
"""

from functools import cache
from math import sqrt
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sciten.equivariant.clebsch_gordan import levi_civita, wigner_3j
from sciten.equivariant.products.terms import coupling_terms
from sciten.tensor.multilinear import Executor, Multilinear, Operand, Term, evaluate

Group: TypeAlias = Literal["O(3)", "SO(3)"]
#: The parts of degree 0, 1 and 2 of a matrix per atom and channel, `[n_atoms, 2l + 1, channels]`.
Matrices: TypeAlias = tuple[Tensor, Tensor, Tensor]

DEGREES = (0, 1, 2)
_ALL = tuple((l, m) for l in DEGREES for m in range(2 * l + 1))
#: What component-normalised harmonics of a unit vector r come to in this basis: the identity, the matrix of the cross
#: product with r, and the symmetric traceless part of r r^T, of squared norms 3, 2 and 2/3.
_FROM_HARMONICS = (sqrt(3), sqrt(2 / 3), sqrt(2 / 15))


@cache
def basis() -> NDArray[np.float64]:
    """The nine basis matrices, `[9, 3, 3]`, orthonormal under tr(A^T B)."""
    symmetric = sqrt(5) * np.moveaxis(wigner_3j(1, 1, 2), 2, 0)
    symmetric *= np.sign(symmetric[2, 1, 1])  # positive along the polar axis y, as the harmonics are
    cross = -sqrt(0.5) * levi_civita()
    return np.concatenate([np.eye(3)[None] / sqrt(3), cross, symmetric])


@cache
def _structure_constants() -> NDArray[np.float64]:
    """Components k of the products of basis matrices i and j, `[9, 9, 9]`."""
    matrices = basis()
    constants = np.einsum("iab,jbc,kac->ijk", matrices, matrices, matrices)
    return np.where(np.abs(constants) < 1e-12, 0.0, constants)


def _parts(index: str | None = None) -> tuple[Operand, ...]:
    return tuple(Operand(2 * l + 1, index=index) for l in DEGREES)


def _product_terms(
    constants: NDArray[np.float64], left: int, right: int, *, factor: int | None = None
) -> list[Term]:
    """Terms of a product of the matrices in arguments `left`.. and `right`.., with one more `factor` if there is."""
    first, second = ([(start + l, m) for l, m in _ALL] for start in (left, right))
    return coupling_terms(constants, first, second, _ALL, factors=() if factor is None else ((factor, 0),))


@cache
def product_map(group: Group, *, with_state: bool) -> Multilinear:
    """Products of two matrices Y and M: Y M + M Y, which conserves parity, for O(3), and 2 Y M for SO(3).

    Arguments: the parts of Y, those of M and, if `with_state`, a number `[n_atoms, 1]` that scales the O(3) product by
    one plus itself. Results: the parts of the product.
    """
    constants = _structure_constants()
    if group == "SO(3)":
        terms = _product_terms(2 * constants, 0, 3)
    else:
        symmetric = constants + constants.transpose(1, 0, 2)
        terms = _product_terms(symmetric, 0, 3)
        if with_state:
            terms += _product_terms(symmetric, 0, 3, factor=6)
    state = (Operand(1, channels=False),) if with_state else ()
    return Multilinear((*_parts(), *_parts(), *state), _parts(), tuple(terms))


@cache
def update_map(*, with_state: bool) -> Multilinear:
    """X + D + (1 + state) D D of the parts of X, those of D and, if `with_state`, a number `[n_atoms, 1]`."""
    terms = [Term(1.0, ((start + l, m),), (l, m)) for start in (0, 3) for l, m in _ALL]
    terms += _product_terms(_structure_constants(), 3, 3)
    if with_state:
        terms += _product_terms(_structure_constants(), 3, 3, factor=6)
    state = (Operand(1, channels=False),) if with_state else ()
    return Multilinear((*_parts(), *_parts(), *state), _parts(), tuple(terms))


@cache
def message_map(weights_index: str | None) -> Multilinear:
    """Sums over neighbours of their matrices, each part weighted by degree, edge and channel.

    Arguments: weights `[rows, 3, channels]`, one row for each edge or gathered through `weights_index`; the parts of
    the matrices, gathered through "senders". Results: the parts of the sums, added through "receivers".
    """
    terms = tuple(Term(1.0, ((0, l), (1 + l, m)), (l, m)) for l, m in _ALL)
    weights = Operand(3, index=weights_index)
    return Multilinear((weights, *_parts("senders")), _parts("receivers"), terms)


@cache
def embedding_map(weights_index: str | None) -> Multilinear:
    """Sums over neighbours of the matrices that TensorNet makes of an edge vector.

    Arguments: weights `[rows, 3, channels]` as in `message_map`; features of pairs of elements
    `[n_pairs, 1, channels]`, gathered through "elements"; harmonics of degrees 0..2, `[n_edges, 9]`.
    Results: as in `message_map`.
    """
    terms = tuple(
        Term(_FROM_HARMONICS[l], ((0, l), (1, 0), (2, l * l + m)), (l, m))
        for l in DEGREES
        for m in range(2 * l + 1)
    )
    arguments = (Operand(3, index=weights_index), Operand(1, index="elements"), Operand(9, channels=False))
    return Multilinear(arguments, _parts("receivers"), terms)


@cache
def _squares_map(*, by_degree: bool) -> Multilinear:
    terms = tuple(Term(1.0, ((l, m), (l, m)), (0, l if by_degree else 0)) for l, m in _ALL)
    return Multilinear(_parts(), (Operand(3 if by_degree else 1),), terms)


def squared_norms(matrices: Matrices, *, by_degree: bool = False, executor: Executor | None = None) -> Tensor:
    """Squared Frobenius norms, `[n_atoms, 1, channels]`, or those of the three parts, `[n_atoms, 3, channels]`."""
    (squares,) = evaluate(_squares_map(by_degree=by_degree), matrices, executor=executor)
    return squares
