"""Relative errors of fields, as losses and for reports: in L2 (Li et al., "Fourier Neural Operator", arXiv 2010.08895)
and in H1, which counts slopes as well as values (Li et al., "Learning Dissipative Dynamics in Chaotic Systems", arXiv
2106.06898).

    ratio_b = ‖prediction_b − target_b‖ / ‖target_b‖,   loss = mean of ratio_b over the samples,

with all channels and points of a sample b in one norm, every point with the same weight. Where a target is zero
everywhere there is nothing to be relative to: the ratio is then the norm of the prediction itself, divided by the root
of the number of values, so that L2 becomes the root mean square.
"""

from dataclasses import dataclass
from math import isfinite, pi, prod

import torch
from torch import Tensor

from sciten.errors import ConfigError, DataError


@dataclass(frozen=True)
class RelativeL2:
    """The mean over samples of ‖p − t‖ / ‖t‖, with ‖u‖² = Σ u²."""

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of fields `[B, C, *grid]`; raises as `ratios` does."""
        return self.ratios(prediction, target).mean()

    def ratios(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The relative error of each sample, `[B]`.

        Raises:
            DataError: prediction and target differ in shape, or have no grid.
        """
        prediction, target = _comparable("RelativeL2", prediction, target)
        return _ratios(_norms(prediction - target), _norms(target), prod(target.shape[1:]))


@dataclass(frozen=True)
class RelativeH1:
    """The mean over samples of ‖p − t‖ / ‖t‖, with ‖u‖² = Σ (u² + Σ_k (∂u/∂x_k)²).

    Slopes along periodic axes are those of the Fourier series (the wave that changes sign from point to point has
    none), along others those of second-order differences, one-sided at the ends.

    Args:
        lengths: of each axis: the period of a periodic axis, from the first point to the last of others. In these
            units slopes weigh against values.
        periodic: for each axis, whether it is periodic.

    Raises:
        ConfigError: lengths are not positive, or not as many as the axes.
    """

    lengths: tuple[float, ...]
    periodic: tuple[bool, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", tuple(self.lengths))
        object.__setattr__(self, "periodic", tuple(self.periodic))
        if not 1 <= len(self.lengths) <= 3 or not all(isfinite(x) and x > 0 for x in self.lengths):
            raise ConfigError(
                f"RelativeH1: expected lengths as one to three positive numbers, got {self.lengths}"
            )
        if len(self.periodic) != len(self.lengths):
            raise ConfigError(
                f"RelativeH1: expected periodic as {len(self.lengths)} truth values, one for each length, got "
                f"{self.periodic}"
            )

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of fields `[B, C, *grid]`; raises as `ratios` does."""
        return self.ratios(prediction, target).mean()

    def ratios(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The relative error of each sample, `[B]`.

        Raises:
            DataError: prediction and target differ in shape, have another number of axes, or fewer than three points
                along an axis that is not periodic.
        """
        prediction, target = _comparable("RelativeH1", prediction, target)
        self._require_grid(target)
        return _ratios(self._norms(prediction - target), self._norms(target), prod(target.shape[1:]))

    def _require_grid(self, target: Tensor) -> None:
        grid = tuple(target.shape[2:])
        if len(grid) != len(self.lengths):
            raise DataError(
                f"RelativeH1: expected fields of shape [B, C, *grid] with {len(self.lengths)} axes, one for each "
                f"length, got {list(target.shape)}"
            )
        if any(n < 3 for n, periodic in zip(grid, self.periodic, strict=True) if not periodic):
            raise DataError(
                f"RelativeH1: expected at least 3 points along axes that are not periodic, got {grid}; take a finer "
                "grid or RelativeL2"
            )

    def _norms(self, u: Tensor) -> Tensor:
        axes = zip(self.lengths, self.periodic, strict=True)
        slopes = (_slope(u, k, *axis) for k, axis in enumerate(axes, start=2))
        return torch.linalg.vector_norm(torch.stack([_norms(u), *map(_norms, slopes)]), dim=0)


def _slope(u: Tensor, axis: int, length: float, periodic: bool) -> Tensor:
    n = u.shape[axis]
    if u.numel() == 0:  # which not every FFT takes
        return u
    if not periodic:
        (slope,) = torch.gradient(u, spacing=length / (n - 1), dim=axis, edge_order=2)
        return slope
    waves = 2 * pi / length * torch.arange(n // 2 + 1, device=u.device, dtype=u.dtype)
    if n % 2 == 0:
        waves[-1] = 0
    factors = torch.complex(torch.zeros_like(waves), waves).view(-1, *[1] * (u.ndim - axis - 1))
    return torch.fft.irfft(torch.fft.rfft(u, dim=axis) * factors, n=n, dim=axis)


def _norms(u: Tensor) -> Tensor:
    """Of each sample, `[B]`; unlike the root of a sum, with a gradient (of zero) where it is zero."""
    return torch.linalg.vector_norm(u.flatten(1), dim=1)


def _ratios(errors: Tensor, targets: Tensor, values: int) -> Tensor:
    return errors / torch.where(targets > 0, targets, values**0.5)


def _comparable(name: str, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the same precision, single at least."""
    if prediction.shape != target.shape or target.ndim < 3:
        raise DataError(
            f"{name}: expected a prediction and a target of the same shape [B, C, *grid], got "
            f"{list(prediction.shape)} and {list(target.shape)}"
        )
    dtype = torch.promote_types(torch.promote_types(prediction.dtype, target.dtype), torch.float32)
    return prediction.to(dtype), target.to(dtype)
