"""What the formats share: how they describe themselves, which of them go together, and algebra that follows."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from sciten.errors import ConfigError


class Format(ABC):
    """A tensor as a network of small ones, `cores`, of one dtype and on one device.

    Axes of the cores before their own are a batch, which all cores share. Operations never round by themselves.
    """

    cores: tuple[Tensor, ...]
    operator: bool  # whether this is a linear map

    @property
    @abstractmethod
    def modes(self) -> tuple[tuple[int, ...], ...]:
        """Lengths of each mode: `(n,)`, or `(n, m)`, rows and columns, of operators."""

    @property
    @abstractmethod
    def ranks(self) -> tuple[int, ...]:
        """Of the bonds of the network; their order is that of the format."""

    @property
    @abstractmethod
    def batch_shape(self) -> tuple[int, ...]:
        """Axes of the batch, none for a single tensor."""

    @abstractmethod
    def __add__(self, other: Self) -> Self:
        """The sum, whose ranks are sums."""

    @abstractmethod
    def __mul__(self, other: "Self | complex | Tensor") -> Self:
        """The product entry by entry, whose ranks are products; or with a number, one for each element of the batch."""

    @abstractmethod
    def inner(self, other: Self) -> Tensor:
        """Sum over all entries of conj(self) * other, one for each element of the batch."""

    @abstractmethod
    def norm(self) -> Tensor:
        """The Frobenius norm, one for each element of the batch."""

    @abstractmethod
    def kron(self, other: Self) -> Self:
        """The product of each entry with each entry: the modes of `other` follow those of this tensor."""

    @abstractmethod
    def __getitem__(self, key: Any) -> "Self | Tensor":
        """A part: for each mode an integer, which removes it, a slice or a list of indices; "..." for all others.

        With integers alone the entry itself, `[*batch]`. Raises `ConfigError` where the key does not fit the shape.
        """

    @abstractmethod
    def full(self) -> Tensor:
        """The full tensor, `[*batch, *shape]`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the full tensor; of operators that of what they give, then that of what they take."""
        return tuple(mode[axis] for axis in range(len(self.modes[0])) for mode in self.modes)

    @property
    def dtype(self) -> torch.dtype:
        """Of the cores."""
        return self.cores[0].dtype

    @property
    def device(self) -> torch.device:
        """Of the cores."""
        return self.cores[0].device

    @property
    def stored(self) -> int:
        """Numbers in all cores."""
        return sum(core.numel() for core in self.cores)

    @property
    def entries(self) -> int:
        """Numbers of the full tensor, the batch included."""
        return prod(self.batch_shape) * prod(self.shape)

    def __repr__(self) -> str:
        batch = f", batch={self.batch_shape}" if self.batch_shape else ""
        shape = " x ".join("·".join(map(str, mode)) for mode in self.modes)
        return (
            f"{type(self).__name__}({shape}{batch}{', operator' if self.operator else ''}, ranks={self.ranks}, "
            f"{str(self.dtype).removeprefix('torch.')}, {self.stored:,} numbers for {self.entries:,} entries)"
        )

    def __neg__(self) -> Self:
        return self * -1.0

    def __sub__(self, other: Self) -> Self:
        self._require_alike("-", other)
        return self + (-other)

    def __rmul__(self, other: "complex | Tensor") -> Self:
        return self * other

    def __truediv__(self, other: "complex | Tensor") -> Self:
        return self * (1 / other)

    def _require_alike(self, what: str, other: object) -> None:
        if not isinstance(other, Format) or type(other) is not type(self):
            raise ConfigError(
                f"{type(self).__name__}: {what} expects another one, got a {type(other).__name__}"
            )
        if self.modes != other.modes:
            raise ConfigError(
                f"{type(self).__name__}: {what} expects equal modes, got {self!r} and {other!r}"
            )
        self._require_kind(what, other)

    def _require_factor(self, what: str, other: object) -> None:
        if not isinstance(other, Format) or (type(other), other.operator) != (type(self), self.operator):
            kind = "operator" if self.operator else "vector"
            raise ConfigError(
                f"{type(self).__name__}: {what} expects another {kind} in this format, got {other!r:.120}"
            )
        self._require_kind(what, other)

    def _require_kind(self, what: str, other: "Format") -> None:
        mine, theirs = ((t.dtype, t.device, t.batch_shape) for t in (self, other))
        if mine != theirs:
            raise ConfigError(
                f"{type(self).__name__}: {what} expects one dtype, device and batch, got {mine} and {theirs}"
            )

    def _require_vector(self, what: str) -> None:
        if self.operator:
            raise ConfigError(f"{type(self).__name__}: {what} is for vectors, got {self!r}")

    def _require_indices(self, indices: Tensor) -> None:
        d = len(self.modes)
        if indices.ndim != 2 or indices.shape[1] != d or indices.dtype != torch.int64:
            raise ConfigError(
                f"{type(self).__name__}: at expects int64 indices [n_places, {d}], got {indices.dtype} "
                f"{list(indices.shape)}"
            )
        limits = torch.tensor(self.shape, device=indices.device)
        if bool(((indices < 0) | (indices >= limits)).any()):
            raise ConfigError(
                f"{type(self).__name__}: at expects indices within the shape {self.shape}, some lie outside"
            )

    def _factor(self, other: "complex | Tensor", axes: int) -> "complex | Tensor":
        """A number, or one for each element of the batch with `axes` axes after them."""
        if not isinstance(other, Tensor):
            return other
        if other.shape not in ((), self.batch_shape):
            raise ConfigError(
                f"{type(self).__name__}: expected a factor of shape {list(self.batch_shape)} or a number, got "
                f"{list(other.shape)}"
            )
        return other.reshape(*other.shape, *[1] * axes)


def require_cores(name: str, cores: Sequence[Any], axes: Sequence[int], wanted: Sequence[str]) -> None:
    """Raise `ConfigError` unless cores are real or complex tensors with so many own axes, alike and of one batch."""
    if not cores:
        raise ConfigError(f"{name}: expected at least one core, got none")
    for k, core in enumerate(cores):
        if not isinstance(core, Tensor) or not (core.is_floating_point() or core.is_complex()):
            raise ConfigError(f"{name}: expected core {k} to be a real or complex tensor, got {core!r:.80}")
        if (
            core.ndim < axes[k]
            or core.shape[: core.ndim - axes[k]] != cores[0].shape[: cores[0].ndim - axes[0]]
        ):
            batch = list(cores[0].shape[: cores[0].ndim - axes[0]])
            raise ConfigError(
                f"{name}: expected core {k} of shape {wanted[k]} with the batch {batch}, got {list(core.shape)}"
            )
        if (core.dtype, core.device) != (cores[0].dtype, cores[0].device):
            raise ConfigError(
                f"{name}: expected cores of one dtype on one device, got {cores[0].dtype} on {cores[0].device} and "
                f"{core.dtype} on {core.device}"
            )


def as_array(core: Tensor) -> np.ndarray:
    """A core as a plain array, which has no lazy conjugates; raises `ConfigError` where NumPy has no such dtype."""
    try:
        array: np.ndarray = core.detach().resolve_conj().resolve_neg().cpu().numpy()
    except TypeError as error:
        raise ConfigError(
            f"expected a dtype that NumPy knows, got {core.dtype}; convert it by `to`"
        ) from error
    return array
