"""The parts of Fourier neural operators beside their convolutions; channels come last.

Most of the time at the points of a grid goes into reading and writing fields, so that sums are not made of finished
terms: a skip connection makes the tensor that the layer beside it adds its own part to. That happens in place only
where the tensor is no view of another one, since the backward pass of those would copy whole fields.
"""

from math import sqrt
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from sciten.errors import ConfigError
from sciten.neural_operators.spectral import SpectralConvolution

Skip = Literal["linear", "identity", "soft_gating", "none"]


class ChannelMap(nn.Module):
    """A linear map of the channels, at every point alike.

    The weight lies as `[inputs, outputs]`, unlike that of `torch.nn.Linear`: with few inputs its gradient then takes a
    tenth of the time, since BLAS is slow where the result of a long product has few columns.

    Args:
        inputs, outputs: channels.
        bias: whether a constant is added.
        dtype: of the weights.
    """

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool = True, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        bound = 1 / sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(inputs, outputs, dtype=dtype).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs, dtype=dtype).uniform_(-bound, bound)) if bias else None

    def forward(self, fields: Tensor) -> Tensor:
        """`[..., inputs]` to `[..., outputs]`."""
        return self.after(fields.reshape(-1, fields.shape[-1]), self.bias).view(*fields.shape[:-1], -1)

    def after(self, rows: Tensor, constant: Tensor | None) -> Tensor:
        """The map of `[points, inputs]` with another constant, a new tensor."""
        return rows @ self.weight if constant is None else torch.addmm(constant, rows, self.weight)

    def added_to(self, onto: Tensor, rows: Tensor) -> Tensor:
        """A new tensor `onto`, `[points, outputs]`, plus the map of `rows` without its constant, perhaps in place."""
        if torch.is_autocast_enabled(rows.device.type):  # which does not know operations in place
            return torch.addmm(onto, rows, self.weight)
        return onto.addmm_(rows, self.weight)


class SkipConnection(nn.Module):
    """What goes past a layer: a linear map, all as it is, each channel times a number (at first one), or nothing.

    Args:
        kind: "linear", "identity", "soft_gating" or "none".
        channels: of the fields.
        dtype: of the weights.

    Raises:
        ConfigError: the kind is none of these.
    """

    def __init__(self, kind: Skip, channels: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        if kind not in get_args(Skip):
            raise ConfigError(f"skip: expected one of {', '.join(get_args(Skip))}, got {kind!r}")
        self.kind = kind
        self.map = ChannelMap(channels, channels, bias=False, dtype=dtype) if kind == "linear" else None
        self.gates = nn.Parameter(torch.ones(channels, dtype=dtype)) if kind == "soft_gating" else None

    def forward(self, rows: Tensor, constant: Tensor) -> Tensor:
        """A new tensor: what is passed on of `[points, channels]`, plus a constant `[channels]`."""
        if self.map is not None:
            return self.map.after(rows, constant)
        if self.gates is not None:
            return torch.addcmul(constant, rows, self.gates)
        return rows + constant if self.kind == "identity" else constant.expand(rows.shape).clone()


class ChannelMLP(nn.Module):
    """Two linear maps of the channels with GELU between them, at every point alike."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.first = ChannelMap(inputs, hidden, dtype=dtype)
        self.second = ChannelMap(hidden, outputs, dtype=dtype)

    def forward(self, fields: Tensor) -> Tensor:
        """`[..., inputs]` to `[..., outputs]`."""
        return self.second(nn.functional.gelu(self.first(fields)))  # type: ignore[no-any-return]

    def added_to(self, onto: Tensor, rows: Tensor) -> Tensor:
        """A new tensor `onto`, `[points, outputs]`, plus the result without the last constant, perhaps in place."""
        return self.second.added_to(onto, nn.functional.gelu(self.first(rows)))


class FourierBlock(nn.Module):
    """A convolution and, if there is one, an MLP of the channels, each with its skip connection and GELU after it.

    Args:
        convolution: of `[batch, *grid, channels]`.
        skip: past the convolution.
        mlp: of the channels.
        mlp_skip: past both.
        activated: whether GELU follows; not in the last block.
    """

    def __init__(
        self,
        convolution: SpectralConvolution,
        skip: SkipConnection,
        mlp: ChannelMLP | None,
        mlp_skip: SkipConnection | None,
        *,
        activated: bool,
    ) -> None:
        super().__init__()
        self.convolution, self.skip, self.mlp, self.mlp_skip = convolution, skip, mlp, mlp_skip
        self.activated = activated

    def forward(self, fields: Tensor) -> Tensor:
        """`[batch, *grid, channels]`."""
        rows = fields.reshape(-1, fields.shape[-1])
        passed = self.skip(rows, self.convolution.bias).view(fields.shape)
        found = self._activated(self.convolution.added_to(passed, fields))
        if self.mlp is None or self.mlp_skip is None:
            return found
        passed = self.mlp_skip(rows, self.mlp.second.bias)
        return self._activated(self.mlp.added_to(passed, found.reshape(rows.shape))).view(fields.shape)

    def _activated(self, fields: Tensor) -> Tensor:
        return nn.functional.gelu(fields) if self.activated else fields
