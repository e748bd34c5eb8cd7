"""Gaussian random fields on [0, 1]^d with the covariance scale (−Δ + tau²)^(−alpha).

By Karhunen and Loève such a field is a sum of the Laplacian's eigenfunctions, orthonormal in L²([0, 1]^d), with
independent normal coefficients:

    u(x) = Σ_k sqrt(scale) (λ_k + tau²)^(−alpha/2) ξ_k e_k(x),   −Δ e_k = λ_k e_k,   ξ_k ~ N(0, 1).

On the torus k runs over Z^d, λ_k = 4π²|k|² and e_k(x) = cos(2π k·x) + sin(2π k·x); with homogeneous Neumann conditions
k runs over N^d, λ_k = π²|k|² and e_k is a product of cosines. `scale` is a factor of the covariance, so that its square
root is one of the field. The constant mode is left out unless it is asked for: so do the programs that made the public
data of the Fourier neural operator (Li et al., ICLR 2021, appendix A.3), whose three fields stand here as
`INITIAL_VORTICITY`, `PERMEABILITY` and `INITIAL_VELOCITY`.

One caution for who compares with others: programs for the first of them often put the factor 7^(3/2) on the field, not
on its covariance, which here is `scale=7**3`, a field of 4.3 times the amplitude.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, pi, sqrt

import numpy as np
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.boundary import Neumann, Periodic

_TORUS = Periodic()


@dataclass(frozen=True)
class GaussianField:
    """N(0, scale (−Δ + tau²)^(−alpha)) on the unit cube.

    Args:
        alpha: smoothness; samples have fewer than `alpha - dimensions / 2` derivatives in L².
        tau: inverse length scale.
        scale: factor of the covariance.
        dimensions: of the cube.
        boundary: `Periodic()`, or `Neumann()` for a zero normal derivative on all faces.
        zero_mean: leave the constant mode out, so that every sample has mean zero.

    Raises:
        ConfigError: an argument is out of range; in particular the variance is infinite unless
            `alpha > dimensions / 2`.
    """

    alpha: float
    tau: float
    scale: float = 1.0
    dimensions: int = 2
    boundary: Periodic | Neumann = _TORUS
    zero_mean: bool = True

    def __post_init__(self) -> None:
        if self.dimensions < 1:
            raise ConfigError(f"GaussianField: expected at least one dimension, got {self.dimensions}")
        if not (isfinite(self.alpha) and self.alpha > self.dimensions / 2):
            raise ConfigError(
                f"GaussianField: expected alpha > {self.dimensions / 2:g} in {self.dimensions} dimensions, got "
                f"{self.alpha}; with less the variance at a point is infinite"
            )
        if not (isfinite(self.tau) and self.tau >= 0 and (self.tau > 0 or self.zero_mean)):
            raise ConfigError(f"GaussianField: expected tau > 0 (or zero, with zero_mean), got {self.tau}")
        if not (isfinite(self.scale) and self.scale > 0):
            raise ConfigError(f"GaussianField: expected a positive scale, got {self.scale}")
        if self.boundary not in (Periodic(), Neumann()):
            raise ConfigError(f"GaussianField: expected Periodic() or Neumann(), got {self.boundary!r}")

    def points(self, n: int) -> Tensor:
        """Coordinates along each axis, `[n]`: j/n on the torus, j/(n - 1), with both ends, between Neumann faces."""
        last = n if self._periodic else n - 1
        return torch.arange(n, dtype=torch.float64) / last

    def resolved(self, n: int) -> int:
        """The highest wavenumber that n points of an axis resolve."""
        return (n - 1) // 2 if self._periodic else n - 1

    def spectrum(self, modes: int) -> Tensor:
        """Variances of the coefficients, `[2 modes + 1] * d` for k = -modes ... modes, or `[modes + 1] * d` from 0."""
        k = self._wavenumbers(modes).to(torch.float64) * (2 * pi if self._periodic else pi)
        eigenvalues = sum(
            (k.square().reshape([-1 if b == a else 1 for b in range(self.dimensions)]))
            for a in range(self.dimensions)
        )
        assert isinstance(eigenvalues, Tensor)
        variances = self.scale * (eigenvalues + self.tau**2) ** -self.alpha
        return torch.where(eigenvalues == 0, 0.0, variances) if self.zero_mean else variances

    def sample(self, n: int, *, seed: int, samples: Sequence[int] = (0,), modes: int | None = None) -> Tensor:
        """Samples on n points of each axis, `[n_samples, n, ...]`, float64.

        A sample is determined by the seed and its number: neither the other samples nor n change its coefficients, and
        more modes only add to it. With the same `modes` it is the same function on all points.

        Args:
            n: number of points in each dimension, see `points`.
            seed: not negative.
            samples: numbers of the samples, not negative.
            modes: highest wavenumber; by default that which n points resolve. More than that is evaluated exactly at
                the points, too.

        Raises:
            ConfigError: an argument is out of range.
        """
        highest = self.resolved(n) if modes is None else modes
        if n < 2 or highest < 1:
            raise ConfigError(
                f"GaussianField: expected at least 3 points and one mode, got {n} and {highest}"
            )
        if seed < 0 or any(one < 0 for one in samples):
            raise ConfigError(f"GaussianField: expected a seed and samples from 0 on, got {seed}, {samples}")
        if len(samples) == 0:
            return torch.empty(0, *[n] * self.dimensions, dtype=torch.float64)
        deviations = self.spectrum(highest).sqrt()
        order = self._by_shells(highest)
        coefficients = torch.empty(len(samples), deviations.numel(), dtype=torch.float64)
        for row, number in zip(coefficients, samples, strict=True):
            drawn = np.random.default_rng([seed, number]).standard_normal(len(order))
            row[order] = torch.from_numpy(drawn)
        coefficients = coefficients.reshape(len(samples), *deviations.shape) * deviations
        return self._on_torus(coefficients, n) if self._periodic else self._between_faces(coefficients, n)

    @property
    def _periodic(self) -> bool:
        return isinstance(self.boundary, Periodic)

    def _wavenumbers(self, modes: int) -> Tensor:
        return torch.arange(-modes if self._periodic else 0, modes + 1)

    def _by_shells(self, modes: int) -> Tensor:
        """Flat indices in the order of the largest wavenumber, so that numbers drawn first do not know of the rest."""
        k = self._wavenumbers(modes).abs()
        largest = k
        for _ in range(self.dimensions - 1):
            largest = torch.maximum(largest[..., None], k)
        return torch.argsort(largest.reshape(-1), stable=True)

    def _on_torus(self, coefficients: Tensor, n: int) -> Tensor:
        places = self._wavenumbers((coefficients.shape[-1] - 1) // 2) % n
        for axis in range(1, self.dimensions + 1):
            # Waves that differ by n are the same on these points.
            folded = torch.zeros(
                *coefficients.shape[:axis], n, *coefficients.shape[axis + 1 :], dtype=torch.float64
            )
            coefficients = folded.index_add_(axis, places, coefficients)
        waves = torch.fft.ifftn(coefficients, dim=tuple(range(1, self.dimensions + 1)), norm="forward")
        return waves.real + waves.imag

    def _between_faces(self, coefficients: Tensor, n: int) -> Tensor:
        k = self._wavenumbers(coefficients.shape[-1] - 1)
        cosines = torch.cos(pi * self.points(n)[:, None] * k) * torch.where(k > 0, sqrt(2.0), 1.0)
        for _ in range(self.dimensions):  # each takes the first of the axes and puts its points last
            coefficients = torch.tensordot(coefficients, cosines, ([1], [1]))
        return coefficients


#: The vorticity with which the two-dimensional Navier-Stokes equations begin.
INITIAL_VORTICITY = GaussianField(alpha=2.5, tau=7.0, scale=7.0**1.5)
#: What the coefficient of Darcy's equation is made from, by its sign or its exponential.
PERMEABILITY = GaussianField(alpha=2.0, tau=3.0, boundary=Neumann())
#: The velocity with which Burgers' equation begins.
INITIAL_VELOCITY = GaussianField(alpha=2.0, tau=5.0, scale=625.0, dimensions=1)
