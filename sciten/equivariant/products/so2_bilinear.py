"""The SO(2) product seen as a bilinear product, of features and the harmonics of an edge."""

from math import pi, sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call

from sciten.equivariant.irreps import Irreps
from sciten.equivariant.products.base import from_channels, to_channels
from sciten.equivariant.sphere import harmonics_at, quadrature

if TYPE_CHECKING:  # the product makes its own adapter
    from sciten.equivariant.products.so2 import SO2Product


class SO2Bilinear:
    """`SO2Product` as a product of features and one set of spherical harmonics, `[batch, irreps.dim]` each.

    Its messages, as functions of the direction of the edge, hold degrees up to lmax_in + lmax_out and no others, also
    where orders are left out: whatever SO(2) allows in the frame of the edge is a sum of couplings. So a quadrature
    finds the map exactly, and the product of features with harmonics Y(r) (component normalisation) is what the
    `SO2Product` makes of an edge along r.

    Attributes:
        irreps_in1, irreps_in2, irreps_out: features, harmonics of degrees 0..lmax_in + lmax_out, and messages, in
            e3nn's layout.
        weight_numel: number of weights of the product.
        conserves_parity: whether it commutes with inversion, where every degree has its natural parity.
    """

    def __init__(self, product: "SO2Product") -> None:
        self._product = product
        self.irreps_in1 = Irreps.natural(product.lmax_in, product.channels_in)
        self.irreps_in2 = Irreps.natural(product.lmax_in + product.lmax_out)
        self.irreps_out = Irreps.natural(product.lmax_out, product.channels_out)
        self.conserves_parity = product.parity
        self._shapes = {name: parameter.shape for name, parameter in product.named_parameters()}
        self.weight_numel = sum(shape.numel() for shape in self._shapes.values())

    def __call__(self, x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """`[batch, irreps_in1.dim]` and `[batch, irreps_in2.dim]` to `[batch, irreps_out.dim]`.

        Args:
            x: features.
            y: harmonics, or any other features of their irreps.
            weight: in place of the product's own, `[weight_numel]`, by order.
        """
        if weight is None:
            weight = torch.cat([p.detach().flatten() for p in self._product.parameters()]).to(x)
        return torch.einsum("zi,zj,ijk->zk", x, y, self.coefficients(weight))

    def coefficients(self, weight: Tensor) -> Tensor:
        """The map itself, `[irreps_in1.dim, irreps_in2.dim, irreps_out.dim]`, differentiable by the weights."""
        rule = quadrature(2 * self.irreps_in2.lmax)
        # Orthonormal harmonics times sqrt(4 pi) are component-normalised; weights add up to 4 pi.
        harmonics = harmonics_at(self.irreps_in2.lmax, rule.points) * rule.weights[:, None] / sqrt(4 * pi)
        features = torch.eye(self.irreps_in1.dim).to(weight).repeat_interleave(len(rule), dim=0)
        directions = torch.from_numpy(rule.points).to(weight).repeat(self.irreps_in1.dim, 1)
        messages = self.messages(features, directions, weight).unflatten(0, (-1, len(rule)))
        return torch.einsum("ipk,pj->ijk", messages, torch.from_numpy(harmonics).to(weight))

    def messages(self, features: Tensor, vectors: Tensor, weight: Tensor) -> Tensor:
        """What the product makes of features `[batch, irreps_in1.dim]` and edges `[batch, 3]`, in e3nn's layout."""
        parts = weight.split([shape.numel() for shape in self._shapes.values()])
        weights = {
            name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }
        inputs = to_channels(features, self.irreps_in1).transpose(1, 2), vectors
        return from_channels(functional_call(self._product, weights, inputs).transpose(1, 2), self.irreps_out)
