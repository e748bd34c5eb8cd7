"""The matrix product: irreps as matrices on the states of one angular momentum, multiplied as matrices.

Xie et al., The Price of Freedom (arXiv 2506.13523). Matrices between states of degree λ hold every degree from 0 to 2λ
once; their product couples all of them, symmetric and antisymmetric paths alike, with 6j symbols as strengths.
"""

from functools import cache
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.equivariant.irreps import Irrep, Irreps, IrrepsLike
from sciten.equivariant.products.base import (
    DegreeWeightedProduct,
    components,
    require_degrees,
)
from sciten.equivariant.products.grids import Constants
from sciten.errors import ConfigError


class MatrixProduct(DegreeWeightedProduct):
    """The product of two irreps as matrices, ⟨B_k, X Y⟩ with X = Σ x_i B_i and orthonormal B.

    As every degree stands for one matrix, whatever its parity, the plain form is equivariant under rotations only;
    `from_irreps` keeps parities apart and is equivariant under O(3).

    Args:
        lmax1, lmax2, lmax_out: highest degrees of the inputs and the output, `[..., (lmax + 1)**2]`.
        lam: the degree λ of the states, of at least half the highest degree, which is the default. A few paths vanish
            by accident, (3, 5, 5) for λ = 3 and (5, 6, 7) for λ = 4 among them: see `interactability`.

    Raises:
        ConfigError: degrees, shapes or dtypes do not fit.
    """

    def __init__(
        self,
        lmax1: int,
        lmax2: int,
        lmax_out: int,
        lam: int | None = None,
    ) -> None:
        super().__init__()
        require_degrees("MatrixProduct", lmax1=lmax1, lmax2=lmax2, lmax_out=lmax_out)
        self._by_parity = False
        self._prepare(*map(Irreps.natural, (lmax1, lmax2, lmax_out)), lam=lam)

    @classmethod
    def from_irreps(
        cls,
        irreps_in1: IrrepsLike,
        irreps_in2: IrrepsLike,
        irreps_out: IrrepsLike,
        *,
        lam: int | None = None,
        weights: bool = False,
    ) -> "MatrixProduct":
        """The product on irreps with channels, channel by channel, equivariant under O(3).

        Irreps and weights are as in `GauntProduct.from_irreps`, `lam` as above.
        """
        product = cls._blank()
        product._by_parity = True
        product._prepare(Irreps(irreps_in1), Irreps(irreps_in2), Irreps(irreps_out), lam=lam)
        if weights:
            product._add_degree_weights()
        return product

    def _prepare(
        self, irreps_in1: Irreps, irreps_in2: Irreps, irreps_out: Irreps, *, lam: int | None
    ) -> None:
        self._bind(irreps_in1, irreps_in2, irreps_out)
        highest = max(irreps.lmax for irreps in self.irreps)
        self.lam = (highest + 1) // 2 if lam is None else lam
        require_degrees("MatrixProduct", lam=self.lam)
        if 2 * self.lam < highest:
            raise ConfigError(
                f"MatrixProduct: expected lam of at least {(highest + 1) // 2} for degrees up to {highest}, "
                f"got {self.lam}"
            )
        self._require_paths()
        self._bases = Constants(*(np.concatenate([_basis(e.ir.l, self.lam) for e in i]) for i in self.irreps))
        self._even = [
            torch.tensor(components(i, [n for n, e in enumerate(i) if e.ir.p == 1]), dtype=torch.int64)
            for i in self.irreps
        ]

    def _couples(self, first: Irrep, second: Irrep, out: Irrep) -> bool:
        allowed = not self._by_parity or out in first * second
        return allowed and self.path_factor(first.l, second.l, out.l) != 0

    @property
    def conserves_parity(self) -> bool:
        """Whether it is equivariant under O(3)."""
        return self._by_parity

    def multiply(self, x: Tensor, y: Tensor) -> Tensor:
        """See `DegreeWeightedProduct`."""
        bases = self._bases.like(x)
        if not self._by_parity:
            return self._multiply(x, y, bases)
        # With the sign of odd irreps turned in both factors, the product's even part stays and its odd part turns.
        signs = [self._signs(side, x) for side in range(3)]
        straight = self._multiply(x, y, bases)
        turned = self._multiply(x * signs[0], y * signs[1], bases)
        return 0.5 * (straight + signs[2] * turned)

    def _multiply(self, x: Tensor, y: Tensor, bases: list[Tensor]) -> Tensor:
        n = 2 * self.lam + 1
        left, right = (x @ bases[0]).view(-1, n, n), (y @ bases[1]).view(-1, n, n)
        return torch.bmm(left, right).flatten(1) @ bases[2].T

    def _signs(self, side: int, like: Tensor) -> Tensor:
        size = sum(entry.ir.dim for entry in self.irreps[side])
        return like.new_full((size,), -1.0).index_fill(0, self._even[side].to(like.device), 1.0)

    def path_factor(self, l1: int, l2: int, l3: int) -> float:
        """By how much the path exceeds e3nn's `wigner_3j`.

        That is sqrt((2l1 + 1)(2l2 + 1)(2l3 + 1)) times the 6j symbol {l1 l2 l3; λ λ λ}, up to the sign that real
        couplings carry; zero outside the triangle.
        """
        if not abs(l1 - l2) <= l3 <= l1 + l2 or max(l1, l2, l3) > 2 * self.lam:
            return 0.0
        return _six_j_factor(l1, l2, l3, self.lam)

    def operations(self) -> int:
        """Multiplications and additions for one sample and channel."""
        n = 2 * self.lam + 1
        once = 2 * n * n * sum(sum(e.ir.dim for e in i) for i in self.irreps) + 2 * n**3
        return 2 * once if self._by_parity else once


def _basis(l: int, lam: int) -> NDArray[np.float64]:
    """Orthonormal matrices of degree l, `[2l + 1, (2 lam + 1)**2]`."""
    return sqrt(2 * l + 1) * wigner_3j(l, lam, lam).reshape(2 * l + 1, -1)


@cache
def _six_j_factor(l1: int, l2: int, l3: int, lam: int) -> float:
    a, b, c = (_basis(l, lam).reshape(2 * l + 1, 2 * lam + 1, 2 * lam + 1) for l in (l1, l2, l3))
    value = float(np.einsum("ipq,jqr,kpr,ijk->", a, b, c, wigner_3j(l1, l2, l3), optimize=True))
    return 0.0 if abs(value) < 1e-13 else value
