"""Tensor trains: vectors and operators as chains of small cores.

An entry is a product of matrices, `x[i_1, ..., i_d] = core_1[:, i_1, :] ... core_d[:, i_d, :]`, the first of one row
and the last of one column (Oseledets, SIAM J. Sci. Comput. 33, 2295 (2011)). Cores of vectors are `[r, n, r']`, those
of operators `[r, n, m, r']` with n for rows and m for columns; axes before these are a batch, which all cores share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.formats import chains, indexing
from sciten.tensor.formats.base import Format, as_array, require_cores

#: Entries that are gathered at a time where a train is evaluated at many indices.
_GATHERED = 2**22


@dataclass(frozen=True, eq=False, repr=False)
class TensorTrain(Format):
    """An immutable tensor train.

    Args:
        cores: `[..., r, n, r']` each, or with `operator` `[..., r, n, m, r']`; of one dtype and on one device. The
            first rank and the last are one.
        operator: whether this is a linear map, to be applied by `@`.

    Raises:
        ConfigError: cores do not fit each other; the message names the first that does not.

    Operations never round by themselves: the ranks of sums add up, those of products multiply; `round` makes them
    small.
    """

    cores: tuple[Tensor, ...]
    operator: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "cores", tuple(self.cores))
        _check(self.cores, self.operator)

    # What it is.

    @property
    def _axes(self) -> int:
        return 4 if self.operator else 3

    @property
    def modes(self) -> tuple[tuple[int, ...], ...]:
        """Lengths of the mode of each core: `(n,)`, or `(n, m)` of operators."""
        return tuple(tuple(core.shape[1 - self._axes : -1]) for core in self.cores)

    @property
    def ranks(self) -> tuple[int, ...]:
        """From the one before the first core to the one after the last, d + 1 of them."""
        return (1, *(core.shape[-1] for core in self.cores))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Axes of the batch, none for a single tensor."""
        return tuple(self.cores[0].shape[: -self._axes])

    def __len__(self) -> int:
        return len(self.cores)

    # Making them.

    @classmethod
    def rank_one(cls, factors: Sequence[Tensor], *, operator: bool = False) -> "TensorTrain":
        """The outer product of vectors `[..., n]`, or with `operator` the Kronecker product of matrices `[..., n,
        m]`."""
        axis = -3 if operator else -2
        return cls(tuple(factor.unsqueeze(axis).unsqueeze(-1) for factor in factors), operator)

    @classmethod
    def ones(
        cls, shape: Sequence[int], *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> "TensorTrain":
        """The tensor of ones."""
        return cls.rank_one([torch.ones(n, dtype=dtype, device=device) for n in shape])

    @classmethod
    def zeros(
        cls, shape: Sequence[int], *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> "TensorTrain":
        """The tensor of zeros, of rank one."""
        return cls.rank_one([torch.zeros(n, dtype=dtype, device=device) for n in shape])

    @classmethod
    def identity(
        cls, shape: Sequence[int], *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> "TensorTrain":
        """The identity on tensors of a shape."""
        return cls.rank_one([torch.eye(n, dtype=dtype, device=device) for n in shape], operator=True)

    @classmethod
    def random(
        cls,
        shape: Sequence[int],
        ranks: int | Sequence[int],
        *,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
        batch_shape: Sequence[int] = (),
    ) -> "TensorTrain":
        """Normal cores, so that every entry has zero mean and unit variance.

        Args:
            shape: of the tensor.
            ranks: the d - 1 ranks between the cores, or one for all of them.
            generator: of random numbers; the train is made on its device.
            dtype, batch_shape: of the cores.
        """
        inner = [ranks] * (len(shape) - 1) if isinstance(ranks, int) else list(ranks)
        if len(inner) != len(shape) - 1:
            raise ConfigError(f"TensorTrain: expected {len(shape) - 1} ranks, got {len(inner)}")
        bounds = [1, *inner, 1]
        return cls(
            tuple(
                torch.randn(
                    (*batch_shape, r, n, s), generator=generator, dtype=dtype, device=generator.device
                )
                / sqrt(r)
                for r, n, s in zip(bounds, shape, bounds[1:], strict=False)
            )
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> "TensorTrain":
        """The train that `to_arrays` took apart; raises `ConfigError` where an array is missing."""
        try:
            operator, count = bool(arrays["operator"]), int(arrays["n_cores"])
            cores = [torch.from_numpy(np.array(arrays[f"core_{k}"])) for k in range(count)]
        except KeyError as error:
            raise ConfigError(f"TensorTrain: expected arrays as of to_arrays, {error} is missing") from error
        return cls(tuple(cores), operator)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Its parts as plain arrays: `operator`, `n_cores` and `core_0`, `core_1`, ..."""
        cores = {f"core_{k}": as_array(core) for k, core in enumerate(self.cores)}
        return {"operator": np.array(self.operator), "n_cores": np.array(len(self.cores)), **cores}

    def to(
        self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> "TensorTrain":
        """The same train in another dtype or on another device."""
        return TensorTrain(tuple(core.to(device=device, dtype=dtype) for core in self.cores), self.operator)

    # Algebra.

    def __add__(self, other: "TensorTrain") -> "TensorTrain":
        self._require_alike("+", other)
        return self._like(chains.add(self._chain(), other._chain()))

    def __mul__(self, other: "TensorTrain | complex | Tensor") -> "TensorTrain":
        if isinstance(other, TensorTrain):
            self._require_alike("*", other)
            return self._like(chains.multiply(self._chain(), other._chain()))
        first, *rest = self.cores
        scaled = first * self._factor(other, self._axes)
        return TensorTrain((scaled, *(core.to(scaled.dtype) for core in rest)), self.operator)

    def __matmul__(self, other: "TensorTrain") -> "TensorTrain":
        """An operator applied to a vector, or to an operator."""
        if not self.operator or not isinstance(other, TensorTrain):
            raise ConfigError(f"TensorTrain: @ expects an operator and a train, got {self!r} and {other!r}")
        inner = [mode[1] for mode in self.modes]
        if inner != [mode[0] for mode in other.modes]:
            raise ConfigError(f"TensorTrain: @ of {self!r} expects something of shape {inner}, got {other!r}")
        self._require_kind("@", other)
        pairs = zip(self.cores, other.cores, strict=True)
        if other.operator:
            cores = [
                torch.einsum("...anmb,...cmkd->...acnkbd", a, b).flatten(-2).flatten(-5, -4) for a, b in pairs
            ]
        else:
            cores = [
                torch.einsum("...anmb,...cmd->...acnbd", a, b).flatten(-2).flatten(-4, -3) for a, b in pairs
            ]
        return TensorTrain(tuple(cores), other.operator)

    def conj(self) -> "TensorTrain":
        """The complex conjugate."""
        return TensorTrain(tuple(core.conj() for core in self.cores), self.operator)

    @property
    def mT(self) -> "TensorTrain":  # noqa: N802 - as torch names it
        """The transposed operator."""
        if not self.operator:
            raise ConfigError(f"TensorTrain: expected an operator to transpose, got {self!r}")
        return TensorTrain(tuple(core.transpose(-3, -2) for core in self.cores), True)

    @property
    def mH(self) -> "TensorTrain":  # noqa: N802 - as torch names it
        """The adjoint operator."""
        return self.mT.conj()

    def inner(self, other: "TensorTrain") -> Tensor:
        """Sum over all entries of conj(self) * other, one for each element of the batch."""
        self._require_alike("inner", other)
        return chains.inner(self._chain(), other._chain())

    def norm(self) -> Tensor:
        """The Frobenius norm, one for each element of the batch.

        Where no gradient is recorded, by orthogonalisation: accurate to the precision relative to the cores also where
        they cancel, as in `(x - y).norm()`, while a square root of the inner product is good to half the digits.
        """
        if torch.is_grad_enabled() and any(core.requires_grad for core in self.cores):
            return self.inner(self).real.sqrt()
        return chains.norm(self._chain())

    def kron(self, other: "TensorTrain") -> "TensorTrain":
        """The product of each entry with each entry: the modes of `other` follow those of this one."""
        self._require_factor("kron", other)
        return TensorTrain((*self.cores, *other.cores), self.operator)

    def sum(self) -> Tensor:
        """The sum of all entries, one for each element of the batch."""
        first, *rest = (core.sum(-2) for core in self._chain())
        for matrix in rest:
            first = first @ matrix
        return first[..., 0, 0]

    # Entries.

    def full(self) -> Tensor:
        """The full tensor, `[*batch, *shape]`; of operators rows first, then columns."""
        result = self._chain()[0]
        for core in self._chain()[1:]:
            result = torch.einsum("...anb,...bmc->...anmc", result, core).flatten(-3, -2)
        result = result[..., 0, :, 0]
        d = len(self.cores)
        flat = result.reshape(*self.batch_shape, *(n for mode in self.modes for n in mode))
        if not self.operator:
            return flat
        batch = len(self.batch_shape)
        order = [*range(batch), *(batch + 2 * k for k in range(d)), *(batch + 2 * k + 1 for k in range(d))]
        return flat.permute(order)

    def at(self, indices: Tensor) -> Tensor:
        """Entries at many places.

        Args:
            indices: `[n_places, d]`, int64.

        Returns:
            `[*batch, n_places]`.

        Raises:
            ConfigError: an index lies outside, or the shape or dtype is not as above; or this is an operator.
        """
        self._require_vector("at")
        self._require_indices(indices)
        largest = max(core.shape[-3] * core.shape[-1] for core in self.cores) * prod(self.batch_shape)
        step = max(1, _GATHERED // largest)
        found = [self._entries(indices[start : start + step]) for start in range(0, len(indices), step)]
        return torch.cat(found, -1) if found else self.cores[0].new_zeros(*self.batch_shape, 0)

    def _entries(self, indices: Tensor) -> Tensor:
        rows = self.cores[0][..., 0, :, :].index_select(-2, indices[:, 0])  # [..., places, r]
        for core, index in zip(self.cores[1:], indices.T[1:], strict=True):
            chosen = core.index_select(-2, index)
            rows = torch.einsum("...pa,...apb->...pb", rows, chosen)
        return rows[..., 0]

    def __getitem__(self, key: Any) -> "TensorTrain | Tensor":
        """A part, as of every format; see `Format`."""
        self._require_vector("[]")
        keys = indexing.parsed("TensorTrain", self.shape, key)
        cores: list[Tensor] = []
        pending: Tensor | None = None  # a matrix, of modes that were removed, to be multiplied from the left
        for core, one in zip(self.cores, keys, strict=True):
            if isinstance(one, int):
                matrix = core[..., one, :]
                pending = matrix if pending is None else pending @ matrix
                continue
            part = core[..., one, :]
            if pending is not None:
                part = torch.einsum("...ab,...bnc->...anc", pending, part)
                pending = None
            cores.append(part)
        if not cores:
            assert pending is not None
            return pending[..., 0, 0]
        if pending is not None:
            cores[-1] = torch.einsum("...anb,...bc->...anc", cores[-1], pending)
        return TensorTrain(tuple(cores))

    # Smaller ranks.

    def round(self, tolerance: float = 1e-12, *, rank: int | Sequence[int] | None = None) -> "TensorTrain":
        """The train with the least ranks within an error: ‖x - round(x)‖ ≤ tolerance ‖x‖.

        Oseledets 2011, Algorithm 2, where the orthogonalisation of the right side keeps triangular factors only. The
        gradient does not depend on the choice of cores, and is finite wherever the result is differentiable, so also
        for trains of needlessly high ranks, such as `x + x`.

        Args:
            tolerance: relative.
            rank: largest rank, or one for each of the d - 1 bonds; what it costs is not bounded by the tolerance.

        Raises:
            ConfigError: cores are not finite; or, in the backward pass, a cut goes through equal singular values.
        """
        if not 0 <= tolerance < 1:
            raise ConfigError(f"TensorTrain: expected a tolerance from 0 to 1, got {tolerance}")
        bonds = len(self.cores) - 1
        most = [rank] * bonds if rank is None or isinstance(rank, int) else list(rank)
        if len(most) != bonds or any(r is not None and r < 1 for r in most):
            raise ConfigError(f"TensorTrain: expected ranks of at least 1 for {bonds} bonds, got {rank}")
        return self._like(chains.rounded(self._chain(), tolerance, most))

    def reshape(self, shape: Sequence[int]) -> "TensorTrain":
        """The same entries in another shape, the last index running fastest, as of full tensors.

        With powers of two, `x.reshape([2] * 30)`, this is the quantised train (QTT): the first bit of an index is the
        most significant one. Modes are merged and split where products of old and new lengths agree, and ranks between
        split modes are the least that rounding errors allow.
        """
        self._require_vector("reshape")
        if not shape or prod(shape) != prod(self.shape) or any(n < 1 for n in shape):
            raise ConfigError(
                f"TensorTrain: expected a shape of {prod(self.shape)} entries, got {list(shape)}"
            )
        return TensorTrain(tuple(chains.reshaped(self.cores, list(shape))))

    # How it is worked on: as a chain of cores [..., r, n, r'], the modes of operators merged.

    def _chain(self) -> list[Tensor]:
        return [core.flatten(-3, -2) for core in self.cores] if self.operator else list(self.cores)

    def _like(self, chain: Sequence[Tensor]) -> "TensorTrain":
        if not self.operator:
            return TensorTrain(tuple(chain))
        cores = [core.unflatten(-2, mode) for core, mode in zip(chain, self.modes, strict=True)]
        return TensorTrain(tuple(cores), True)


def _check(cores: tuple[Tensor, ...], operator: bool) -> None:
    axes = 4 if operator else 3
    wanted = "[..., r, n, m, r']" if operator else "[..., r, n, r']"
    require_cores("TensorTrain", cores, [axes] * len(cores), [wanted] * len(cores))
    before = 1
    for k, core in enumerate(cores):
        if core.shape[-axes] != before:
            raise ConfigError(f"TensorTrain: expected core {k} of left rank {before}, got {list(core.shape)}")
        before = core.shape[-1]
    if before != 1:
        raise ConfigError(f"TensorTrain: expected the last core to have right rank 1, got {before}")
