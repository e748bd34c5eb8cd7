"""Exponential time differencing: its coefficients in closed form, and its order."""

from functools import partial
from math import log2

import pytest
import torch

from sciten.pde.spectral.exponential import ETDRK4


def test_coefficients_are_those_of_taylor_and_of_the_closed_forms() -> None:
    step = 0.5
    z = torch.tensor([0.0, -1e-8, -1e-4, -0.3, -3.0, -40.0, -1e5], dtype=torch.float64)
    scheme = ETDRK4.of(z / step, step)
    # Where the closed forms cancel, powers of z / 40!; elsewhere they are right to all digits.
    n = torch.arange(40, dtype=torch.float64)
    factorial = torch.exp(torch.lgamma(n + 1))

    def phi(order: int, x: torch.Tensor) -> torch.Tensor:
        """φ_k(x) = Σ_n x^n / (n + k)!."""
        series = (x[:, None] ** n / torch.exp(torch.lgamma(n + 1 + order))).sum(-1)
        closed = torch.exp(x)
        for k in range(order):
            closed = (closed - 1 / factorial[k]) / torch.where(x == 0, 1.0, x)
        return torch.where(x.abs() < 4, series, closed)

    one, two, three = (phi(k, z) for k in (1, 2, 3))
    tight = partial(torch.testing.assert_close, rtol=1e-12, atol=1e-15)
    tight(scheme.full, torch.exp(z))
    tight(scheme.inner, step * phi(1, z / 2) / 2)
    tight(scheme.first, step * (one - 3 * two + 4 * three))
    tight(scheme.middle, step * (two - 2 * three))
    tight(scheme.last, step * (4 * three - two))


def test_it_is_of_fourth_order_and_exact_without_a_nonlinear_part() -> None:
    """u' = -2 u + u² has the closed form 2 / (1 + (2/u0 - 1) exp(2 t))."""
    linear = torch.tensor([-2.0], dtype=torch.float64)
    exact = 2 / (1 + 3 * torch.exp(torch.tensor([2.0], dtype=torch.float64)))
    errors = []
    for count in (8, 16, 32):
        u, scheme = torch.tensor([0.5], dtype=torch.float64), ETDRK4.of(linear, 1 / count)
        for _ in range(count):
            u = scheme.advance(u, torch.square)
        errors.append(float((u - exact).abs()))
    assert log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.3)
    assert log2(errors[1] / errors[2]) == pytest.approx(4, abs=0.2)
    alone = ETDRK4.of(linear, 1.0).advance(torch.ones(1, dtype=torch.float64), torch.zeros_like)
    torch.testing.assert_close(alone, torch.exp(linear))
