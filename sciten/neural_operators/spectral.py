"""Convolutions by multiplying Fourier coefficients with a complex weight, which may be kept in a low-rank format.

Li et al., Fourier neural operator for parametric partial differential equations, ICLR (2021), eq. (4); Kossaifi et al.,
TMLR (2024), for factorised weights.
"""

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor, nn

from sciten.errors import ConfigError
from sciten.neural_operators.arguments import require_modes, require_whole
from sciten.neural_operators.factorizations import Dense, Factorization, View
from sciten.neural_operators.fourier import (
    analyse,
    mode_shape,
    require_resolution,
    synthesise,
)
from sciten.neural_operators.pairs import as_complex, as_pairs, contract_pairs
from sciten.tensor.formats.base import Format

_AXES = "xyz"


class SpectralWeight(nn.Module):
    """A complex weight `[inputs, outputs, *frequencies]` as trained factors.

    The factors are pairs of real numbers. They start as independent normal numbers, all multiplied by one number so
    that the weight they stand for has the root mean square `std`, whatever the format.

    Args:
        shape: of the weight; a separable one is `[channels, *frequencies]`.
        factorization: the format.
        std: root mean square of the weight at the start.
        dropout: probability with which each rank is left out of a training step.
        generator: of the first values; torch's own without.
        dtype: of the real numbers.

    Raises:
        ConfigError: a rank or the dropout is out of range, or there are no ranks to drop.
    """

    def __init__(
        self,
        shape: Sequence[int],
        factorization: Factorization,
        std: float,
        *,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.shape, self.factorization = tuple(shape), factorization
        shapes = factorization.shapes(self.shape)
        drawn = [torch.randn(*s, 2, generator=generator, dtype=torch.float64) for s in shapes]
        size = _norm(factorization.view([as_complex(factor) for factor in drawn]))
        scale = (std * sqrt(torch.Size(self.shape).numel()) / size) ** (1 / len(drawn))
        self.factors = nn.ParameterList([nn.Parameter((scale * factor).to(dtype)) for factor in drawn])
        self.dropout = dropout
        if dropout:
            with torch.random.fork_rng(devices=[]):
                factorization.dropped(drawn, dropout)  # refuses what cannot be

    def view(self) -> View:
        """The weight as a complex tensor, or as the `CP`, `Tucker` or `TensorTrain` that its factors make."""
        return self.factorization.view([as_complex(factor) for factor in self.factors])

    def full(self) -> Tensor:
        """The weight as a complex tensor."""
        found = self.view()
        return found.full() if isinstance(found, Format) else found

    @torch.no_grad()
    def copy_from(self, weight: Tensor) -> None:
        """Take the values nearest to those of a full complex weight."""
        if tuple(weight.shape) != self.shape:
            raise ConfigError(
                f"SpectralWeight: expected a weight of shape {self.shape}, got {list(weight.shape)}"
            )
        found = self.factorization.decompose(weight.detach().to(torch.complex128))
        for factor, value in zip(self.factors, found, strict=True):
            factor.copy_(as_pairs(value))

    def apply_to(self, coefficients: Tensor, places: Sequence[slice]) -> Tensor:
        """Weighted coefficients `[batch, *frequencies, outputs, 2]` of `[batch, *frequencies, inputs, 2]`.

        The full weight is built on the way only where that takes fewer operations.

        Args:
            coefficients: of the frequencies at `places`.
            places: along each axis of the frequencies, which of the weight's are meant.
        """
        axes = _AXES[: len(places)]
        separable = len(self.shape) == len(places) + 1
        letters = ("i" if separable else "io") + axes
        channels = [slice(None)] * (len(letters) - len(axes))
        factors = list(self.factors)
        if self.dropout and self.training:
            factors = self.factorization.dropped(factors, self.dropout)
        factors = self.factorization.cut(factors, [*channels, *places])
        terms = ",".join([f"b{axes}i", *self.factorization.terms(letters)])
        return contract_pairs(f"{terms}->b{axes}{'i' if separable else 'o'}", coefficients, *factors)


class SpectralConvolution(nn.Module):
    """A convolution on a periodic grid by its lowest frequencies: `synthesise(weight · analyse(fields)) + bias`.

    Args:
        in_channels, out_channels: of the fields.
        modes: how many frequencies are kept along each axis, negative ones counted.
        factorization: format of the weight.
        separable: whether each channel is convolved by itself, with a weight `[channels, *frequencies]`.
        dropout: of the weight's ranks, in training.
        std: root mean square of the weight at the start; sqrt(2 / (in_channels + out_channels)) without.
        generator: of the first values.
        dtype: of the weights.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        modes: Sequence[int],
        *,
        factorization: Factorization | None = None,
        separable: bool = False,
        dropout: float = 0.0,
        std: float | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        require_whole("SpectralConvolution", in_channels=in_channels, out_channels=out_channels)
        modes = require_modes("SpectralConvolution", modes)
        if separable and in_channels != out_channels:
            raise ConfigError(
                "SpectralConvolution: expected as many output channels as input channels where separable, got "
                f"{in_channels} and {out_channels}"
            )
        self.modes = self.active_modes = modes
        std = sqrt(2 / (in_channels + out_channels)) if std is None else std
        channels = (in_channels,) if separable else (in_channels, out_channels)
        self.weight = SpectralWeight(
            (*channels, *mode_shape(modes)),
            factorization or Dense(),
            std,
            dropout=dropout,
            generator=generator,
            dtype=dtype,
        )
        bias = std * torch.randn(out_channels, generator=generator, dtype=torch.float64)
        self.bias = nn.Parameter(bias.to(dtype))

    def set_modes(self, modes: Sequence[int]) -> None:
        """Let the frequencies of `modes` take part only, the lowest of those that the weight has.

        Raises:
            ConfigError: they are more than the weight has, or not as many numbers as there are axes.
        """
        modes = require_modes("SpectralConvolution", modes)
        if len(modes) != len(self.modes) or any(a > m for a, m in zip(modes, self.modes, strict=True)):
            raise ConfigError(
                f"SpectralConvolution: expected at most the modes {self.modes}, a number for each axis, got {modes}"
            )
        self.active_modes = modes

    def forward(self, fields: Tensor) -> Tensor:
        """Fields `[batch, *grid, in_channels]` to fields `[batch, *grid, out_channels]`."""
        return self.without_bias(fields) + self.bias

    def without_bias(self, fields: Tensor) -> Tensor:
        """The same without the constant.

        In mixed precision transforms and weights stay in the precision of the weights: sums over a whole grid and
        coefficients of very different sizes would suffer most.
        """
        grid, modes = fields.shape[1:-1], self.active_modes
        require_resolution("SpectralConvolution", grid, modes)
        with torch.autocast(fields.device.type, enabled=False):
            return synthesise(self._weighted(fields.to(self.bias.dtype)), modes, grid)

    def _weighted(self, fields: Tensor) -> Tensor:
        coefficients = analyse(fields, self.active_modes).movedim(1, -1)
        return self.weight.apply_to(coefficients, self._places()).movedim(-1, 1)

    def _places(self) -> list[slice]:
        """Where the active frequencies lie among all of the weight's."""
        before = [m // 2 - a // 2 for m, a in zip(self.modes[:-1], self.active_modes, strict=False)]
        starts = [*before, 0]
        return [
            slice(start, start + count)
            for start, count in zip(starts, mode_shape(self.active_modes), strict=True)
        ]


def _norm(view: View) -> float:
    return float(view.norm()) if isinstance(view, Format) else float(torch.linalg.vector_norm(view))
