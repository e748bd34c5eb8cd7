"""Burgers' equation u_t + u u_x = ν u_xx on the periodic unit interval.

Pseudo-spectral, dealiased by the 2/3 rule, with exponential time differencing of fourth order: diffusion is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from sciten.errors import DivergenceError
from sciten.pde.spectral.exponential import ETDRK4
from sciten.pde.spectral.torus import (
    highest_kept,
    number_of_steps,
    require_positive,
    require_resolved,
    require_start,
    require_times,
)

_NAME = "Burgers"
#: Solutions never exceed their start, but by what truncation explains; a step that is too large blows them up.
_LARGEST_GROWTH = 1.1


@dataclass(frozen=True)
class Burgers:
    """Burgers' equation, and how it is integrated.

    Args:
        viscosity: ν, positive.
        courant: the step is such that nothing travels further than this times the spacing.
        step: a fixed step in place of that.
        largest_tail: the largest share of the energy in the last sixth of the wavenumbers that are kept; with more the
            field is not resolved.

    Raises:
        ConfigError: a number is not positive.
    """

    viscosity: float
    courant: float = 0.5
    step: float | None = None
    largest_tail: float = 1e-6

    def __post_init__(self) -> None:
        require_positive(
            _NAME,
            viscosity=self.viscosity,
            courant=self.courant,
            step=self.step,
            largest_tail=self.largest_tail,
        )

    def solve(self, velocity: Tensor, times: Sequence[float]) -> Tensor:
        """The velocity at given times.

        Args:
            velocity: at t = 0, `[..., n]` on the points i/n. Waves that the 2/3 rule does not keep are removed. Samples
                of a batch take the same steps.
            times: ascending, from zero on.

        Returns:
            `[..., n_times, n]`, float64.

        Raises:
            DataError: the start is not finite.
            ConfigError: times do not ascend.
            DivergenceError: the step is too large, or the field is not resolved.
        """
        start, times = require_start(_NAME, velocity, 1), require_times(_NAME, times)
        n = start.shape[-1]
        if start.numel() == 0:
            return start.new_empty(*start.shape[:-1], len(times), n)
        integer = torch.arange(n // 2 + 1, dtype=torch.float64, device=start.device)
        kept = (integer <= highest_kept(n)).to(torch.float64)
        gradient = -0.5j * (2 * pi * integer) * kept  # of u²: minus the advection

        def advection(u: Tensor) -> Tensor:
            return gradient * torch.fft.rfft(torch.fft.irfft(u, n).square())

        u = torch.fft.rfft(start) * kept
        largest = torch.fft.irfft(u, n).abs().amax(-1)
        # The largest velocity never grows, so a step that is right at the start stays so.
        longest = self.courant / (n * max(float(largest.max()), 1e-300)) if self.step is None else self.step
        fields, now, step, scheme = [], 0.0, 0.0, None
        for time in times:
            if time > now:
                count = number_of_steps(time - now, longest)
                before, step = step, (time - now) / count
                if scheme is None or abs(step - before) > 1e-12 * step:
                    scheme = ETDRK4.of(-self.viscosity * (2 * pi * integer).square(), step)
                for _ in range(count):
                    u = scheme.advance(u, advection)
            now = time
            fields.append(torch.fft.irfft(u, n))
            if now > 0:  # the start itself is exact, whatever its waves
                self._check(u, fields[-1], largest, integer, now, step)
        return torch.stack(fields, -2)

    def _check(
        self, u: Tensor, field: Tensor, largest: Tensor, integer: Tensor, time: float, step: float
    ) -> None:
        found, bound = field.abs().amax(-1).reshape(-1), largest.reshape(-1)
        grown = (~(found <= _LARGEST_GROWTH * bound)).nonzero()
        if len(grown):
            i = int(grown[0])
            raise DivergenceError(
                f"{_NAME}: the velocity of sample {i} at t = {time:g} is {float(found[i]):.2g}, but never exceeds the "
                f"{float(bound[i]):.2g} that it began with; give a step smaller than {step:.1e}, or more points"
            )
        require_resolved(_NAME, u.abs().square(), integer, field.shape[-1], self.largest_tail, time)
