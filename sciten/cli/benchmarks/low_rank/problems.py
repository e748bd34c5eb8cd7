"""The problems of the benchmark."""

import torch
from torch import Tensor

from sciten.pde import Grid, Operator, advection, divergence, gradient, laplacian
from sciten.pde.assemble import assemble, separable_matrices
from sciten.tensor import TensorTrain


def poisson(d: int, n: int) -> tuple[TensorTrain, TensorTrain, list[Tensor]]:
    """-Δu = 1 on the unit cube with u = 0 on its faces: operator, right side, and the matrix of each axis."""
    grid = Grid.uniform([(0.0, 1.0)] * d, n)
    matrices = separable_matrices(-laplacian(grid))
    assert matrices is not None
    return assemble(-laplacian(grid)).matrix, TensorTrain.ones(grid.shape), matrices


def drift_diffusion(d: int, n: int) -> tuple[TensorTrain, TensorTrain]:
    """-∇·(k∇u) + b·∇u = 1 with k = 1 + exp(-|x - ½|²) (1 + ½ sin 2πΣx) and b = (1, ..., 1), u = 0 on the faces."""
    grid = Grid.uniform([(0.0, 1.0)] * d, n)
    operator: Operator = -divergence(bump, gradient(grid)) + advection(grid, 1.0)
    return assemble(operator, 1e-10).matrix, TensorTrain.ones(grid.shape)


def bump(x: Tensor) -> Tensor:
    """The coefficient k at `[n_points, d]`."""
    return 1 + torch.exp(-(x - 0.5).square().sum(-1)) * (1 + 0.5 * torch.sin(2 * torch.pi * x.sum(-1)))
