"""Cartesian tensors: their product by contraction, and their irreps."""

from functools import cache
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sciten.equivariant.clebsch_gordan import levi_civita, wigner_3j
from sciten.equivariant.irreps import Irrep, Irreps
from sciten.equivariant.products.arguments import require_alike, require_features, require_same_batch
from sciten.equivariant.products.base import require_degrees
from sciten.equivariant.products.grids import Constants
from sciten.errors import ConfigError

#: A tensor of rank 4 has 81 components; the change of basis is dense.
MAX_RANK = 4


class CartesianProduct(nn.Module):
    """The product of two Cartesian tensors by contracting the last indices of one with the first of the other.

    With n = rank1 + rank2 - rank_out even, n/2 pairs of indices are contracted, the last of x with the first of y, the
    one before with the second, and so on: for ranks 2, 2 and 2 it is the matrix product. With n odd, (n - 1)/2 pairs
    are, and the next two indices with the Levi-Civita symbol, whose free index takes their place: for ranks 1, 1 and 1
    it is the cross product.

    Args:
        rank1, rank2, rank_out: from 0 to 4. Tensors lie `[..., 3**rank]`, the last index fastest.

    Raises:
        ConfigError: ranks that no contraction joins, or shapes or dtypes that do not fit.

    Attributes:
        irreps_in1, irreps_in2, irreps_out: the irreps of the tensors, see `cartesian_irreps`; `as_irreps` multiplies in
            their basis.
    """

    def __init__(self, rank1: int, rank2: int, rank_out: int) -> None:
        super().__init__()
        require_degrees("CartesianProduct", rank1=rank1, rank2=rank2, rank_out=rank_out)
        # The Levi-Civita symbol takes two indices and gives one.
        self.contracted, self.cross = divmod(rank1 + rank2 - rank_out, 2)
        if (
            max(rank1, rank2, rank_out) > MAX_RANK
            or not 0 <= self.contracted <= min(rank1, rank2) - self.cross
        ):
            raise ConfigError(
                f"CartesianProduct: expected ranks up to {MAX_RANK} with |rank1 - rank2| <= rank_out <= rank1 + rank2 "
                f"(less than both for an odd difference), got {rank1}, {rank2} and {rank_out}"
            )
        self.ranks = (rank1, rank2, rank_out)
        self.irreps_in1, self.irreps_in2 = cartesian_irreps(rank1), cartesian_irreps(rank2)
        parity = (-1) ** (rank1 + rank2)
        self.irreps_out = Irreps([(mul, (ir.l, parity)) for mul, ir in cartesian_irreps(rank_out)])
        self.weight_numel = 0
        self._levi_civita = Constants(levi_civita())

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The product of `[..., 3**rank1]` and `[..., 3**rank2]`, `[..., 3**rank_out]`."""
        rank1, rank2, rank_out = self.ranks
        require_features("CartesianProduct", "x", x, 3**rank1, f"rank {rank1}")
        require_features("CartesianProduct", "y", y, 3**rank2, f"rank {rank2}")
        require_alike("CartesianProduct", {"x": x, "y": y})
        batch = require_same_batch("CartesianProduct", {"x": x, "y": y})
        left = "abcd"[: rank1 - self.contracted - self.cross]
        right = "efgh"[: rank2 - self.contracted - self.cross]
        joined = "ijkl"[: self.contracted]
        x = x.reshape(prod(batch), *[3] * rank1)
        y = y.reshape(prod(batch), *[3] * rank2)
        if self.cross:
            (symbol,) = self._levi_civita.like(x)
            # Two at a time: the order that `einsum` would choose for three depends on the size of the batch.
            turned = torch.einsum(f"z{left}p{joined},pqr->z{left}{joined}qr", x, symbol)
            result = torch.einsum(f"z{left}{joined}qr,z{joined[::-1]}q{right}->z{left}r{right}", turned, y)
        else:
            result = torch.einsum(f"z{left}{joined},z{joined[::-1]}{right}->z{left}{right}", x, y)
        return result.reshape(*batch, 3**rank_out)

    def operations(self) -> int:
        """Multiplications and additions for one sample."""
        rank1, _, rank_out = self.ranks
        # Each element of the result is a sum over the joined indices; with the Levi-Civita symbol, over one more, of
        # what nine products each have made of x.
        turned = 2 * 9 * 3**rank1 if self.cross else 0
        return turned + 2 * 3 ** (rank_out + self.contracted + self.cross)

    def as_irreps(self, x: Tensor, y: Tensor) -> Tensor:
        """As calling it, with tensors in the basis of their irreps: `[..., irreps_in1.dim]` and so on."""
        rank1, rank2, rank_out = self.ranks
        return cartesian_to_irreps(
            self(irreps_to_cartesian(x, rank1), irreps_to_cartesian(y, rank2)), rank_out
        )

    def extra_repr(self) -> str:
        """Ranks and what happens to them."""
        cross = ", Levi-Civita" if self.cross else ""
        return (
            f"{self.ranks[0]} x {self.ranks[1]} -> {self.ranks[2]}, {self.contracted} pairs contracted{cross}"
        )


def cartesian_irreps(rank: int) -> Irreps:
    """The irreps of a general tensor of a rank, by degree: "1x0e+1x1e+1x2e" for rank 2."""
    _require_rank(rank)
    parity = (-1) ** rank
    degrees = [l for l, _ in _couplings(rank)]
    return Irreps([(degrees.count(l), (l, parity)) for l in sorted(set(degrees))])


def cartesian_to_irreps(tensor: Tensor, rank: int) -> Tensor:
    """From `[..., 3**rank]` to `[..., cartesian_irreps(rank).dim]`, an orthogonal map.

    Irreps are found by coupling one index after the other with `wigner_3j`; copies of a degree are ordered by the
    degrees passed on the way.
    """
    _require_rank(rank)
    require_features("cartesian_to_irreps", "tensor", tensor, 3**rank, f"rank {rank}")
    (basis,) = _basis(rank).like(tensor)
    return tensor @ basis.T


def irreps_to_cartesian(features: Tensor, rank: int) -> Tensor:
    """The inverse of `cartesian_to_irreps`."""
    _require_rank(rank)
    require_features("irreps_to_cartesian", "features", features, 3**rank, f"rank {rank}")
    (basis,) = _basis(rank).like(features)
    return features @ basis


def _require_rank(rank: int) -> None:
    if not isinstance(rank, int) or not 0 <= rank <= MAX_RANK:
        raise ConfigError(f"Cartesian tensors: expected a rank from 0 to {MAX_RANK}, got {rank!r}")


@cache
def _basis(rank: int) -> Constants:
    """The change of basis, `[3**rank irreps components, 3**rank]`."""
    ordered = sorted(_couplings(rank), key=lambda coupling: coupling[0])
    return Constants(np.concatenate([block.reshape(2 * l + 1, 3**rank) for l, block in ordered]))


@cache
def _couplings(rank: int) -> tuple[tuple[int, NDArray[np.float64]], ...]:
    """Every way of coupling `rank` vectors: its degree and an orthonormal basis, `[2l + 1, 3, 3, ...]`."""
    if rank == 0:
        return ((0, np.ones(1)),)
    vector = Irrep(1, -1)
    return tuple(
        (ir.l, np.sqrt(ir.dim) * np.einsum("m...,mak->k...a", block, wigner_3j(l, 1, ir.l)))
        for l, block in _couplings(rank - 1)
        for ir in Irrep(l, (-1) ** (rank - 1)) * vector
    )
