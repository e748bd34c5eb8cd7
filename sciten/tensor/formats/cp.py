"""Canonical polyadic decompositions: sums of outer products.

`x = sum over a of weights[a] factor_1[:, a] ⊗ ... ⊗ factor_d[:, a]` (Hitchcock 1927; Kolda and Bader, SIAM Rev. 51, 455
(2009)). Weights are `[r]`, factors `[n, r]`; axes before these are a batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.formats import indexing
from sciten.tensor.formats.base import Format, as_array, require_cores

#: Numbers that are made at a time where a tensor is evaluated at many indices.
_GATHERED = 2**22


@dataclass(frozen=True, eq=False, repr=False)
class CP(Format):
    """An immutable canonical polyadic decomposition.

    Args:
        weights: `[..., r]`.
        factors: `[..., n_k, r]` for each mode.

    Raises:
        ConfigError: weights and factors do not fit each other; the message names the first that does not.

    There is no exact rounding of sums of outer products, so that this format has no `round`.
    """

    weights: Tensor
    factors: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", tuple(self.factors))
        if not self.factors:
            raise ConfigError("CP: expected at least one factor, got none")
        d = len(self.factors)
        require_cores("CP", self.cores, [*[2] * d, 1], ["[..., n, r]"] * d + ["[..., r]"])
        for k, factor in enumerate(self.factors):
            if factor.shape[-1] != self.weights.shape[-1]:
                raise ConfigError(
                    f"CP: expected factor {k} of {self.weights.shape[-1]} columns, one for each weight, got "
                    f"{list(factor.shape)}"
                )

    operator = False

    @property
    def cores(self) -> tuple[Tensor, ...]:  # type: ignore[override]
        """The factors, then the weights."""
        return (*self.factors, self.weights)

    @property
    def modes(self) -> tuple[tuple[int, ...], ...]:
        """Lengths `(n,)` of each mode."""
        return tuple((factor.shape[-2],) for factor in self.factors)

    @property
    def ranks(self) -> tuple[int, ...]:
        """The number of outer products, alone in a tuple."""
        return (self.weights.shape[-1],)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Axes of the batch, none for a single tensor."""
        return tuple(self.weights.shape[:-1])

    # Making them.

    @classmethod
    def rank_one(cls, factors: Sequence[Tensor]) -> "CP":
        """The outer product of vectors `[..., n]`."""
        weights = factors[0].new_ones(*factors[0].shape[:-1], 1)
        return cls(weights, tuple(factor.unsqueeze(-1) for factor in factors))

    @classmethod
    def random(
        cls,
        shape: Sequence[int],
        rank: int,
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        batch_shape: Sequence[int] = (),
    ) -> "CP":
        """Normal factors and equal weights, so that every entry has zero mean and unit variance."""
        factors = [
            torch.randn((*batch_shape, n, rank), generator=generator, dtype=dtype, device=generator.device)
            for n in shape
        ]
        return cls(factors[0].new_full((*batch_shape, rank), 1 / sqrt(rank)), tuple(factors))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> "CP":
        """The tensor that `to_arrays` took apart; raises `ConfigError` where an array is missing."""
        try:
            count = int(arrays["n_factors"])
            weights = torch.from_numpy(np.array(arrays["weights"]))
            factors = [torch.from_numpy(np.array(arrays[f"factor_{k}"])) for k in range(count)]
        except KeyError as error:
            raise ConfigError(f"CP: expected arrays as of to_arrays, {error} is missing") from error
        return cls(weights, tuple(factors))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Its parts as plain arrays: `weights`, `n_factors` and `factor_0`, `factor_1`, ..."""
        factors = {f"factor_{k}": as_array(factor) for k, factor in enumerate(self.factors)}
        return {
            "weights": as_array(self.weights),
            "n_factors": np.array(len(self.factors)),
            **factors,
        }

    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> "CP":
        """The same tensor in another dtype or on another device."""
        *factors, weights = (t.to(device=device, dtype=dtype) for t in self.cores)
        return CP(weights, tuple(factors))

    # Algebra.

    def __add__(self, other: "CP") -> "CP":
        self._require_alike("+", other)
        pairs = zip(self.cores, other.cores, strict=True)
        *factors, weights = (torch.cat(pair, -1) for pair in pairs)
        return CP(weights, tuple(factors))

    def __mul__(self, other: "CP | complex | Tensor") -> "CP":
        if isinstance(other, CP):
            self._require_alike("*", other)
            pairs = zip(self.cores, other.cores, strict=True)
            *factors, weights = ((a[..., :, None] * b[..., None, :]).flatten(-2) for a, b in pairs)
            return CP(weights, tuple(factors))
        weights = self.weights * self._factor(other, 1)
        return CP(weights, tuple(factor.to(weights.dtype) for factor in self.factors))

    def conj(self) -> "CP":
        """The complex conjugate."""
        return CP(self.weights.conj(), tuple(factor.conj() for factor in self.factors))

    def kron(self, other: "CP") -> "CP":
        """The product of each entry with each entry: the modes of `other` follow those of this one."""
        self._require_factor("kron", other)
        mine = (factor.repeat_interleave(other.ranks[0], -1) for factor in self.factors)
        theirs = (torch.cat([factor] * self.ranks[0], -1) for factor in other.factors)
        weights = (self.weights[..., :, None] * other.weights[..., None, :]).flatten(-2)
        return CP(weights, (*mine, *theirs))

    def inner(self, other: "CP") -> Tensor:
        """Sum over all entries of conj(self) * other, one for each element of the batch."""
        self._require_alike("inner", other)
        pairs = self.weights.conj()[..., :, None] * other.weights[..., None, :]
        for a, b in zip(self.factors, other.factors, strict=True):
            pairs = pairs * (a.mH @ b)
        return pairs.sum((-2, -1))

    def norm(self) -> Tensor:
        """The Frobenius norm, one for each element of the batch, from the inner product.

        Where outer products cancel, only half the digits are right: a tensor of norm below 1e-8 of that of its parts is
        not told from zero in float64.
        """
        return self.inner(self).real.clamp(min=0).sqrt()

    def normalised(self) -> "CP":
        """The same tensor with columns of unit norm, and their norms in the weights."""
        norms = [torch.linalg.vector_norm(factor, dim=-2, keepdim=True) for factor in self.factors]
        factors = [
            factor / torch.where(norm == 0, 1.0, norm)
            for factor, norm in zip(self.factors, norms, strict=True)
        ]
        weights = self.weights
        for norm in norms:
            weights = weights * norm.squeeze(-2)
        return CP(weights, tuple(factors))

    def full(self) -> Tensor:
        """The full tensor, `[*batch, *shape]`."""
        rows = self.weights.unsqueeze(-2)  # [..., entries so far, r]
        for factor in self.factors[:-1]:
            rows = (rows.unsqueeze(-2) * factor.unsqueeze(-3)).flatten(-3, -2)
        return (rows @ self.factors[-1].mT).reshape(*self.batch_shape, *self.shape)

    def __getitem__(self, key: Any) -> "CP | Tensor":
        """A part, as of every format; see `Format`."""
        weights, factors = self.weights, []
        keys = indexing.parsed("CP", self.shape, key)
        for factor, one in zip(self.factors, keys, strict=True):
            part = factor[..., one, :]
            if isinstance(one, int):
                weights = weights * part
            else:
                factors.append(part)
        return CP(weights, tuple(factors)) if factors else weights.sum(-1)

    def at(self, indices: Tensor) -> Tensor:
        """Entries at `indices`, `[n_places, d]` of int64: `[*batch, n_places]`; raises `ConfigError` where they lie
        outside."""
        self._require_indices(indices)
        step = max(1, _GATHERED // max(1, prod(self.weights.shape)))
        parts = [self._entries(indices[start : start + step]) for start in range(0, len(indices), step)]
        return torch.cat(parts, -1) if parts else self.weights.new_zeros(*self.batch_shape, 0)

    def _entries(self, indices: Tensor) -> Tensor:
        rows = self.weights.unsqueeze(-2)
        for factor, index in zip(self.factors, indices.T, strict=True):
            rows = rows * factor.index_select(-2, index)
        return rows.sum(-1)
