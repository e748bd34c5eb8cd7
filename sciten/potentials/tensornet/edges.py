"""What TensorNet knows of the edges, and how sums over neighbours are weighted by functions of their distance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from sciten.potentials.linear import uniform_linear
from sciten.tensor.multilinear import Executor, Index, Multilinear, evaluate
from sciten.tensor.multilinear.interpolation import Table, evaluate_interpolated


@dataclass(frozen=True)
class Radial:
    """A radial basis where it is needed.

    Attributes:
        basis: `[n, radial_functions]`.
        cutoff: cutoff function, `[n, 1, 1]`.
    """

    basis: Tensor
    cutoff: Tensor


@dataclass(frozen=True)
class Edges:
    """What the layers need to know of the edges.

    Attributes:
        distances: `[n_edges]`, Å, at most the cutoff.
        harmonics: `[n_edges, 9]`, degrees 0..2, component-normalised.
        pairs: the basis at the distance of each pair; empty where tables stand in for it.
        own: the basis at distance zero, one row: an atom is also a neighbour of itself.
        indices: "senders", "receivers", "pairs" (of each edge) and "elements" (the pair of elements of each edge).
    """

    distances: Tensor
    harmonics: Tensor
    pairs: Radial
    own: Radial
    indices: dict[str, Index]


class RadialProjection(nn.Module):
    """One linear function of the radial basis for each degree, `[n, 3, channels]`, under the cutoff function."""

    def __init__(
        self, radial_functions: int, channels: int, *, generator: torch.Generator, dtype: torch.dtype
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.channels = channels
        self.linear = uniform_linear(radial_functions, 3 * channels, **options)

    def forward(self, radial: Radial) -> Tensor:
        """Weights of each degree and channel, `[n, 3, channels]`."""
        return self.linear(radial.basis).view(-1, 3, self.channels) * radial.cutoff


class RadialPerceptron(nn.Module):
    """A perceptron on the radial basis, SiLU after each of its three layers, under the cutoff function."""

    def __init__(
        self, radial_functions: int, channels: int, *, generator: torch.Generator, dtype: torch.dtype
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.channels = channels
        widths = (radial_functions, channels, 2 * channels, 3 * channels)
        self.layers = nn.ModuleList(uniform_linear(a, b, **options) for a, b in pairwise(widths))

    def forward(self, radial: Radial) -> Tensor:
        """Weights of each degree and channel, `[n, 3, channels]`."""
        value = radial.basis
        for layer in self.layers:
            value = nn.functional.silu(layer(value))
        return value.view(-1, 3, self.channels) * radial.cutoff


def weighted_sum(
    map_of: Callable[[str | None], Multilinear],
    network: nn.Module,
    arguments: Sequence[Tensor],
    edges: Edges,
    *,
    table: Table | None = None,
    executor: Executor | None = None,
) -> tuple[Tensor, ...]:
    """A sum over neighbours, whose first argument are a radial network's weights.

    Weights are computed once for each pair, or with a `table` of the network looked up for each edge.

    Args:
        map_of: the map, given the name of the index that its weights are gathered through.
        network: gives the weights.
        arguments: the map's further arguments.
        edges: of the batch.
        table: of the network.
        executor: who computes; tables choose for themselves.
    """
    if table is not None:
        return evaluate_interpolated(map_of(None), table, edges.distances, arguments, edges.indices)
    weights = network(edges.pairs)
    return evaluate(map_of("pairs"), [weights, *arguments], edges.indices, executor=executor)
