"""Linear layers whose initial weights come from a generator, the same ones in every dtype."""

from math import sqrt

import torch
from torch import Tensor, nn


def uniform_linear(
    inputs: int, outputs: int, *, bias: bool = True, generator: torch.Generator, dtype: torch.dtype
) -> nn.Linear:
    """A layer that begins as torch's own do: weights and biases uniform within 1/sqrt(inputs) of zero."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias, dtype=dtype)
    for parameter in (layer.weight, *((layer.bias,) if bias else ())):
        _fill(parameter, 1 / sqrt(inputs), generator)
    return layer


def xavier_linear(inputs: int, outputs: int, *, generator: torch.Generator, dtype: torch.dtype) -> nn.Linear:
    """A layer that begins with weights uniform within sqrt(6 / (inputs + outputs)) of zero and without bias.

    Glorot and Bengio (AISTATS 2010), eq. 16.
    """
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=dtype)
    _fill(layer.weight, sqrt(6 / (inputs + outputs)), generator)
    nn.init.zeros_(layer.bias)
    return layer


def _fill(parameter: Tensor, bound: float, generator: torch.Generator) -> None:
    values = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        parameter.copy_((2 * values - 1) * bound)
