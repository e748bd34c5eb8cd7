"""Linear maps that mix channels within each degree and so commute with rotations."""

from collections.abc import Mapping
from math import sqrt

import torch
from torch import Tensor, nn


class DegreeLinear(nn.Module):
    """One weight matrix per degree, e3nn's `Linear` on features `[n_atoms, components, channels]`.

    Args:
        inputs: for each degree l, the number of input channels; a degree's block holds 2l + 1 components.
        out_channels: channels of every output degree.
        generator: source of the initial weights, standard normal.

    Weights are `weight_{l}`, `[inputs[l], out_channels]`, applied with the factor 1/sqrt(inputs[l]).
    """

    def __init__(
        self, inputs: Mapping[int, int], out_channels: int, *, generator: torch.Generator, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.inputs = dict(inputs)
        for l, width in self.inputs.items():
            weight = torch.randn(width, out_channels, generator=generator, dtype=torch.float64)
            self.register_parameter(f"weight_{l}", nn.Parameter(weight.to(dtype)))

    def forward(self, features: Tensor) -> Tensor:
        """Mixed features, `[n_atoms, sum of 2l + 1, out_channels]`.

        `features` holds the degrees in order; a block of degree l may be laid out `[2l + 1, paths, channels]` with
        paths * channels = inputs[l], on which mixing paths and channels is a single matrix product.
        """
        outputs = []
        start = 0
        channels = features.shape[-1]
        for l, width in self.inputs.items():
            stop = start + (2 * l + 1) * (width // channels)
            block = features[:, start:stop].reshape(-1, width)
            weight = getattr(self, f"weight_{l}")
            outputs.append(
                (block @ (weight / sqrt(width))).view(features.shape[0], 2 * l + 1, weight.shape[1])
            )
            start = stop
        return torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]


class ElementLinear(nn.Module):
    """One weight matrix per degree and chemical element: e3nn's `FullyConnectedTensorProduct` with one-hot elements.

    Weights are `weight_{l}`, `[channels, n_elements, channels]`, applied with the factor 1/sqrt(channels * n_elements).
    """

    def __init__(
        self,
        degrees: tuple[int, ...],
        channels: int,
        n_elements: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.degrees = degrees
        self.scale = 1 / sqrt(channels * n_elements)
        for l in degrees:
            weight = torch.randn(channels, n_elements, channels, generator=generator, dtype=torch.float64)
            self.register_parameter(f"weight_{l}", nn.Parameter(weight.to(dtype)))

    def forward(self, features: Tensor, groups: list[tuple[int, Tensor]]) -> Tensor:
        """Mixed features `[n_atoms, sum of 2l + 1, channels]`; `groups` lists each element present with its atoms.

        The degrees of this layer are the leading ones of `features`; further components are not read.
        """
        components = sum(2 * l + 1 for l in self.degrees)
        order = torch.cat([atoms for _, atoms in groups])
        mixed = [self._mix(features[atoms, :components], element) for element, atoms in groups]
        inverse = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        return torch.cat(mixed)[inverse]

    def _mix(self, features: Tensor, element: int) -> Tensor:
        blocks = features.split([2 * l + 1 for l in self.degrees], dim=1)
        mixed = [
            block @ (getattr(self, f"weight_{l}")[:, element] * self.scale)
            for l, block in zip(self.degrees, blocks, strict=True)
        ]
        return torch.cat(mixed, dim=1) if len(mixed) > 1 else mixed[0]
