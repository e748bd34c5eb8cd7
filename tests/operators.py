"""A small neural operator with known behaviour, for tests that need an operator but not a particular one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sciten.neural_operators import NeuralOperator


class ToyOperator(NeuralOperator):
    """At each point, a linear map of the scaled channels there."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        periodic: Sequence[bool] = (True,),
        input_scale: Sequence[tuple[float, float]] | None = None,
        output_scale: Sequence[tuple[float, float]] | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(in_channels, out_channels, periodic, input_scale, output_scale)
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, generator=generator))
        self.to(dtype)

    def arguments(self) -> dict[str, Any]:
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "periodic": list(self.periodic),
            **self.scales(),
        }

    def transform(self, fields: Tensor) -> Tensor:
        return torch.einsum("oi,bi...->bo...", self.weight, fields)


TOYS = {"ToyOperator": ToyOperator}
