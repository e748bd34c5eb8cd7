"""Small linear systems with solutions by dense algebra."""

import torch
from torch import Tensor

from sciten.pde.solvers.exponential_sums import kronecker_sum
from sciten.tensor import TensorTrain


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=dtype)


def operator(shape: list[int], dtype: torch.dtype, seed: int = 0) -> TensorTrain:
    """Positive definite, not Hermitian: a Kronecker sum and a small perturbation of rank 2."""
    parts = [random(n, n, dtype=dtype, seed=seed + k) for k, n in enumerate(shape)]
    dominant = kronecker_sum(
        [p @ p.mH + n * torch.eye(n, dtype=dtype) for p, n in zip(parts, shape, strict=True)]
    )
    small = TensorTrain(
        tuple(
            random(1 if k == 0 else 2, n, n, 1 if k == len(shape) - 1 else 2, dtype=dtype, seed=seed + 50 + k)
            for k, n in enumerate(shape)
        ),
        operator=True,
    )
    return dominant + small * (0.1 * float(dominant.norm()) / float(small.norm()))


def dense(matrix: TensorTrain, b: TensorTrain) -> Tensor:
    size = b.full().numel()
    return torch.linalg.solve(matrix.full().reshape(size, size), b.full().reshape(-1)).reshape(b.shape)
