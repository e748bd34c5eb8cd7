"""The layers of TensorNet: the embedding of edge vectors as matrices, the interactions, and the readout."""

from itertools import pairwise
from math import sqrt
from typing import Any, cast

import torch
from torch import Tensor, nn

from sciten.potentials.linear import uniform_linear, xavier_linear
from sciten.potentials.tensornet.algebra import (
    DEGREES,
    Group,
    Matrices,
    embedding_map,
    message_map,
    product_map,
    squared_norms,
    update_map,
)
from sciten.potentials.tensornet.edges import Edges, RadialPerceptron, RadialProjection, weighted_sum
from sciten.tensor.multilinear import Executor, Multilinear, evaluate
from sciten.tensor.multilinear.interpolation import Table


class DegreeMixing(nn.Module):
    """One linear map of the channels for each degree, without bias."""

    def __init__(self, channels: int, *, generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.layers = nn.ModuleList(
            uniform_linear(channels, channels, bias=False, **options) for _ in DEGREES
        )

    def forward(self, matrices: Matrices) -> Matrices:
        """The parts of the mixed matrices, shapes unchanged."""
        return cast(Matrices, tuple(layer(x) for layer, x in zip(self.layers, matrices, strict=True)))


class Embedding(nn.Module):
    """Matrices of each atom from the elements and directions of its neighbours (TensorNet, section 3.2).

    Args:
        n_elements: number of elements.
        channels: matrices per atom.
        radial_functions: size of the radial basis.
    """

    def __init__(
        self,
        n_elements: int,
        channels: int,
        radial_functions: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.channels = channels
        elements = torch.randn(n_elements, channels, generator=generator, dtype=torch.float64)
        self.elements = nn.Parameter(elements.to(dtype))
        self.pair = uniform_linear(2 * channels, channels, **options)
        self.radial = RadialProjection(radial_functions, channels, **options)
        self.norm = nn.LayerNorm(channels, dtype=dtype)
        widths = (channels, 2 * channels, 3 * channels)
        self.gates = nn.ModuleList(uniform_linear(a, b, **options) for a, b in pairwise(widths))
        self.mixing = DegreeMixing(channels, **options)

    def forward(
        self,
        elements: Tensor,
        species: Tensor,
        edges: Edges,
        *,
        table: Table | None = None,
        executor: Executor | None = None,
    ) -> Matrices:
        """Matrices of each atom.

        Args:
            elements: the elements present, as positions in the model's list.
            species: `[n_atoms]`, each atom's position in `elements`.
            edges: of the batch; its index "elements" counts pairs of receiver and sender in rows of `elements`.
            table: of the radial projection.
            executor: who computes.
        """
        features = self.pair_features(elements)
        x0, x1, x2 = weighted_sum(
            embedding_map,
            self.radial,
            [features.view(-1, 1, self.channels), edges.harmonics],
            edges,
            table=table,
            executor=executor,
        )
        # At distance zero there is no direction: the atom itself adds a multiple of the identity, of norm sqrt(3).
        own = sqrt(3) * features.diagonal().T * self.radial(edges.own)[:, 0]
        matrices = (x0 + own[species][:, None], x1, x2)
        gates = self.norm(squared_norms(matrices, executor=executor)[:, 0])
        for layer in self.gates:
            gates = nn.functional.silu(layer(gates))
        return _scaled(self.mixing(matrices), gates.view(-1, 3, self.channels))

    def pair_features(self, elements: Tensor) -> Tensor:
        """Features of each pair of receiver and sender element, `[len(elements), len(elements), channels]`."""
        ours = self.elements[elements]
        of_receiver, of_sender = self.pair.weight.split(self.channels, dim=1)
        receivers, senders = ours @ of_receiver.T, ours @ of_sender.T
        return receivers[:, None] + senders + self.pair.bias


class Interaction(nn.Module):
    """One step of message passing and matrix products (TensorNet, section 3.2).

    Args:
        channels: matrices per atom.
        radial_functions: size of the radial basis.
        group: under which the layer is equivariant.
    """

    def __init__(
        self,
        channels: int,
        radial_functions: int,
        group: Group,
        *,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.group = group
        self.radial = RadialPerceptron(radial_functions, channels, **options)
        self.mixing_before = DegreeMixing(channels, **options)
        self.mixing_after = DegreeMixing(channels, **options)

    def forward(
        self,
        matrices: Matrices,
        edges: Edges,
        state: Tensor | None,
        *,
        table: Table | None = None,
        executor: Executor | None = None,
    ) -> Matrices:
        """Matrices after the step.

        Args:
            matrices: of each atom.
            edges: of the batch.
            state: `[n_atoms, 1]`, what charge and spin add to one in the products; None for nothing.
            table: of the radial perceptron.
            executor: who computes.
        """
        matrices = _bounded(matrices, executor)
        ours = self.mixing_before(matrices)
        sums = weighted_sum(message_map, self.radial, ours, edges, table=table, executor=executor)
        weights = self.radial(edges.own)  # an atom also hears itself, at distance zero
        own = _scaled(ours, weights.expand(len(ours[0]), -1, -1))
        messages = cast(Matrices, tuple(x + y for x, y in zip(sums, own, strict=True)))
        # torchmd-net leaves charges out of the first product of its SO(3) models.
        in_product = state if self.group == "O(3)" else None
        product = product_map(self.group, with_state=in_product is not None)
        products = _evaluate(product, ours, messages, in_product, executor)
        change = self.mixing_after(_bounded(products, executor))
        return _evaluate(update_map(with_state=state is not None), matrices, change, state, executor)


class Readout(nn.Module):
    """Energies from the squared norms of the three parts of each matrix (TensorNet, section 3.3)."""

    def __init__(self, channels: int, *, generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.norm = nn.LayerNorm(3 * channels, dtype=dtype)
        self.linear = uniform_linear(3 * channels, channels, **options)
        self.hidden = xavier_linear(channels, channels // 2, **options)
        self.energy = xavier_linear(channels // 2, 1, **options)

    def forward(self, matrices: Matrices, executor: Executor | None = None) -> Tensor:
        """One number per atom, `[n_atoms]`."""
        value = self.norm(squared_norms(matrices, by_degree=True, executor=executor).flatten(1))
        for layer in (self.linear, self.hidden):
            value = nn.functional.silu(layer(value))
        return self.energy(value)[:, 0]  # type: ignore[no-any-return]


def _evaluate(
    map_: Multilinear, left: Matrices, right: Matrices, state: Tensor | None, executor: Executor | None
) -> Matrices:
    last = () if state is None else (state,)
    return cast(Matrices, evaluate(map_, [*left, *right, *last], executor=executor))


def _bounded(matrices: Matrices, executor: Executor | None) -> Matrices:
    """Matrices divided by one plus their squared norm."""
    scale = 1 / (squared_norms(matrices, executor=executor) + 1)
    return _scaled(matrices, scale.expand(-1, 3, -1))


def _scaled(matrices: Matrices, factors: Tensor) -> Matrices:
    """Each part times its row of factors `[n_atoms, 3, channels]`."""
    return cast(Matrices, tuple(x * factors[:, l : l + 1] for l, x in enumerate(matrices)))
