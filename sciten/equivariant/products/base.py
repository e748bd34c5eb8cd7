"""What the products of signals share: layout, checks, parity and weights per degree."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod
from typing import Self

import torch
from torch import Tensor, nn

from sciten.equivariant.irreps import Irrep, Irreps
from sciten.equivariant.products.arguments import require_alike, require_features, require_same_batch
from sciten.errors import ConfigError


class SignalProduct(nn.Module, ABC):
    """A bilinear product of features with equally many copies ("channels") of each irrep, channel by channel.

    Attributes:
        irreps_in1, irreps_in2, irreps_out: of the inputs and the output, `channels` copies of each entry.
        channels: copies of every irrep; 1 for plain signals.
        weight_numel: how many weights a call takes, 0 without weights.
        weight: the module's own weights, `[weight_numel]`.
    """

    weight: Tensor

    @classmethod
    def _blank(cls) -> Self:
        """A product without irreps yet, for what makes one from other arguments than those of `__init__`."""
        product = cls.__new__(cls)
        nn.Module.__init__(product)
        return product

    def _bind(self, irreps_in1: Irreps, irreps_in2: Irreps, irreps_out: Irreps) -> None:
        """Take the irreps on; raises `ConfigError` unless all have one multiplicity and none occurs twice."""
        self.irreps_in1, self.irreps_in2, self.irreps_out = irreps_in1, irreps_in2, irreps_out
        name = type(self).__name__
        multiplicities = {entry.mul for irreps in self.irreps for entry in irreps}
        if len(multiplicities) != 1 or 0 in multiplicities:
            raise ConfigError(
                f"{name}: expected one multiplicity, the channels, for all irreps, got {irreps_in1} x {irreps_in2} -> "
                f"{irreps_out}"
            )
        for irreps in self.irreps:
            if len({entry.ir for entry in irreps}) != len(irreps):
                raise ConfigError(
                    f"{name}: expected every irrep once, as one entry with its channels, got {irreps}"
                )
        (self.channels,) = multiplicities
        # In messages; made here, where no compiler follows.
        self._what = [
            f"lmax={irreps.lmax}" if irreps == Irreps.natural(irreps.lmax) else str(irreps)
            for irreps in self.irreps[:2]
        ]
        self.weight_numel = 0

    def _require_paths(self) -> None:
        """Raise `ConfigError` where nothing is coupled; an output that is not reached beside others is zero."""
        first, second, out = self.irreps
        if not any(self._couples(a.ir, b.ir, c.ir) for c in out for a in first for b in second):
            raise ConfigError(f"{type(self).__name__}: no path leads from {first} x {second} to {out}")

    @abstractmethod
    def _couples(self, first: Irrep, second: Irrep, out: Irrep) -> bool:
        """Whether the product has a path from two irreps to a third."""

    @property
    def irreps(self) -> tuple[Irreps, Irreps, Irreps]:
        """Of the inputs and the output."""
        return self.irreps_in1, self.irreps_in2, self.irreps_out

    @abstractmethod
    def couple(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """`[batch, irreps_in1.dim]` and `[batch, irreps_in2.dim]` to `[batch, irreps_out.dim]`; `weight` is flat."""

    def forward(self, x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """The product, `[..., irreps_out.dim]`.

        Args:
            x: `[..., irreps_in1.dim]`.
            y: `[..., irreps_in2.dim]`, with the leading axes of x.
            weight: in place of the module's own, `[weight_numel]`.

        Raises:
            ConfigError: shapes or dtypes do not fit.
        """
        name = type(self).__name__
        if not hasattr(self, "irreps_in1"):
            raise ConfigError(f"{name}: it has no degrees yet; expected {name}(lmax1, lmax2, lmax_out)")
        require_features(name, "x", x, self.irreps_in1.dim, self._what[0])
        require_features(name, "y", y, self.irreps_in2.dim, self._what[1])
        tensors = {"x": x, "y": y}
        batch = require_same_batch(name, tensors)
        if weight is None and self.weight_numel:
            weight = self.weight
        if weight is not None:
            if weight.shape != (self.weight_numel,):
                raise ConfigError(
                    f"{name}: expected weight of shape [{self.weight_numel}], got {list(weight.shape)}"
                )
            tensors["weight"] = weight
        require_alike(name, tensors)
        x, y = (t.reshape(prod(batch), t.shape[-1]) for t in (x, y))
        return self.couple(x, y, weight).reshape(*batch, self.irreps_out.dim)

    def extra_repr(self) -> str:
        """The irreps."""
        return (
            f"{self.irreps_in1} x {self.irreps_in2} -> {self.irreps_out}"
            if hasattr(self, "irreps_in1")
            else ""
        )


class DegreeWeightedProduct(SignalProduct):
    """A product whose only weights are one for each entry of the inputs and the output and each channel.

    `weight` lies by entry (of the first input, the second and the output), then by channel.
    """

    def _add_degree_weights(self) -> None:
        """One weight for each entry of the inputs and the output and each channel, all one at first."""
        self.weight_numel = sum(map(len, self.irreps)) * self.channels
        self.weight = nn.Parameter(torch.ones(self.weight_numel))

    @abstractmethod
    def multiply(self, x: Tensor, y: Tensor) -> Tensor:
        """The product of single channels, `[batch, sum of 2l + 1]` each, in the order of the irreps."""

    def couple(self, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        """See `SignalProduct`."""
        x, y = to_channels(x, self.irreps_in1), to_channels(y, self.irreps_in2)
        if weight is not None:
            scales = self._scales(weight)
            x, y = x * scales[0], y * scales[1]
        result = self.multiply(x.flatten(0, 1), y.flatten(0, 1)).unflatten(0, x.shape[:2])
        return from_channels(result if weight is None else result * scales[2], self.irreps_out)

    def _scales(self, weight: Tensor) -> list[Tensor]:
        """For each side the weights of its components, `[channels, sum of 2l + 1]`."""
        parts = weight.view(-1, self.channels).split([len(irreps) for irreps in self.irreps])
        scales = []
        for irreps, part in zip(self.irreps, parts, strict=True):
            repeats = torch.tensor([entry.ir.dim for entry in irreps], device=weight.device)
            size = sum(entry.ir.dim for entry in irreps)
            scales.append(part.repeat_interleave(repeats, dim=0, output_size=size).T)
        return scales


def to_channels(x: Tensor, irreps: Irreps) -> Tensor:
    """From e3nn's layout `[..., mul (2l + 1)]` of each entry to `[batch, channels, sum of 2l + 1]`."""
    flat = x.reshape(prod(x.shape[:-1]), x.shape[-1])
    if irreps[0].mul == 1:
        return flat[:, None]  # a single channel lies there already
    blocks = zip(flat.split([entry.dim for entry in irreps], dim=1), irreps, strict=True)
    return torch.cat([block.unflatten(1, (entry.mul, entry.ir.dim)) for block, entry in blocks], dim=2)


def from_channels(x: Tensor, irreps: Irreps) -> Tensor:
    """The inverse of `to_channels`, `[batch, sum of mul (2l + 1)]`."""
    if irreps[0].mul == 1:
        return x[:, 0]
    return torch.cat(
        [block.flatten(1) for block in x.split([entry.ir.dim for entry in irreps], dim=2)], dim=1
    )


def require_degrees(product: str, **degrees: int) -> None:
    """Raise `ConfigError` unless every degree is an integer of at least 0."""
    for name, degree in degrees.items():
        if not isinstance(degree, int) or isinstance(degree, bool) or degree < 0:
            raise ConfigError(f"{product}: expected {name} to be an integer of at least 0, got {degree!r}")


def given_degrees(
    product: str, lmax1: int | None, lmax2: int | None, lmax_out: int | None
) -> tuple[int, int, int] | None:
    """The three highest degrees, or None where none is given; raises `ConfigError` for some only, or unusable ones."""
    if lmax1 is None and lmax2 is None and lmax_out is None:
        return None
    if lmax1 is None or lmax2 is None or lmax_out is None:
        raise ConfigError(f"{product}: expected lmax1, lmax2 and lmax_out together, or none of them")
    require_degrees(product, lmax1=lmax1, lmax2=lmax2, lmax_out=lmax_out)
    return lmax1, lmax2, lmax_out


def components(irreps: Irreps, chosen: Sequence[int]) -> list[int]:
    """Numbers of the components of some entries, of one channel."""
    starts = [0]
    for entry in irreps:
        starts.append(starts[-1] + entry.ir.dim)
    return [k for i in chosen for k in range(starts[i], starts[i + 1])]
