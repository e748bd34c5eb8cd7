"""Coupling coefficients written out as terms of a multilinear map."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sciten.tensor.multilinear import Term

#: For each value of an index, the operand and the component that it stands for.
Places: TypeAlias = Sequence[tuple[int, int]]


def places(operand: int, start: int, size: int, step: int = 1) -> Places:
    """Components `start`, `start + step`, ... of one operand, `size` of them."""
    return [(operand, start + n * step) for n in range(size)]


def coupling_terms(
    coefficients: NDArray[np.float64],
    first: Places,
    second: Places,
    out: Places,
    *,
    factors: tuple[tuple[int, int], ...] = (),
) -> list[Term]:
    """The map c[i, j, k] · first[i] · second[j] → out[k], without its zeros.

    Args:
        coefficients: c, `[len(first), len(second), len(out)]`.
        first, second: where the factors lie among the arguments.
        out: where the products go among the results.
        factors: further ones of each term, a path's weight for example.
    """
    return [
        Term(float(coefficients[i, j, k]), (*factors, first[i], second[j]), out[k])
        for i, j, k in zip(*coefficients.nonzero(), strict=True)
    ]
