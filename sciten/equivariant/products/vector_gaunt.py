"""The Gaunt product of vector signals: the cross product of tangent and radial fields on the sphere.

Xie et al., The Price of Freedom: Exploring Expressivity and Runtime Tradeoffs in Equivariant Tensor Products
(arXiv 2506.13523). The cross product is antisymmetric, so that it couples where l1 + l2 + l3 is odd, which a product of
scalar signals cannot.
"""

import itertools
from functools import cache
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciten.equivariant.clebsch_gordan import levi_civita, wigner_3j
from sciten.equivariant.irreps import Irrep, Irreps, IrrepsLike
from sciten.equivariant.products.base import DegreeWeightedProduct, require_degrees
from sciten.equivariant.products.gaunt import gaunt_factor
from sciten.equivariant.products.grids import Constants, in_pieces, product_on
from sciten.equivariant.sphere import harmonics_at, quadrature
from sciten.errors import ConfigError


class VectorGauntProduct(DegreeWeightedProduct):
    """The coefficients of the cross product of two vector fields on the sphere, ∫ (x(r) × y(r)) · V_k(r) dΩ.

    An irrep of degree J becomes the vector harmonics V_J^l, made of scalar harmonics of degree l = J - 1, J or J + 1
    and a vector, each orthonormal; those that its parity allows are added up. The inputs are polar fields (l = J ± 1
    for the parity of the harmonics, l = J for the other), the output is an axial one (the other way round).

    Args:
        lmax1, lmax2, lmax_out: highest degrees. The inputs are signals `[..., (lmax + 1)**2]` with the parity of the
            harmonics, the output, of the same form, has the opposite one: "0o + 1e + 2o + ...".

    Raises:
        ConfigError: degrees, shapes or dtypes do not fit.
    """

    def __init__(self, lmax1: int, lmax2: int, lmax_out: int) -> None:
        super().__init__()
        require_degrees("VectorGauntProduct", lmax1=lmax1, lmax2=lmax2, lmax_out=lmax_out)
        out = Irreps([(1, (l, -((-1) ** l))) for l in range(lmax_out + 1)])
        self._prepare(Irreps.natural(lmax1), Irreps.natural(lmax2), out)

    @classmethod
    def from_irreps(
        cls, irreps_in1: IrrepsLike, irreps_in2: IrrepsLike, irreps_out: IrrepsLike, *, weights: bool = False
    ) -> "VectorGauntProduct":
        """The product on irreps with channels, channel by channel, equivariant under O(3).

        Arguments are those of `GauntProduct.from_irreps`. There is no polar field of irrep 0o, and no axial one of 0e.
        """
        product = cls._blank()
        product._prepare(Irreps(irreps_in1), Irreps(irreps_in2), Irreps(irreps_out))
        if weights:
            product._add_degree_weights()
        return product

    def _prepare(self, irreps_in1: Irreps, irreps_in2: Irreps, irreps_out: Irreps) -> None:
        self._bind(irreps_in1, irreps_in2, irreps_out)
        for irreps, axial, missing in (
            (irreps_in1, False, "0o"),
            (irreps_in2, False, "0o"),
            (irreps_out, True, "0e"),
        ):
            if any(not _fields(entry.ir, axial=axial) for entry in irreps):
                kind = "axial" if axial else "polar"
                raise ConfigError(
                    f"VectorGauntProduct: there is no {kind} field of irrep {missing}; leave it out of {irreps}"
                )
        self._require_paths()
        self._grid = VectorGrid(self.irreps)

    def multiply(self, x: Tensor, y: Tensor) -> Tensor:
        """See `DegreeWeightedProduct`."""
        return product_on(self._grid, x, y)

    def path_factor(self, l1: int, l2: int, l3: int) -> float:
        """By how much the path from natural l1 and l2 exceeds e3nn's `wigner_3j`; zero if there is none.

        It is the sum over the fields of each degree of sqrt(6 (2l1 + 1)(2l2 + 1)(2l3 + 1)) times `gaunt_factor` of the
        scalar degrees times the 9j symbol {a 1 l1; b 1 l2; c 1 l3}, up to the sign that real couplings carry.
        """
        if (l1 + l2 + l3) % 2 == 0 or not abs(l1 - l2) <= l3 <= l1 + l2:
            return 0.0
        return _path_factor(Irrep(l1, (-1) ** l1), Irrep(l2, (-1) ** l2), Irrep(l3, -((-1) ** l3)))

    def _couples(self, first: Irrep, second: Irrep, out: Irrep) -> bool:
        return out in first * second and abs(_path_factor(first, second, out)) > 1e-13

    def operations(self) -> int:
        """Multiplications and additions for one sample and channel."""
        return self._grid.operations()


class VectorGrid:
    """The trilinear form ∫ (x × y) · z of three vector fields, as a `grids.Grid`."""

    def __init__(self, irreps: tuple[Irreps, Irreps, Irreps]) -> None:
        sides = [[_fields(entry.ir, axial=side == 2) for entry in i] for side, i in enumerate(irreps)]
        rule = quadrature(sum(max(l for fields in side for l in fields) for side in sides))
        scale = np.cbrt(rule.weights)
        matrices = []
        for side, i in enumerate(irreps):
            blocks = [_field_values(entry.ir, side == 2, rule.points) for entry in i]
            values = np.concatenate(blocks) * scale[None, :, None]  # [component, point, axis]
            matrices.append(values.transpose(0, 2, 1).reshape(len(values), -1))
        self._matrices = Constants(*matrices)
        self._sizes = [len(m) for m in matrices]
        self.points = len(rule)

    def product(self, x: Tensor, y: Tensor, roles: tuple[int, int, int]) -> Tensor:
        """See `grids.Grid`; the form changes sign when two roles are exchanged."""
        a, b, c = (self._matrices.like(x)[role] for role in roles)
        sign = 1.0 if roles in ((0, 1, 2), (1, 2, 0), (2, 0, 1)) else -1.0

        def piece(p: Tensor, q: Tensor) -> Tensor:
            left, right = ((s @ m).unflatten(1, (3, self.points)) for s, m in ((p, a), (q, b)))
            return sign * (torch.linalg.cross(left, right, dim=1).flatten(1) @ c.T)

        return in_pieces(piece, x, y, 3 * self.points, c.shape[0])

    def operations(self) -> int:
        """See `grids.Grid`."""
        return 6 * self.points * sum(self._sizes) + 9 * self.points


def _fields(ir: Irrep, *, axial: bool) -> tuple[int, ...]:
    """Degrees l of the scalar harmonics in the fields of an irrep, of parity (-1)^l if axial, -(-1)^l if polar."""
    degrees = (ir.l - 1, ir.l + 1) if ir.is_natural != axial else (ir.l,)
    return tuple(l for l in degrees if l >= 0 and (l, ir.l) != (0, 0))


def _field_values(ir: Irrep, axial: bool, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The vector harmonics of an irrep, added up over their fields, `[2J + 1, n_points, 3]`."""
    total = np.zeros((ir.dim, len(points), 3))
    for l in _fields(ir, axial=axial):
        scalars = harmonics_at(l, points)[:, l * l :]
        total += sqrt(ir.dim) * np.einsum("pm,mik->kpi", scalars, wigner_3j(l, 1, ir.l))
    return total


def _path_factor(first: Irrep, second: Irrep, out: Irrep) -> float:
    """The strength of the path between three irreps, a sum over the fields of each."""
    fields = [_fields(ir, axial=side == 2) for side, ir in enumerate((first, second, out))]
    return sum(_nine_j_factor(scalars, (first.l, second.l, out.l)) for scalars in itertools.product(*fields))


@cache
def _nine_j_factor(scalars: tuple[int, int, int], degrees: tuple[int, int, int]) -> float:
    """The form of three single fields over `wigner_3j(*degrees)`."""
    if not abs(scalars[0] - scalars[1]) <= scalars[2] <= scalars[0] + scalars[1]:
        return 0.0
    strength = gaunt_factor(*scalars) * np.prod([sqrt(2 * degree + 1) for degree in degrees])
    cross = levi_civita()
    couplings = [wigner_3j(l, 1, degree) for l, degree in zip(scalars, degrees, strict=True)]
    full = np.einsum(
        "aiA,bjB,ckC,abc,ijk,ABC->",
        *couplings,
        wigner_3j(*scalars),
        cross,
        wigner_3j(*degrees),
        optimize=True,
    )
    return float(strength * full)
