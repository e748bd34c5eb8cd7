"""Dense counterparts of trains of bits, for oracles."""

from functools import reduce

import torch
from torch import Tensor

from sciten.pde.quantised import Condition
from sciten.tensor import TensorTrain

DIRICHLET, NEUMANN, PERIODIC = Condition.DIRICHLET, Condition.NEUMANN, Condition.PERIODIC


def vector(x: TensorTrain) -> Tensor:
    """`[n]`, in the order of the bits of the train."""
    return x.full().flatten()


def matrix(x: TensorTrain) -> Tensor:
    """`[n, n]`, in the order of the bits of the train."""
    side = int(x.entries**0.5)
    return x.full().reshape(side, side)


def serial_from_interleaved(x: Tensor, levels: int, d: int) -> Tensor:
    """A dense vector or matrix of interleaved bits in the usual order of points."""
    order = [k * d + a for a in range(d) for k in range(levels)]
    if x.ndim == 1:
        return x.reshape([2] * (levels * d)).permute(order).flatten()
    both = [*order, *(levels * d + k for k in order)]
    return x.reshape([2] * (2 * levels * d)).permute(both).reshape(x.shape)


def laplacian(n: int, lower: Condition, upper: Condition) -> Tensor:
    """Minus the second difference on a unit mesh."""
    result = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for j, end in ((i - 1, lower), (i + 1, upper)):
            if 0 <= j < n or end is PERIODIC:
                result[i, j % n] -= 1
                result[i, i] += 1
            elif end is DIRICHLET:
                result[i, i] += 1
    return result


def kronecker(*factors: Tensor) -> Tensor:
    """Of all factors in turn."""
    return reduce(torch.kron, factors)
