"""Vectors and operators on 2^L points as tensor trains of their bits (QTT), written down rather than approximated.

The first core belongs to the most significant bit: `i = sum over k of b_k 2^(L-1-k)`, as `TensorTrain.reshape([2] * L)`
has it. Cores of vectors are `[r, 2, r']`, those of operators `[r, 2, 2, r']`.
"""

from sciten.pde.quantised.inverses import inverse_laplacian, summation
from sciten.pde.quantised.multilevel import MultilevelPreconditioner, bpx, integration
from sciten.pde.quantised.ordering import bits, grouped, interleaved, kronecker_sum, serial
from sciten.pde.quantised.stencils import Condition, difference, laplacian, mirrored, tridiagonal
from sciten.pde.quantised.vectors import constant, cosine, exponential, polynomial, ramp, sine, unit

__all__ = [
    "Condition",
    "MultilevelPreconditioner",
    "bits",
    "bpx",
    "constant",
    "cosine",
    "difference",
    "exponential",
    "grouped",
    "integration",
    "interleaved",
    "inverse_laplacian",
    "kronecker_sum",
    "laplacian",
    "mirrored",
    "polynomial",
    "ramp",
    "serial",
    "sine",
    "summation",
    "tridiagonal",
    "unit",
]
