"""One message-passing step of MACE: what an atom gathers from its neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sciten.equivariant.layers.linear import DegreeLinear, ElementLinear
from sciten.equivariant.products.base import SignalProduct
from sciten.equivariant.products.channelwise import convolution_map, convolution_paths, paths_into
from sciten.equivariant.products.gaunt import GauntProduct
from sciten.potentials.mace.gaunt import GauntConvolution
from sciten.potentials.radial import RadialNetwork
from sciten.tensor.multilinear import Executor, Index, evaluate
from sciten.tensor.multilinear.interpolation import Table, evaluate_interpolated


@dataclass(frozen=True)
class Edges:
    """What an interaction needs to know of the edges.

    Attributes:
        distances: `[n_edges]`, Å.
        harmonics: `[n_edges, (lmax + 1)**2]`.
        basis: radial basis, cut off smoothly, `[n_edges, bessel_functions]`; empty where tables stand in for it.
        indices: "senders" and "receivers".
    """

    distances: Tensor
    harmonics: Tensor
    basis: Tensor
    indices: dict[str, Index]


class ClebschGordanConvolution:
    """The edge convolution by couplings: all paths between sender and edge harmonics, e3nn's "uvu"."""

    def __init__(self, lmax_in: int, lmax_edge: int, lmax_out: int) -> None:
        paths = convolution_paths(lmax_in, lmax_edge, lmax_out)
        self.map = convolution_map(lmax_in, lmax_edge, lmax_out)
        self.n_paths = len(paths)
        #: for each output degree how many paths end in it, side by side in the message
        self.inputs = {l: len(paths_into(paths, l)) for l in range(lmax_out + 1)}

    def arguments(self, harmonics: Tensor, features: Tensor) -> list[Tensor]:
        """What the map takes beside the path weights."""
        return [harmonics, features]

    def message(self, gathered: Tensor) -> Tensor:
        """The result of the map, which holds components already."""
        return gathered


class Interaction(nn.Module):
    """mace-torch's `RealAgnostic[Density][Residual]InteractionBlock`s.

    Args:
        degree_in, degree_out: highest degree of the node features before and after the layer.
        lmax: highest degree of harmonics and messages.
        residual: whether the input, mixed per element, is added to the layer's output; otherwise the message itself
            is mixed per element.
        density: whether messages are divided by one plus a learned density instead of the average neighbour count.
        product: how features of the sender and harmonics of the edge are multiplied.
    """

    def __init__(
        self,
        degree_in: int,
        degree_out: int,
        *,
        lmax: int,
        channels: int,
        n_elements: int,
        bessel_functions: int,
        radial_mlp: Sequence[int],
        average_neighbors: float,
        residual: bool,
        density: bool,
        product: SignalProduct,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.average_neighbors = average_neighbors
        kind = GauntConvolution if isinstance(product, GauntProduct) else ClebschGordanConvolution
        self.convolution = kind(degree_in, lmax, lmax)
        self.channels = channels
        into = {l: paths * channels for l, paths in self.convolution.inputs.items()}
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.linear_up = DegreeLinear(dict.fromkeys(range(degree_in + 1), channels), channels, **options)
        self.radial = RadialNetwork(
            [bessel_functions, *radial_mlp, self.convolution.n_paths * channels], **options
        )
        self.linear = DegreeLinear(into, channels, **options)
        self.density = RadialNetwork([bessel_functions, 1], **options) if density else None
        degrees = range(min(degree_in, degree_out) + 1) if residual else range(lmax + 1)
        self.skip = ElementLinear(tuple(degrees), channels, n_elements, **options)

    def forward(
        self,
        features: Tensor,
        edges: Edges,
        groups: list[tuple[int, Tensor]],
        *,
        table: Table | None = None,
        executor: Executor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """The messages `[n_atoms, (lmax + 1)**2, channels]` and, for a residual layer, the mixed input features.

        With a `table` of the radial network (see `tabulate`), weights are looked up by distance.
        """
        map_ = self.convolution.map
        arguments = self.convolution.arguments(edges.harmonics, self.linear_up(features))
        if table is not None:
            # Beyond the cutoff, where a Verlet skin may reach, weights stay what they are at the cutoff: zero.
            distances = edges.distances.clamp(max=table.end)
            (message,) = evaluate_interpolated(map_, table, distances, arguments, edges.indices)
        else:
            weights = self.path_weights(edges.basis)
            (message,) = evaluate(map_, [weights, *arguments], edges.indices, executor=executor)
        message = self.linear(self.convolution.message(message)) / self.neighbors(edges)
        if self.residual:
            return message, self.skip(features, groups)
        return self.skip(message, groups), None

    def path_weights(self, basis: Tensor) -> Tensor:
        """The weight of each path and channel on each edge, `[n_edges, n_paths, channels]`."""
        return self.radial(basis).view(len(basis), self.convolution.n_paths, self.channels)

    def neighbors(self, edges: Edges) -> Tensor | float:
        """What messages are divided by: the average neighbour count, or one plus the density at each atom."""
        if self.density is None:
            return self.average_neighbors
        receivers = edges.indices["receivers"]
        density = torch.tanh(self.density(edges.basis) ** 2)
        return 1 + density.new_zeros(receivers.size, 1).index_add(0, receivers.rows, density)[:, :, None]
