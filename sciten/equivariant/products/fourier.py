"""Products of signals on the sphere as products of Fourier series on a torus (Luo et al., ICLR 2024, section 3.2).

With the polar angle continued to a full turn, f(-θ, φ) = f(θ, φ + π), a signal of degree l is a trigonometric
polynomial of degree l in both angles. Series are multiplied by fast Fourier transforms; what maps coefficients of
harmonics to those of the series, and the product's series back under the weight sin θ, are exact matrices.
"""

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciten.equivariant.products.grids import in_pieces
from sciten.equivariant.sphere import harmonics_at
from sciten.tensor.tracing import is_traced


class FourierGrid:
    """The trilinear form of `grids.Grid` by way of the torus.

    Args:
        degrees: for each of the three signals the degrees of its coefficients, 2l + 1 coefficients each.
    """

    def __init__(self, degrees: tuple[tuple[int, ...], ...]) -> None:
        self._lmax = [max(d, default=0) for d in degrees]
        # Two factors have frequencies up to the sum of their degrees, and no three roles are known beforehand.
        self.bandwidth = sum(self._lmax) - min(self._lmax)
        self.size = 2 * self.bandwidth + 1
        self._series = [torch.from_numpy(_series(lmax)) for lmax in self._lmax]
        self._integrals = [torch.from_numpy(_integrals(lmax, self.bandwidth)) for lmax in self._lmax]
        self._places = [_Places.of(d, lmax) for d, lmax in zip(degrees, self._lmax, strict=True)]
        self._frequencies = torch.arange(-self.bandwidth, self.bandwidth + 1) % self.size

    def product(self, x: Tensor, y: Tensor, roles: tuple[int, int, int]) -> Tensor:
        """See `grids.Grid`; half precision is computed in float32, as there are no transforms of it."""
        if x.dtype in (torch.float16, torch.bfloat16):
            return self.product(x.float(), y.float(), roles).to(x.dtype)
        a, b, c = roles

        def piece(p: Tensor, q: Tensor) -> Tensor:
            return self._project(self._values(p, a) * self._values(q, b), c)

        if is_traced(x):
            # Compiled transforms fail for an empty batch (as of torch 2.13): a row of zeros goes first.
            return piece(*(torch.nn.functional.pad(t, (0, 0, 1, 0)) for t in (x, y)))[1:]
        return in_pieces(piece, x, y, self.size**2, len(self._places[c].given))

    def operations(self) -> int:
        """See `grids.Grid`; complex operations count as four, a transform of n numbers as 5/2 n log2 n."""
        n = self.size**2
        transforms = 3 * 2.5 * n * np.log2(n)
        series = sum(8 * (2 * lmax + 1) * (lmax + 1) ** 2 for lmax in self._lmax)
        return int(transforms + series + n)

    def _values(self, x: Tensor, role: int) -> Tensor:
        """Values on the torus, `[batch, size, size]`."""
        lmax, places = self._lmax[role], self._places[role].on(x.device)
        series = self._series[role].to(x.device, _complex(x))
        table = x.new_zeros(x.shape[0], (lmax + 1) ** 2).index_copy(1, places.given, x)
        positive, negative = (table[:, columns] for columns in (places.positive, places.negative))
        # [order, batch, degree] @ [order, degree, frequency]
        coefficients = torch.bmm(torch.complex(positive, -negative).permute(1, 0, 2), series)
        spectrum = coefficients.new_zeros(x.shape[0], self.size, self.bandwidth + 1)
        rows = self._frequencies[self.bandwidth - lmax : self.bandwidth + lmax + 1].to(x.device)
        spectrum = spectrum.index_put(
            (
                torch.arange(x.shape[0], device=x.device)[:, None, None],
                rows[:, None],
                torch.arange(lmax + 1, device=x.device),
            ),
            coefficients.permute(1, 2, 0),
        )
        return torch.fft.irfft2(spectrum, s=(self.size, self.size), norm="forward")

    def _project(self, values: Tensor, role: int) -> Tensor:
        lmax, places = self._lmax[role], self._places[role].on(values.device)
        integrals = self._integrals[role].to(values.device, _complex(values))
        spectrum = torch.fft.rfft2(values, norm="forward")[:, :, : lmax + 1]
        rows = self._frequencies.to(values.device)
        orders = torch.bmm(spectrum[:, rows].permute(2, 0, 1), integrals).permute(1, 0, 2)
        orders = orders.flatten(1).index_select(1, places.inside)  # [batch, (order, degree) with l >= m]
        table = values.new_zeros(values.shape[0], (lmax + 1) ** 2)
        table = table.index_copy(1, places.negative.flatten()[places.inside], -orders.imag)
        table = table.index_copy(1, places.positive.flatten()[places.inside], orders.real)
        return table[:, places.given]


@dataclass(frozen=True)
class _Places:
    """Where coefficients lie among all those up to a degree, `[(lmax + 1)**2]`.

    Attributes:
        given: those of the degrees that a signal has.
        positive, negative: (l, m) and (l, -m), each `[lmax + 1 (m), lmax + 1 (l)]`; for l < m anywhere.
        inside: positions in these two, flattened, that have l >= m.
    """

    given: Tensor
    positive: Tensor
    negative: Tensor
    inside: Tensor

    @classmethod
    def of(cls, degrees: tuple[int, ...], lmax: int) -> "_Places":
        given = [l * l + i for l in degrees for i in range(2 * l + 1)]
        m, l = torch.meshgrid(torch.arange(lmax + 1), torch.arange(lmax + 1), indexing="ij")
        middle, order = l * l + l, torch.minimum(m, l)
        inside = (l >= m).flatten().nonzero()[:, 0]
        return cls(torch.tensor(given, dtype=torch.int64), middle + order, middle - order, inside)

    def on(self, device: torch.device) -> "_Places":
        return _Places(*(t.to(device) for t in (self.given, self.positive, self.negative, self.inside)))


def _complex(like: Tensor) -> torch.dtype:
    return torch.complex128 if like.dtype == torch.float64 else torch.complex64


def _polar(lmax: int, theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Y_lm at azimuth zero over sqrt(2) for m > 0, `[m, l, n]`: half of what multiplies exp(±i m φ)."""
    points = np.stack([np.zeros_like(theta), np.cos(theta), np.sin(theta)], axis=1)
    values = harmonics_at(lmax, points)
    table = np.zeros((lmax + 1, lmax + 1, len(theta)))
    for l in range(lmax + 1):
        for m in range(l + 1):
            table[m, l] = values[:, l * l + l + m] / (sqrt(2) if m else 1)
    return table


def _series(lmax: int) -> NDArray[np.complex128]:
    """Fourier coefficients in θ of the polar parts, `[m, l, 2 lmax + 1]`, for coefficients x_lm - i x_l-m."""
    # Along a full turn the point itself runs through the pole and down the other side: sin θ < 0 is azimuth π.
    n = 2 * lmax + 2
    table = _polar(lmax, 2 * pi * np.arange(n) / n)
    spectrum = np.fft.fft(table, axis=-1) / n
    frequencies = np.arange(-lmax, lmax + 1) % n
    half = np.full(lmax + 1, 1 / sqrt(2))
    half[0] = 1.0
    return spectrum[:, :, frequencies] * half[:, None, None]


def _integrals(lmax: int, bandwidth: int) -> NDArray[np.complex128]:
    """∫ exp(i u θ) Y_lm sin θ dθ over the half turn, times 2π, `[m, 2 bandwidth + 1 (u), l]`.

    A signal's series holds cosines for even m and sines for odd m, with which the integrand is a polynomial in cos θ.
    """
    nodes, weights = np.polynomial.legendre.leggauss((lmax + bandwidth) // 2 + 2)
    theta = np.arccos(nodes)
    table = _polar(lmax, theta)
    u = np.arange(-bandwidth, bandwidth + 1)[:, None] * theta
    waves = np.where(np.arange(lmax + 1)[:, None, None] % 2 == 0, np.cos(u) + 0j, 1j * np.sin(u))
    double = np.full(lmax + 1, sqrt(2))
    double[0] = 1.0
    return 2 * pi * np.einsum("mun,mln,n,m->mul", waves, table, weights, double)
