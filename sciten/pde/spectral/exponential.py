"""Exponential time differencing for diagonal stiff operators.

u_t = L u + N(u), where L is diagonal and exp(h L) is applied exactly; the nonlinear part is integrated by the fourth
order Runge-Kutta scheme of Cox and Matthews (J. Comput. Phys. 176, 430 (2002)), with the coefficients as contour
integrals after Kassam and Trefethen (SIAM J. Sci. Comput. 26, 1214 (2005)): their closed forms cancel for small h L.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

_CONTOUR_POINTS = 32


@dataclass(frozen=True, eq=False)
class ETDRK4:
    """Coefficients of a step; see `of`.

    Args:
        full, half: exp(h L) and exp(h L / 2).
        inner: h φ(h L / 2) / 2 with φ(z) = (exp z - 1) / z, of the stages.
        first, middle, last: weights of the nonlinear part at the start, at both midpoints and at the end.
    """

    full: Tensor
    half: Tensor
    inner: Tensor
    first: Tensor
    middle: Tensor
    last: Tensor

    @classmethod
    def of(cls, linear: Tensor, step: float) -> "ETDRK4":
        """For a real diagonal operator and a step h."""
        z = step * linear
        angles = pi * (torch.arange(_CONTOUR_POINTS, dtype=torch.float64, device=z.device) + 0.5)
        # The upper half of a circle of radius one about each entry: for real entries the lower half is its conjugate.
        circle = z[..., None] + torch.polar(torch.ones_like(angles), angles / _CONTOUR_POINTS)
        e = torch.exp(circle)

        def mean(values: Tensor) -> Tensor:
            return step * values.mean(-1).real

        return cls(
            full=torch.exp(z),
            half=torch.exp(z / 2),
            inner=mean((torch.exp(circle / 2) - 1) / circle),
            first=mean((-4 - circle + e * (4 - 3 * circle + circle**2)) / circle**3),
            middle=mean((2 + circle + e * (circle - 2)) / circle**3),
            last=mean((-4 - 3 * circle - circle**2 + e * (4 - circle)) / circle**3),
        )

    def advance(self, u: Tensor, nonlinear: Callable[[Tensor], Tensor]) -> Tensor:
        """u after one step."""
        at_start = nonlinear(u)
        a = self.half * u + self.inner * at_start
        at_a = nonlinear(a)
        b = self.half * u + self.inner * at_a
        at_b = nonlinear(b)
        c = self.half * a + self.inner * (2 * at_b - at_start)
        return (
            self.full * u + self.first * at_start + 2 * self.middle * (at_a + at_b) + self.last * nonlinear(c)
        )
