"""Tucker decompositions: a small core with a factor for each mode.

`x = sum over a, b, ... of core[a, b, ...] factor_1[:, a] ⊗ factor_2[:, b] ⊗ ...` (Tucker, Psychometrika 31, 279
(1966)). Factors are `[n, r]`, the core `[r_1, ..., r_d]`; axes before these are a batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.formats import branches, indexing
from sciten.tensor.formats.base import Format, as_array, require_cores
from sciten.tensor.formats.tree import Tree


@dataclass(frozen=True, eq=False, repr=False)
class Tucker(Format):
    """An immutable Tucker decomposition.

    Args:
        core: `[..., r_1, ..., r_d]`.
        factors: `[..., n_k, r_k]` for each mode; not necessarily orthogonal.

    Raises:
        ConfigError: core and factors do not fit each other; the message names the first factor that does not.

    Memory is exponential in the number of modes; beyond about five, `TensorTrain` or `TreeTensor` serve better.
    """

    core: Tensor
    factors: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", tuple(self.factors))
        d = len(self.factors)
        if not d:
            raise ConfigError("Tucker: expected at least one factor, got none")
        wanted = ["[..., n, r]"] * d + [f"[..., {d} ranks]"]
        require_cores("Tucker", self.cores, [*[2] * d, d], wanted)
        for k, (factor, rank) in enumerate(zip(self.factors, self.ranks, strict=True)):
            if factor.shape[-1] != rank:
                raise ConfigError(
                    f"Tucker: expected factor {k} of {rank} columns for a core of ranks {self.ranks}, got "
                    f"{list(factor.shape)}"
                )

    operator = False

    @property
    def cores(self) -> tuple[Tensor, ...]:  # type: ignore[override]
        """The factors, then the core."""
        return (*self.factors, self.core)

    @property
    def modes(self) -> tuple[tuple[int, ...], ...]:
        """Lengths `(n,)` of each mode."""
        return tuple((factor.shape[-2],) for factor in self.factors)

    @property
    def ranks(self) -> tuple[int, ...]:
        """The shape of the core."""
        return tuple(self.core.shape[self._n_batch :])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Axes of the batch, none for a single tensor."""
        return tuple(self.core.shape[: self._n_batch])

    @property
    def _n_batch(self) -> int:
        return self.core.ndim - len(self.factors)

    # Making them.

    @classmethod
    def rank_one(cls, factors: Sequence[Tensor]) -> "Tucker":
        """The outer product of vectors `[..., n]`."""
        core = factors[0].new_ones(*factors[0].shape[:-1], *[1] * len(factors))
        return cls(core, tuple(factor.unsqueeze(-1) for factor in factors))

    @classmethod
    def random(
        cls,
        shape: Sequence[int],
        ranks: Sequence[int],
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        batch_shape: Sequence[int] = (),
    ) -> "Tucker":
        """Normal core and factors, so that every entry has zero mean and unit variance."""
        if len(shape) != len(ranks):
            raise ConfigError(f"Tucker: expected a rank for each of {len(shape)} modes, got {list(ranks)}")

        def normal(*sizes: int) -> Tensor:
            return torch.randn(
                (*batch_shape, *sizes), generator=generator, dtype=dtype, device=generator.device
            )

        core = normal(*ranks) / sqrt(prod(ranks))
        return cls(core, tuple(normal(n, r) for n, r in zip(shape, ranks, strict=True)))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> "Tucker":
        """The tensor that `to_arrays` took apart; raises `ConfigError` where an array is missing."""
        try:
            count = int(arrays["n_factors"])
            core = torch.from_numpy(np.array(arrays["core"]))
            factors = [torch.from_numpy(np.array(arrays[f"factor_{k}"])) for k in range(count)]
        except KeyError as error:
            raise ConfigError(f"Tucker: expected arrays as of to_arrays, {error} is missing") from error
        return cls(core, tuple(factors))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Its parts as plain arrays: `core`, `n_factors` and `factor_0`, `factor_1`, ..."""
        factors = {f"factor_{k}": as_array(factor) for k, factor in enumerate(self.factors)}
        return {"core": as_array(self.core), "n_factors": np.array(len(self.factors)), **factors}

    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> "Tucker":
        """The same tensor in another dtype or on another device."""
        *factors, core = (t.to(device=device, dtype=dtype) for t in self.cores)
        return Tucker(core, tuple(factors))

    # Algebra: that of a tree whose root has all modes.

    def __add__(self, other: "Tucker") -> "Tucker":
        self._require_alike("+", other)
        return self._like(branches.add(self._tree, self._branches(), other._branches(), self._n_batch))

    def __mul__(self, other: "Tucker | complex | Tensor") -> "Tucker":
        if isinstance(other, Tucker):
            self._require_alike("*", other)
            return self._like(
                branches.multiply(self._tree, self._branches(), other._branches(), self._n_batch)
            )
        core = self.core * self._factor(other, len(self.factors))
        return Tucker(core, tuple(factor.to(core.dtype) for factor in self.factors))

    def conj(self) -> "Tucker":
        """The complex conjugate."""
        return Tucker(self.core.conj(), tuple(factor.conj() for factor in self.factors))

    def kron(self, other: "Tucker") -> "Tucker":
        """The product of each entry with each entry: the modes of `other` follow those of this one."""
        self._require_factor("kron", other)
        rows, columns = (core.reshape(*self.batch_shape, -1) for core in (self.core, other.core))
        core = (rows[..., :, None] * columns[..., None, :]).reshape(
            *self.batch_shape, *self.ranks, *other.ranks
        )
        return Tucker(core, (*self.factors, *other.factors))

    def inner(self, other: "Tucker") -> Tensor:
        """Sum over all entries of conj(self) * other, one for each element of the batch."""
        self._require_alike("inner", other)
        return branches.inner(self._tree, self._branches(), other._branches(), self._n_batch)

    def norm(self) -> Tensor:
        """The Frobenius norm, one for each element of the batch; as accurate as that of `TensorTrain`."""
        if torch.is_grad_enabled() and any(core.requires_grad for core in self.cores):
            return self.inner(self).real.sqrt()
        return branches.norm(self._tree, self._branches(), self._n_batch)

    def full(self) -> Tensor:
        """The full tensor, `[*batch, *shape]`."""
        return branches.absorb(self.core, self.factors, self._n_batch)

    def __getitem__(self, key: Any) -> "Tucker | Tensor":
        """A part, as of every format; see `Format`."""
        rows: list[Tensor | None] = []  # of the modes that are removed
        factors = []
        keys = indexing.parsed("Tucker", self.shape, key)
        for factor, one in zip(self.factors, keys, strict=True):
            part = factor[..., one, :]
            rows.append(part.unsqueeze(-2) if isinstance(one, int) else None)
            if not isinstance(one, int):
                factors.append(part)
        core = branches.absorb(self.core, rows, self._n_batch)
        core = core.reshape((*self.batch_shape, *(factor.shape[-1] for factor in factors)))
        return Tucker(core, tuple(factors)) if factors else core

    def at(self, indices: Tensor) -> Tensor:
        """Entries at `indices`, `[n_places, d]` of int64: `[*batch, n_places]`; raises `ConfigError` where they lie
        outside."""
        self._require_indices(indices)
        return branches.entries(self._tree, self._branches(), indices, self._n_batch)

    def round(self, tolerance: float = 1e-12, *, ranks: Sequence[int | None] | None = None) -> "Tucker":
        """The tensor with small ranks within an error: ‖x - round(x)‖ ≤ tolerance ‖x‖; its factors are orthogonal.

        Gradients are as those of `TensorTrain.round`.

        Args:
            tolerance: relative.
            ranks: largest rank of each mode; what they cost is not bounded by the tolerance.

        Raises:
            ConfigError: the core or a factor is not finite; or, in the backward pass, a cut goes through equal singular
                values.
        """
        most = [None] * len(self.factors) if ranks is None else list(ranks)
        if (
            not 0 <= tolerance < 1
            or len(most) != len(self.factors)
            or any(r is not None and r < 1 for r in most)
        ):
            raise ConfigError(
                f"Tucker: expected a tolerance from 0 to 1 and ranks of at least 1 for {len(self.factors)} modes, got "
                f"{tolerance} and {ranks}"
            )
        return self._like(
            branches.rounded(self._tree, self._branches(), tolerance, [*most, None], self._n_batch)
        )

    @property
    def _tree(self) -> Tree:
        return Tree.star(len(self.factors))

    def _branches(self) -> list[Tensor]:
        return [*self.factors, self.core.unsqueeze(-1)]

    def _like(self, cores: Sequence[Tensor]) -> "Tucker":
        return Tucker(cores[-1].squeeze(-1), tuple(cores[:-1]))
