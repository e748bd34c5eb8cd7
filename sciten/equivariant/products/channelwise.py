"""The channelwise (e3nn "uvu") convolution: features of a neighbour, coupled with the edge's harmonics, weighted
per path and channel by a radial function, added up at the receiver."""

from functools import cache
from math import sqrt
from typing import NamedTuple

from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.equivariant.products.terms import coupling_terms, places
from sciten.tensor.multilinear import Multilinear, Operand, Term


class Path(NamedTuple):
    """One coupling of an input degree and an edge degree into an output degree."""

    l_in: int
    l_edge: int
    l_out: int


@cache
def convolution_paths(lmax_in: int, lmax_edge: int, lmax_out: int) -> tuple[Path, ...]:
    """The paths that conserve parity, ordered by output, input and edge degree; degree l has parity (-1)^l."""
    return tuple(
        Path(l_in, l_edge, l_out)
        for l_out in range(lmax_out + 1)
        for l_in in range(lmax_in + 1)
        for l_edge in range(lmax_edge + 1)
        if abs(l_in - l_edge) <= l_out <= l_in + l_edge and (l_in + l_edge + l_out) % 2 == 0
    )


def paths_into(paths: tuple[Path, ...], l_out: int) -> list[int]:
    """Positions of the paths that end in degree `l_out`."""
    return [p for p, path in enumerate(paths) if path.l_out == l_out]


@cache
def convolution_map(lmax_in: int, lmax_edge: int, lmax_out: int) -> Multilinear:
    """The convolution as a map of three arguments.

    Arguments: path weights `[n_edges, n_paths, channels]`, edge harmonics `[n_edges, (lmax_edge + 1)**2]`, node
    features `[n_atoms, (lmax_in + 1)**2, channels]`, gathered through the index "senders". Result: added through
    the index "receivers", `[n_atoms, n_components, channels]`; for each output degree l in turn its 2l + 1 orders,
    and within an order the paths into l: so that mixing paths and channels is one matrix product on a view.

    Normalised as e3nn's `TensorProduct` with component normalisation: each path carries sqrt(2 l_out + 1) wigner_3j.
    """
    paths = convolution_paths(lmax_in, lmax_edge, lmax_out)
    terms: list[Term] = []
    start = 0
    for l_out in range(lmax_out + 1):
        into = paths_into(paths, l_out)
        for slot, p in enumerate(into):
            l_in, l_edge, _ = paths[p]
            terms += coupling_terms(
                sqrt(2 * l_out + 1) * wigner_3j(l_in, l_edge, l_out),
                places(2, l_in**2, 2 * l_in + 1),
                places(1, l_edge**2, 2 * l_edge + 1),
                places(0, start + slot, 2 * l_out + 1, step=len(into)),
                factors=((0, p),),
            )
        start += (2 * l_out + 1) * len(into)
    return Multilinear(
        arguments=(
            Operand(len(paths)),
            Operand((lmax_edge + 1) ** 2, channels=False),
            Operand((lmax_in + 1) ** 2, index="senders"),
        ),
        results=(Operand(start, index="receivers"),),
        terms=tuple(terms),
    )
