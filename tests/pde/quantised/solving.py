"""A solver for tests: alternating least squares of fixed ranks, for symmetric and well-conditioned operators."""

import torch
from torch import Tensor

from sciten.tensor import TensorTrain

Cores = list[Tensor]


def solve(operator: TensorTrain, b: TensorTrain, rank: int, sweeps: int = 2) -> TensorTrain:
    """The train of ranks up to `rank` that is next to the solution in the energy norm, from a random start.

    Holtz, Rohwedder and Schneider, SIAM J. Sci. Comput. 34, A683 (2012), Algorithm 1.
    """
    d = len(b)
    ranks = [min(rank, 2 ** min(k, d - k)) for k in range(1, d)]
    x = list(TensorTrain.random([2] * d, ranks, generator=torch.Generator().manual_seed(0)).cores)
    system = (list(operator.cores), list(b.cores))
    one = [(torch.ones(1, 1, 1, dtype=b.dtype), torch.ones(1, 1, dtype=b.dtype))] * d
    environments = _sweep(x, *system, one, solving=False)
    for _ in range(2 * sweeps):
        # From right to left is from left to right, with everything the other way round.
        x, system = _turned(x), (_turned(system[0]), _turned(system[1]))
        environments = _sweep(x, *system, environments[::-1], solving=True)
    return TensorTrain(tuple(x))


def _turned(cores: Cores) -> Cores:
    return [core.transpose(0, -1) for core in reversed(cores)]


def _sweep(
    x: Cores, a: Cores, b: Cores, beyond: list[tuple[Tensor, Tensor]], *, solving: bool
) -> list[tuple[Tensor, Tensor]]:
    """Solve for one core after another, in place; x^T A x and x^T b of the cores before each."""
    environments = [beyond[-1]]  # of nothing, there and here
    for k in range(len(x)):
        before, source = environments[-1]
        if solving:
            x[k] = _solved(before, a[k], beyond[k][0], source, b[k], beyond[k][1])
        if k < len(x) - 1:
            basis = torch.linalg.qr(x[k].flatten(0, 1)).Q
            x[k] = basis.reshape(*x[k].shape[:2], -1)
            through = torch.einsum("axc,anb->xcnb", before, x[k])
            through = torch.einsum("xcnb,xnmy->cmby", through, a[k])
            after = torch.einsum("cmby,cmd->byd", through, x[k])
            environments.append((after, torch.einsum("ac,anb,cnd->bd", source, x[k], b[k])))
    return environments


def _solved(left: Tensor, a: Tensor, right: Tensor, source: Tensor, b: Tensor, sink: Tensor) -> Tensor:
    matrix = torch.einsum("axc,xnmy->acnmy", left, a)
    matrix = torch.einsum("acnmy,byd->anbcmd", matrix, right)
    vector = torch.einsum("ac,cnd,bd->anb", source, b, sink)
    size = vector.numel()
    return torch.linalg.solve(matrix.reshape(size, size), vector.flatten()).reshape(vector.shape)
