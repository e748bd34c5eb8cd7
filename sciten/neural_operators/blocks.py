"""The parts of Fourier neural operators beside their convolutions; channels come last.

They hold the weights; what is computed of them at every point of a grid is in `pointwise`.
"""

from math import sqrt
from typing import get_args

import torch
from torch import Tensor, nn

from sciten.errors import ConfigError
from sciten.neural_operators.pointwise import Pointwise, Skip, Weights
from sciten.neural_operators.spectral import SpectralConvolution


class ChannelMap(nn.Module):
    """The weights of a linear map of the channels: y = x · weight + bias, at every point alike.

    The weight lies as `[inputs, outputs]`, unlike that of `torch.nn.Linear`: with few inputs its gradient then takes a
    tenth of the time, since BLAS is slow where the result of a long product has few columns.

    Args:
        inputs, outputs: channels.
        bias: whether a constant is added.
        generator: of the first values; torch's own without.
        dtype: of the weights.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        bound = 1 / sqrt(inputs)

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*shape, dtype=dtype).uniform_(-bound, bound, generator=generator))

        self.weight = drawn(inputs, outputs)
        self.bias = drawn(outputs) if bias else None


class SkipConnection(nn.Module):
    """What goes past a layer: a linear map, all as it is, each channel times a number (at first one), or nothing.

    Args:
        kind: "linear", "identity", "soft_gating" or "none".
        channels: of the fields.
        generator: of the first values; torch's own without.
        dtype: of the weights.

    Raises:
        ConfigError: the kind is none of these.
    """

    def __init__(
        self,
        kind: Skip,
        channels: int,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if kind not in get_args(Skip):
            raise ConfigError(f"skip: expected one of {', '.join(get_args(Skip))}, got {kind!r}")
        self.kind = kind
        self.map = (
            ChannelMap(channels, channels, bias=False, generator=generator, dtype=dtype)
            if kind == "linear"
            else None
        )
        self.gates = nn.Parameter(torch.ones(channels, dtype=dtype)) if kind == "soft_gating" else None

    @property
    def weight(self) -> Tensor | None:
        """Of the map `[channels, channels]`, or the numbers `[channels]`."""
        return self.gates if self.map is None else self.map.weight


class ChannelMLP(nn.Module):
    """Two linear maps of the channels with GELU between them, at every point alike."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.first = ChannelMap(inputs, hidden, generator=generator, dtype=dtype)
        self.second = ChannelMap(hidden, outputs, generator=generator, dtype=dtype)

    def forward(self, fields: Tensor) -> Tensor:
        """`[..., inputs]` to `[..., outputs]`."""
        return Pointwise()(fields, None, Weights(**self.weights()))

    def weights(self) -> dict[str, Tensor | None]:
        """As `pointwise.Weights` calls them."""
        first, second = self.first, self.second
        return {
            "first": first.weight,
            "first_bias": first.bias,
            "second": second.weight,
            "second_bias": second.bias,
        }


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
        self.pointwise = Pointwise(
            skip.kind, "none" if mlp_skip is None else mlp_skip.kind, activated=activated
        )

    def forward(self, fields: Tensor) -> Tensor:
        """`[batch, *grid, channels]`."""
        weights = Weights(
            skip=self.skip.weight,
            bias=self.convolution.bias,
            mlp_skip=None if self.mlp_skip is None else self.mlp_skip.weight,
            **({} if self.mlp is None else self.mlp.weights()),
        )
        return self.pointwise(self.convolution.without_bias(fields), fields, weights)
