"""MACE's two products in the Gaunt way: messages and their powers as signals on the sphere, multiplied by points."""

from functools import cache
from math import pi, sqrt

import numpy as np
import torch
from torch import Tensor, nn

from sciten.equivariant.layers.linear import DegreeLinear
from sciten.equivariant.products.gaunt import Method
from sciten.equivariant.products.gaunt_many_body import GauntPowers
from sciten.equivariant.products.grids import Constants
from sciten.equivariant.sphere import harmonics_at, quadrature
from sciten.tensor.multilinear import Executor, Index, Multilinear, Operand, Term


class GauntManyBodyProduct(nn.Module):
    """Powers of an atom's message on the sphere, in the place of the symmetric contraction, followed by a linear map.

    The result is the sum over ν of v_νL times the degree-L part of F_1 F_2 ... F_ν, each F_i being the message with a
    weight w_il for each degree. Weights are `weight_in` `[n_elements, correlation, lmax + 1, channels]` and
    `weight_out` `[n_elements, correlation, degree_out + 1, channels]`: one for each chemical element, factor, degree
    and channel.
    """

    weight_in: Tensor
    weight_out: Tensor

    def __init__(
        self,
        lmax: int,
        degree_out: int,
        correlation: int,
        *,
        channels: int,
        n_elements: int,
        method: Method,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.degrees = (lmax, degree_out)
        for name, lowest, degree in (
            ("weight_in", 1.0, lmax),
            ("weight_out", 1 / sqrt(correlation), degree_out),
        ):
            shape = (n_elements, correlation, degree + 1, channels)
            values = torch.randn(shape, generator=generator, dtype=torch.float64) * lowest
            self.register_parameter(name, nn.Parameter(values.to(dtype)))
        self.powers = GauntPowers(lmax, degree_out, correlation, method) if correlation > 1 else None
        self.linear = DegreeLinear(
            dict.fromkeys(range(degree_out + 1), channels), channels, generator=generator, dtype=dtype
        )

    def coefficients(self, elements: Tensor) -> Tensor:
        """The weights of the given elements by component, `[len(elements), correlation, n_components, channels]`."""
        sides = zip((self.weight_in, self.weight_out), self.degrees, strict=True)
        return torch.cat([_by_component(weight[elements], lmax) for weight, lmax in sides], dim=2)

    def signs_from_e3nn_04(self) -> dict[str, Tensor]:
        """No couplings, hence no signs to turn."""
        return {}

    def forward(
        self, message: Tensor, coefficients: Tensor, species: Index, executor: Executor | None = None
    ) -> Tensor:
        """`[n_atoms, (lmax + 1)**2, channels]` to `[n_atoms, (degree_out + 1)**2, channels]`.

        `species` says which row of `coefficients` belongs to each atom.
        """
        n_in, n_out = ((lmax + 1) ** 2 for lmax in self.degrees)
        weight_in, weight_out = coefficients[species.rows].split([n_in, n_out], dim=2)
        factors = [message * w for w in weight_in.unbind(1)]
        powers = [factors[0][:, :n_out]]
        if self.powers is not None:
            powers += self.powers.products(factors)
        total = sum(w * power for w, power in zip(weight_out.unbind(1), powers, strict=True))
        return self.linear(total)  # type: ignore[no-any-return]


def _by_component(weight: Tensor, lmax: int) -> Tensor:
    """From one weight for each degree, `[..., lmax + 1, channels]`, to one for each component."""
    degrees = torch.tensor([l for l in range(lmax + 1) for _ in range(2 * l + 1)], device=weight.device)
    return weight.index_select(-2, degrees)


class GauntConvolution:
    """The edge convolution on the sphere: features of the sender, times a filter around the edge, added at the
    receiver.

    The filter is Σ_l w_l(r) P_l(r̂ · p) at the points p of a grid, so that there is one weight for each degree of the
    edge and channel. Senders are put on the grid once for all their edges, and what a receiver has gathered is taken
    off it once; each term of the map stays on one point.
    """

    def __init__(self, lmax_in: int, lmax_edge: int, lmax_out: int) -> None:
        self.lmax_edge = lmax_edge
        rule = quadrature(lmax_in + lmax_edge + lmax_out)
        self.points = len(rule)
        values = harmonics_at(lmax_in, rule.points) * (sqrt(4 * pi) / (lmax_in + 1))
        back = (harmonics_at(lmax_out, rule.points) * rule.weights[:, None]).T * (
            (lmax_in + lmax_edge + 1) / sqrt(4 * pi)
        )
        # sqrt(2l + 1) P_l(r̂ · p) is a sum over the orders of component-normalised harmonics of r̂ and p.
        edge = np.zeros(((lmax_edge + 1) ** 2, self.points * (lmax_edge + 1)))
        harmonics = harmonics_at(lmax_edge, rule.points) * sqrt(4 * pi)
        for l in range(lmax_edge + 1):
            orders = slice(l * l, (l + 1) ** 2)
            edge[orders, l :: lmax_edge + 1] = harmonics[:, orders].T / sqrt((2 * l + 1) * (lmax_edge + 1))
        self._matrices = Constants(values, back, edge)
        self.map = _filter_map(self.points, lmax_edge)
        self.n_paths = lmax_edge + 1
        self.inputs = dict.fromkeys(range(lmax_out + 1), 1)

    def arguments(self, harmonics: Tensor, features: Tensor) -> list[Tensor]:
        """What the map takes beside the path weights, from harmonics `[n_edges, ...]` and features of atoms."""
        values, _, edge = self._matrices.like(features)
        return [harmonics @ edge, values @ features]

    def message(self, gathered: Tensor) -> Tensor:
        """The result of the map as components, `[n_atoms, (lmax_out + 1)**2, channels]`."""
        return self._matrices.like(gathered)[1] @ gathered


@cache
def _filter_map(points: int, lmax: int) -> Multilinear:
    """The product with the filter on each point, added up at the receivers.

    Arguments: path weights `[n_edges, lmax + 1, channels]`, the filter's angular part `[n_edges, points (lmax + 1)]`
    and values of the senders, `[n_atoms, points, channels]`.
    """
    terms = tuple(
        Term(1.0, ((0, l), (1, p * (lmax + 1) + l), (2, p)), (0, p))
        for p in range(points)
        for l in range(lmax + 1)
    )
    arguments = (
        Operand(lmax + 1),
        Operand(points * (lmax + 1), channels=False),
        Operand(points, index="senders"),
    )
    return Multilinear(arguments, (Operand(points, index="receivers"),), terms)
