"""Powers of signals on the sphere: the many-body form of the Gaunt product.

Luo et al., ICLR 2024, section 3.3: a product of several signals is formed point by point, where the Clebsch-Gordan way
couples them one after the other.
"""

from math import pi, sqrt

import torch
from torch import Tensor

from sciten.equivariant.products.gaunt import GauntProduct, Method
from sciten.equivariant.products.grids import Constants
from sciten.equivariant.sphere import harmonics_at, quadrature


class GauntPowers:
    """The products x1 x2, x1 x2 x3, ... of signals with equal degrees, cut off at a lower degree.

    Signals lie `[batch, (lmax + 1)**2, channels]`. They are scaled so that components of unit variance make values of
    about unit variance and those, components of about unit variance again: on the sphere itself, harmonics are divided
    by their root mean square over all degrees.

    Args:
        lmax: degree of the factors.
        lmax_out: degree of the results.
        factors: how many, at least 2.
        method: "fourier" multiplies factor by factor on a torus, otherwise all at once on a grid whose quadrature is
            exact for factors * lmax + lmax_out.
    """

    def __init__(self, lmax: int, lmax_out: int, factors: int, method: Method = "auto") -> None:
        self.factors = factors
        self._in = sqrt(4 * pi) / (lmax + 1)
        self._out = [n * lmax + 1 for n in range(2, factors + 1)]
        self._lmax_out = lmax_out
        self._grid = method != "fourier"
        if not self._grid:
            self._pairwise = [GauntProduct(n * lmax, lmax, (n + 1) * lmax, method) for n in range(1, factors)]
        else:
            rule = quadrature(factors * lmax + lmax_out)
            values = harmonics_at(lmax, rule.points) * self._in
            projection = (harmonics_at(lmax_out, rule.points) * rule.weights[:, None]).T / sqrt(4 * pi)
            self._matrices = Constants(values, projection)

    def products(self, signals: list[Tensor]) -> list[Tensor]:
        """x1 x2, x1 x2 x3, ..., each `[batch, (lmax_out + 1)**2, channels]`."""
        results = self._on_grid(signals) if self._grid else self._on_torus(signals)
        return [scale * result for scale, result in zip(self._out, results, strict=True)]

    def _on_grid(self, signals: list[Tensor]) -> list[Tensor]:
        values, projection = self._matrices.like(signals[0])
        power = values @ signals[0]
        results = []
        for signal in signals[1:]:
            power = power * (values @ signal)
            results.append(projection @ power)
        return results

    def _on_torus(self, signals: list[Tensor]) -> list[Tensor]:
        rows = [signal.transpose(1, 2) for signal in signals]
        size = (self._lmax_out + 1) ** 2
        power, results = rows[0], []
        for n, (product, row) in enumerate(zip(self._pairwise, rows[1:], strict=True), start=2):
            power = product(power.contiguous(), row.contiguous())
            results.append(_padded(power, size) * (self._in**n / sqrt(4 * pi)))
        return [result.transpose(1, 2) for result in results]


def _padded(rows: Tensor, size: int) -> Tensor:
    """The leading components, filled up with zeros where there are fewer."""
    return torch.nn.functional.pad(rows[..., :size], (0, max(0, size - rows.shape[-1])))
