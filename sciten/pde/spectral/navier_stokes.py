"""The incompressible Navier-Stokes equations on the torus [0, 1]², for the vorticity w = ∂v/∂x - ∂u/∂y:

    w_t + u·∇w = ν Δw + f,   u = (∂ψ/∂y, -∂ψ/∂x),   -Δψ = w.

Pseudo-spectral, dealiased by the 2/3 rule. In each of three substeps diffusion is taken by Crank-Nicolson and advection
by the explicit third order Runge-Kutta scheme of Spalart, Moser and Rogers (J. Comput. Phys. 96, 297 (1991)): second
order in time with diffusion, third without. Advection is computed as Basdevant does (J. Comput. Phys. 50, 209 (1983)),

    u·∇w = ∂x∂y (v² - u²) + (∂x² - ∂y²) u v,

from four transforms; on the dealiased waves it is the Galerkin term, which conserves energy and enstrophy.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, pi

import torch
from torch import Tensor
from tqdm import tqdm

from sciten.errors import ConfigError, DataError, DivergenceError
from sciten.pde.spectral.torus import (
    highest_kept,
    number_of_steps,
    require_positive,
    require_resolved,
    require_start,
    require_times,
)

_NAME = "NavierStokes"
#: Of each substep: the weights of its own advection, and of that of the substep before.
_WEIGHTS = ((8 / 15, 0.0), (5 / 12, -17 / 60), (3 / 4, -5 / 12))
#: Third order Runge-Kutta schemes are stable on the imaginary axis up to √3; the highest wave kept is 2π n/3.
_LARGEST_COURANT = 3**0.5 * 3 / (2 * pi)
#: Crank-Nicolson damps a wave without changing its sign up to ν k² times the longest substep's half of this.
_LONGEST_SUBSTEP = 4 / 15
_LARGEST_MEAN = 1e-6


def diagonal_forcing(x: Tensor, y: Tensor) -> Tensor:
    """0.1 [sin 2π(x + y) + cos 2π(x + y)], of Li et al. (ICLR 2021)."""
    angle = 2 * pi * (x + y)
    return 0.1 * (torch.sin(angle) + torch.cos(angle))


@dataclass(frozen=True)
class NavierStokes:
    """Two-dimensional flow on the unit torus, and how it is integrated.

    Args:
        viscosity: ν, zero or more.
        forcing: f as a function of x and y, which broadcast to `[n, n]`; None for none.
        courant: the step is such that nothing travels further than this times the spacing, |u| + |v| added up.
        longest_step: whatever the velocity.
        step: a fixed step in place of both; refused where it is unstable.
        largest_tail: the largest share of the enstrophy in the last sixth of the wavenumbers that are kept; with more
            the field is not resolved.

    Raises:
        ConfigError: a number is out of range.
    """

    viscosity: float
    forcing: Callable[[Tensor, Tensor], Tensor] | None = diagonal_forcing
    courant: float = 0.7
    longest_step: float = 0.02
    step: float | None = None
    largest_tail: float = 1e-5

    def __post_init__(self) -> None:
        if not (isfinite(self.viscosity) and self.viscosity >= 0):
            raise ConfigError(f"{_NAME}: expected a viscosity of zero or more, got {self.viscosity}")
        require_positive(
            _NAME,
            courant=self.courant,
            longest_step=self.longest_step,
            step=self.step,
            largest_tail=self.largest_tail,
        )
        if self.courant > _LARGEST_COURANT:
            raise ConfigError(
                f"{_NAME}: expected a Courant number of at most {_LARGEST_COURANT:.2f}, got {self.courant}"
            )

    def solve(self, vorticity: Tensor, times: Sequence[float], *, progress: bool = False) -> Tensor:
        """The vorticity at given times.

        Args:
            vorticity: at t = 0, `[..., n, n]` on the points (i/n, j/n), x first, of mean zero. Waves that the 2/3 rule
                does not keep are removed. Samples of a batch take the same steps.
            times: ascending, from zero on.
            progress: show a progress bar over the times.

        Returns:
            `[..., n_times, n, n]`, float64.

        Raises:
            DataError: the start is not finite, or its mean is not zero.
            ConfigError: times do not ascend, or the forcing is not finite.
            DivergenceError: the given step is unstable, the field is not resolved, or not finite.
        """
        start, times = require_start(_NAME, vorticity, 2), require_times(_NAME, times)
        n = start.shape[-1]
        if start.numel() == 0:
            return start.new_empty(*start.shape[:-2], len(times), n, n)
        mean = start.mean((-2, -1)).abs() / start.abs().amax((-2, -1)).clamp(
            min=torch.finfo(start.dtype).tiny
        )
        if float(mean.max()) > _LARGEST_MEAN:
            raise DataError(
                f"{_NAME}: expected a vorticity of mean zero, which every flow on a torus has, got one of "
                f"{float(mean.max()):.1e} of its maximum; subtract the mean"
            )
        flow = _Flow.on(n, start.device, self.viscosity, self.forcing)
        fields = []
        states = self._states(flow, torch.fft.rfft2(start) * flow.kept, times)
        for w in tqdm(states, total=len(times), desc="Navier-Stokes", disable=None if progress else True):
            fields.append(torch.fft.irfft2(w, s=(n, n)))
        return torch.stack(fields, -3)

    def _states(self, flow: "_Flow", w: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
        now = 0.0
        for time in times:
            while now < time:
                velocity = flow.velocity(w)
                count = self._steps_to_go(flow, velocity, now, time)
                step = (time - now) / count
                w = flow.advance(w, velocity, step)
                now = time if count == 1 else now + step
            if now > 0:  # the start itself is exact, whatever its waves
                flow.require_resolved(w, self.largest_tail, now)
            yield w

    def _steps_to_go(self, flow: "_Flow", velocity: Tensor, now: float, until: float) -> int:
        speed = float(velocity.abs().sum(0).amax())
        if not isfinite(speed):
            raise DivergenceError(
                f"{_NAME}: expected a finite velocity at t = {now:g}, got {speed}; give a smaller step, or a larger "
                "viscosity"
            )
        crossing = 1 / (flow.n * max(speed, 1e-300))
        if self.step is None:
            longest = min(self.longest_step, self.courant * crossing, flow.longest_smooth_step)
            return number_of_steps(until - now, longest)
        if self.step > _LARGEST_COURANT * crossing:
            raise DivergenceError(
                f"{_NAME}: expected a step of at most {_LARGEST_COURANT * crossing:.1e}, which is stable on {flow.n} "
                f"points at the velocity {speed:.2g} of t = {now:g}, got {self.step:g}; give a smaller one, or None"
            )
        return number_of_steps(until - now, self.step)


@dataclass(frozen=True, eq=False)
class _Flow:
    """The equation on n² points, in the coefficients of real transforms, `[..., n, n // 2 + 1]`.

    Real factors stand there twice, for the real and for the imaginary part: torch would make complex numbers of them.

    Args:
        n: points in each direction.
        kept: of the coefficients, 0 or 1.
        largest: of the two integer wavenumbers, absolute.
        to_velocity: from the vorticity to u and v, `[2, n, n // 2 + 1]`, imaginary.
        from_products: from the products u v and v² - u² to minus the advection, `[2, n, 2 (n // 2 + 1)]`.
        damping: ν k², `[n, 2 (n // 2 + 1)]`.
        forcing: coefficients of f.
    """

    n: int
    kept: Tensor
    largest: Tensor
    to_velocity: Tensor
    from_products: Tensor
    damping: Tensor
    forcing: Tensor

    @classmethod
    def on(
        cls,
        n: int,
        device: torch.device,
        viscosity: float,
        forcing: Callable[[Tensor, Tensor], Tensor] | None,
    ) -> "_Flow":
        real = {"dtype": torch.float64, "device": device}
        i = torch.fft.fftfreq(n, 1 / n, **real)[:, None]  # type: ignore[call-overload]
        j = torch.fft.rfftfreq(n, 1 / n, **real)  # type: ignore[call-overload]
        largest = torch.maximum(i.abs(), j)
        kept = (largest <= highest_kept(n)).to(torch.float64)
        kx, ky = 2 * pi * i, 2 * pi * j
        squared = kx.square() + ky.square()
        inverse = torch.where(squared > 0, 1 / squared.clamp(min=1.0), 0.0) * kept
        return cls(
            n=n,
            kept=kept,
            largest=largest,
            to_velocity=1j * torch.stack([ky * inverse, -kx * inverse]),
            from_products=_doubled(torch.stack([(kx.square() - ky.square()) * kept, kx * ky * kept])),
            damping=_doubled(viscosity * squared),
            forcing=_coefficients(forcing, n, device) * kept,
        )

    @cached_property
    def longest_smooth_step(self) -> float:
        """Up to which Crank-Nicolson lets no wave that is kept change its sign."""
        return 1 / (_LONGEST_SUBSTEP * max(float((self.damping * _doubled(self.kept)).max()), 1e-300))

    def velocity(self, w: Tensor) -> Tensor:
        """u and v on the points, `[2, ..., n, n]`."""
        shape = (2, *[1] * (w.ndim - 2), *self.to_velocity.shape[1:])
        return torch.fft.irfft2(self.to_velocity.reshape(shape) * w, s=(self.n, self.n))

    def advection(self, velocity: Tensor) -> Tensor:
        """Minus u·∇w, plus f."""
        u, v = velocity
        products = torch.fft.rfft2(torch.stack([u * v, (v - u) * (v + u)]))
        total = _pairs(products[0]) * self.from_products[0]
        total.addcmul_(_pairs(products[1]), self.from_products[1])
        return _numbers(total) + self.forcing

    def advance(self, w: Tensor, velocity: Tensor, step: float) -> Tensor:
        """The vorticity after a step, from it and its velocity."""
        before: Tensor | None = None
        for own, last in _WEIGHTS:
            explicit = self.advection(velocity if before is None else self.velocity(w))
            half = (own + last) / 2 * step * self.damping
            gain = step / (1 + half)
            total = _pairs(w) * ((1 - half) / (1 + half))
            total.addcmul_(_pairs(explicit), own * gain)
            if before is not None:
                total.addcmul_(_pairs(before), last * gain)
            w, before = _numbers(total), explicit
        return w

    def require_resolved(self, w: Tensor, limit: float, time: float) -> None:
        """Raise `DivergenceError` where the field is not finite, or the points do not resolve it."""
        power = w.abs().square()
        if not bool(torch.isfinite(power).all()):
            raise DivergenceError(
                f"{_NAME}: expected a finite field at t = {time:g}, got inf or NaN; give a smaller step, or a larger "
                "viscosity"
            )
        # Coefficients of a real transform stand for themselves and their conjugates, but for those of zero.
        twice = torch.full_like(power[..., :1, :], 2.0)
        twice[..., 0] = 1.0
        require_resolved(_NAME, twice * power, self.largest, self.n, limit, time)


def _pairs(coefficients: Tensor) -> Tensor:
    """Complex numbers as real and imaginary parts beside each other, without a copy."""
    return torch.view_as_real(coefficients).flatten(-2)


def _numbers(pairs: Tensor) -> Tensor:
    """The inverse of `_pairs`."""
    return torch.view_as_complex(pairs.unflatten(-1, (-1, 2)))


def _doubled(factors: Tensor) -> Tensor:
    return factors.repeat_interleave(2, -1)


def _coefficients(forcing: Callable[[Tensor, Tensor], Tensor] | None, n: int, device: torch.device) -> Tensor:
    if forcing is None:
        return torch.zeros(n, n // 2 + 1, dtype=torch.complex128, device=device)
    x = torch.arange(n, dtype=torch.float64, device=device) / n
    values = torch.broadcast_to(torch.as_tensor(forcing(x[:, None], x), dtype=torch.float64), (n, n))
    if not bool(torch.isfinite(values).all()):
        raise ConfigError(f"{_NAME}: expected a finite forcing, got inf or NaN")
    if float(values.mean().abs()) > _LARGEST_MEAN * float(values.abs().max()):
        raise ConfigError(f"{_NAME}: expected a forcing of mean zero, got {float(values.mean()):.1e}")
    return torch.fft.rfft2(values)
