"""The Gaunt tensor product: signals on the sphere, multiplied point by point.

Luo, Chen and Krishnapriyan, Enabling Efficient Equivariant Operations in the Fourier Basis via Gaunt Tensor Products
(ICLR 2024); on grids: Xie et al., The Price of Freedom (arXiv 2506.13523).
"""

from math import pi, sqrt
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.equivariant.irreps import Irrep, Irreps, IrrepsLike
from sciten.equivariant.products.base import DegreeWeightedProduct, components, given_degrees
from sciten.equivariant.products.fourier import FourierGrid
from sciten.equivariant.products.grids import Grid, best_grid, product_on
from sciten.errors import ConfigError

Method = Literal["grid", "fourier", "auto"]


class GauntProduct(DegreeWeightedProduct):
    """The coefficients of the product of two signals on the sphere, exact to rounding.

    Without weights this is ∫ x(r) y(r) Y_k(r) dΩ, in e3nn's "integral" normalisation and order. It couples l1 and l2
    into l3 where l1 + l2 + l3 is even, with the strength `path_factor(l1, l2, l3)`.

    Args:
        lmax1, lmax2, lmax_out: highest degrees of the inputs and the output, which are signals
            `[..., (lmax + 1)**2]`. Without them the product only says what is wanted, as an argument of a model.
        method: "grid" (quadrature), "fourier" (series on a torus), or "auto", which is the grid: it has
            fewer operations up to degrees of 80.

    Raises:
        ConfigError: degrees, the method, shapes or dtypes do not fit.
    """

    def __init__(
        self,
        lmax1: int | None = None,
        lmax2: int | None = None,
        lmax_out: int | None = None,
        method: Method = "auto",
    ) -> None:
        super().__init__()
        if method not in ("grid", "fourier", "auto"):
            raise ConfigError(f"GauntProduct: expected method to be grid, fourier or auto, got {method!r}")
        self.method = method
        degrees = given_degrees("GauntProduct", lmax1, lmax2, lmax_out)
        if degrees is None:
            return
        self._prepare(*map(Irreps.natural, degrees))

    @classmethod
    def from_irreps(
        cls,
        irreps_in1: IrrepsLike,
        irreps_in2: IrrepsLike,
        irreps_out: IrrepsLike,
        *,
        method: Method = "auto",
        weights: bool = False,
    ) -> "GauntProduct":
        """The product on irreps with channels, channel by channel, equivariant under O(3).

        Irreps with the parity of the harmonics make up one signal, the others a second that changes sign under
        inversion ("1o" and "1e" are told apart); products of two of a kind belong to the first, mixed ones to the
        second.

        Args:
            irreps_in1, irreps_in2, irreps_out: every irrep at most once, all with the same multiplicity.
            method: as above.
            weights: whether each entry of the inputs and the output has a learnable weight per channel, one at first.
        """
        product = cls(method=method)
        product._prepare(Irreps(irreps_in1), Irreps(irreps_in2), Irreps(irreps_out))
        if weights:
            product._add_degree_weights()
        return product

    def _prepare(self, irreps_in1: Irreps, irreps_in2: Irreps, irreps_out: Irreps) -> None:
        self._bind(irreps_in1, irreps_in2, irreps_out)
        self._require_paths()
        # Natural entries (kind 0) and the others (kind 1) of each side.
        entries = [
            [[i for i, entry in enumerate(irreps) if entry.ir.is_natural == (kind == 0)] for kind in (0, 1)]
            for irreps in self.irreps
        ]
        self._columns = [
            [torch.tensor(components(irreps, chosen), dtype=torch.int64) for chosen in side]
            for irreps, side in zip(self.irreps, entries, strict=True)
        ]
        self._combinations: list[tuple[tuple[int, int, int], Grid]] = []
        for kinds in ((0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1)):
            chosen = [side[kind] for side, kind in zip(entries, kinds, strict=True)]
            if all(chosen):
                degrees = tuple(
                    tuple(irreps[i].ir.l for i in c) for irreps, c in zip(self.irreps, chosen, strict=True)
                )
                self._combinations.append((kinds, _grid(self.method, degrees)))

    def _couples(self, first: Irrep, second: Irrep, out: Irrep) -> bool:
        return out in first * second and (first.l + second.l + out.l) % 2 == 0

    def multiply(self, x: Tensor, y: Tensor) -> Tensor:
        """See `DegreeWeightedProduct`."""
        sizes = [[len(columns) for columns in side] for side in self._columns]
        if all(size[1] == 0 for size in sizes):
            return product_on(self._combinations[0][1], x, y)
        columns = [[c.to(x.device) for c in side] for side in self._columns]
        parts = [[tensor[:, c] for c in side] for tensor, side in zip((x, y), columns, strict=False)]
        result = x.new_zeros(x.shape[0], sum(sizes[2]))
        for (a, b, c), grid in self._combinations:
            result = result.index_add(1, columns[2][c], product_on(grid, parts[0][a], parts[1][b]))
        return result

    def path_factor(self, l1: int, l2: int, l3: int) -> float:
        """By how much the path exceeds e3nn's `wigner_3j`: see `gaunt_factor`."""
        return gaunt_factor(l1, l2, l3)

    def operations(self) -> int:
        """Multiplications and additions for one sample and channel."""
        return sum(grid.operations() for _, grid in self._combinations)


def gaunt_factor(l1: int, l2: int, l3: int) -> float:
    """∫ Y_l1 Y_l2 Y_l3 dΩ over `wigner_3j(l1, l2, l3)`: sqrt((2l1 + 1)(2l2 + 1)(2l3 + 1) / 4π) (l1 l2 l3; 0 0 0)."""
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        return 0.0
    return sqrt((2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1) / (4 * pi)) * float(
        wigner_3j(l1, l2, l3)[l1, l2, l3]
    )


def gaunt_coefficients(l1: int, l2: int, l3: int) -> NDArray[np.float64]:
    """∫ Y_l1m1 Y_l2m2 Y_l3m3 dΩ, `[2 l1 + 1, 2 l2 + 1, 2 l3 + 1]`; zero outside the triangle."""
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        return np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    return gaunt_factor(l1, l2, l3) * wigner_3j(l1, l2, l3)


def _grid(method: Method, degrees: tuple[tuple[int, ...], ...]) -> Grid:
    if method == "fourier":
        return FourierGrid(degrees)
    # Fourier series need at least (2 (l1 + l2) + 1)² points where a quadrature needs about (l1 + l2 + l3)² / 3: as
    # `operations()` counts them, the grid has fewer up to three degrees of 80. `sciten benchmark tensor-products` times
    # both.
    return best_grid(degrees)
