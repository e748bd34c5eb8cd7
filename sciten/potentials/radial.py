"""Functions of an interatomic distance: bases, cutoffs, distance transforms, and the network on top of them."""

from collections.abc import Sequence
from itertools import pairwise
from math import exp, pi, sqrt

import torch
from torch import Tensor, nn

from sciten.errors import ConfigError

#: 1/sqrt(E[silu(x)²]) over standard normal x, as e3nn's `normalize2mom` estimates it from a fixed sample of a
#: million numbers; the exact value is 1.6765324..., but stored models carry the estimate in their weights.
SILU_NORMALISATION = 1.6791767923989418


def bessel_frequencies(count: int, cutoff: float) -> Tensor:
    """n pi / cutoff for n = 1..count, 1/Å, float64."""
    return torch.arange(1, count + 1, dtype=torch.float64) * (pi / cutoff)


def bessel(distances: Tensor, frequencies: Tensor, cutoff: float) -> Tensor:
    """Spherical Bessel functions of order zero, sqrt(2/cutoff) sin(w r)/r, `[n_edges, count]`.

    Gasteiger et al., DimeNet (ICLR 2020), eq. 7. `distances` are `[n_edges]`, positive.
    """
    return sqrt(2 / cutoff) * torch.sin(frequencies * distances[:, None]) / distances[:, None]


def polynomial_cutoff(distances: Tensor, cutoff: Tensor | float, power: int) -> Tensor:
    """A polynomial from 1 at zero to 0 at the cutoff, with vanishing first and second derivatives there.

    DimeNet, eq. 8. `cutoff` is one number or one for each distance.
    """
    x = distances / cutoff
    p = power
    tail = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    return torch.where(x < 1, tail, torch.zeros_like(tail))


def cosine_cutoff(distances: Tensor, cutoff: float) -> Tensor:
    """Half a period of the cosine, from 1 at zero to 0 at the cutoff, where its slope vanishes.

    Behler and Parrinello, Phys. Rev. Lett. 98, 146401 (2007), eq. 4.
    """
    tail = 0.5 * (torch.cos(distances * (pi / cutoff)) + 1)
    return torch.where(distances < cutoff, tail, torch.zeros_like(tail))


def exponential_normal_parameters(count: int, cutoff: float) -> tuple[Tensor, Tensor]:
    """Centres and inverse squared widths of `exponential_normal`, `[count]` each, float64.

    Unke and Meuwly, PhysNet (J. Chem. Theory Comput. 2019); the centres go from exp(-cutoff/Å) to 1, as in torchmd-net.
    """
    start = exp(-cutoff)
    centres = torch.linspace(start, 1, count, dtype=torch.float64)
    return centres, torch.full((count,), (2 / count * (1 - start)) ** -2, dtype=torch.float64)


def exponential_normal(distances: Tensor, centres: Tensor, inverse_widths: Tensor, cutoff: float) -> Tensor:
    """Gaussians of exp(-5 r / cutoff) under the cosine cutoff, `[n_edges, count]` (PhysNet, eq. 7)."""
    decay = torch.exp(distances * (-5 / cutoff))[:, None]
    return cosine_cutoff(distances, cutoff)[:, None] * torch.exp(-inverse_widths * (decay - centres) ** 2)


def agnesi(distances: Tensor, bond_lengths: Tensor) -> Tensor:
    """The Agnesi transform, which maps distances to (0, 1) with most resolution around the bond length.

    Witt et al., J. Chem. Phys. 159, 164101 (2023). `bond_lengths` are half the sums of covalent radii, Å.
    """
    q, p, a = 0.9183, 4.5791, 1.0805
    x = distances / bond_lengths
    return 1 / (1 + a * x**q / (1 + x ** (q - p)))


class RadialNetwork(nn.Module):
    """A perceptron with SiLU between its layers and none after the last, e3nn's `FullyConnectedNet`.

    Args:
        widths: sizes of input, hidden layers and output.

    Weights are `weight_{n}`, `[widths[n], widths[n + 1]]`, applied with 1/sqrt(widths[n]); the activation is scaled
    to unit second moment.
    """

    def __init__(self, widths: Sequence[int], *, generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise ConfigError(f"RadialNetwork: expected at least two positive widths, got {list(widths)}")
        self.widths = tuple(widths)
        for n, (a, b) in enumerate(pairwise(widths)):
            weight = torch.randn(a, b, generator=generator, dtype=torch.float64)
            self.register_parameter(f"weight_{n}", nn.Parameter(weight.to(dtype)))

    def forward(self, basis: Tensor) -> Tensor:
        """`[n_edges, widths[0]]` to `[n_edges, widths[-1]]`."""
        last = len(self.widths) - 2
        value = basis
        for n in range(last + 1):
            value = value @ (getattr(self, f"weight_{n}") / sqrt(self.widths[n]))
            if n < last:
                value = SILU_NORMALISATION * nn.functional.silu(value)
        return value
