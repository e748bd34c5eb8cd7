"""Oracles are the functions themselves at other points, and polynomials of known degree."""

from collections.abc import Callable
from math import pi, prod

import numpy as np
import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor import Tucker
from sciten.tensor.decompose.chebyshev import ChebyshevTucker, chebyshev_tucker, chebyshev_tucker_cp


def points(bounds: list[tuple[float, float]], count: int = 3000, seed: int = 7) -> Tensor:
    low, high = torch.tensor(bounds, dtype=torch.float64).mT
    unit = torch.rand(count, len(bounds), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return low + unit * (high - low)


def largest_error(found: ChebyshevTucker, function: Callable[[Tensor], Tensor]) -> float:
    """Relative to the largest value."""
    x = points(list(found.bounds))
    values = function(x)
    return float((found(x) - values).abs().max() / values.abs().max())


SMOOTH: dict[str, tuple[Callable[[Tensor], Tensor], list[tuple[float, float]]]] = {
    "gaussian": (lambda x: torch.exp(-x.square().sum(1) * 3), [(-1, 1), (-1, 2), (0, 1)]),
    "runge": (lambda x: 1 / (1 + 25 * (x - 0.3).square().sum(1)), [(-1, 1)] * 2),
    "wave": (lambda x: torch.exp(10j * x[:, 0] * x[:, 1]), [(0, 1), (1, 2)]),
    "sum": (lambda x: torch.sin(x.sum(1)), [(0, 3)] * 5),
    "narrow peak": (lambda x: torch.exp(-200 * (x - 0.4).square().sum(1)), [(-1, 1)] * 3),
    "peak between nodes": (lambda x: torch.exp(-2000 * (x - 0.81).square().sum(1)), [(-1, 1)] * 2),
    "cusp": (lambda x: (x.square().sum(1) + 1e-3).sqrt(), [(-1, 1)] * 2),
    "one": (lambda x: torch.cos(20 * x[:, 0]), [(0, 1)]),
}


@pytest.mark.parametrize("name", list(SMOOTH))
@pytest.mark.parametrize("tolerance", [1e-4, 1e-9])
def test_smooth_functions_are_found(name: str, tolerance: float) -> None:
    function, bounds = SMOOTH[name]
    found = chebyshev_tucker(function, bounds, tolerance)
    assert found.converged and found.message == "", found.message
    assert found.error <= tolerance
    assert largest_error(found, function) <= 2 * tolerance


def test_polynomials_are_exact() -> None:
    bounds = [(-1.0, 3.0), (0.0, 2.0), (5.0, 6.0)]

    def function(x: Tensor) -> Tensor:
        return x[:, 0] ** 5 + x[:, 0] * x[:, 1] ** 2 - 7 * x[:, 2]

    found = chebyshev_tucker(function, bounds, 1e-12)
    assert found.degrees == (5, 2, 1) and found.ranks == (3, 2, 2)
    assert largest_error(found, function) < 1e-12


def test_coefficients_are_those_of_chebyshev() -> None:
    def function(x: Tensor) -> Tensor:
        return torch.exp(x[:, 0]) * (2 + x[:, 1])

    found = chebyshev_tucker(function, [(-1, 1)] * 2, 1e-13)
    theirs = np.polynomial.chebyshev.chebinterpolate(np.exp, 30)[: found.degrees[0] + 1]
    expected = np.outer(theirs, [2, 1])
    np.testing.assert_allclose(found.coefficients.full().numpy(), expected, atol=1e-13)


def test_large_grids_are_crossed() -> None:
    bounds = [(-1.0, 1.0)] * 4

    def function(x: Tensor) -> Tensor:
        return 1 / (4.02 + x.sum(1))

    found = chebyshev_tucker(function, bounds, 1e-7)
    assert found.converged and prod(n + 1 for n in found.degrees) > 10**7
    assert found.evaluations < 10**6
    assert largest_error(found, function) <= 2e-7


def test_grids_agree_with_points() -> None:
    function, bounds = SMOOTH["gaussian"]
    found = chebyshev_tucker(function, bounds)
    axes = [torch.linspace(a, b, n, dtype=torch.float64) for (a, b), n in zip(bounds, (4, 5, 6), strict=True)]
    grid = found.on_grid(axes)
    assert isinstance(grid, Tucker) and grid.shape == (4, 5, 6)
    every = torch.cartesian_prod(*axes)
    torch.testing.assert_close(grid.full().flatten(), found(every))
    torch.testing.assert_close(grid.full().flatten(), function(every), atol=1e-7, rtol=0)


def test_what_is_not_smooth_is_reported() -> None:
    found = chebyshev_tucker(lambda x: x.abs().sum(1), [(-1, 1.3)] * 2, 1e-10, max_degree=64)
    assert not found.converged and found.error > 1e-10
    assert "degree 64 does not resolve variables [0, 1]" in found.message
    assert largest_error(found, lambda x: x.abs().sum(1)) <= 3 * found.error


def gaussians(widths: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.exp(-x[:, None].square() * widths)


def test_sums_of_products() -> None:
    widths = torch.tensor([0.1, 1.0, 10.0, 1000.0], dtype=torch.float64)
    weights = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    bounds = [(-1.0, 1.0), (-1.0, 2.0), (-0.5, 1.0)]
    found = chebyshev_tucker_cp(weights, [gaussians(widths)] * 3, bounds, 1e-9)

    def function(x: Tensor) -> Tensor:
        return (torch.exp(-x.square().sum(1, keepdim=True) * widths) * weights).sum(1)

    assert found.converged and found.ranks == (4, 4, 4)
    assert largest_error(found, function) <= 2e-9


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_weights_count_and_not_the_size_of_factors(scale: float) -> None:
    """The same function, its sizes shifted from factors to weights; and a term that only its weight makes matter."""
    widths = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    size = torch.tensor([1.0, scale, 1.0 / scale], dtype=torch.float64)
    weights = torch.tensor([1.0, 1.0, 1e-14], dtype=torch.float64) / size**2
    factors = [lambda x: gaussians(widths)(x) * size] * 2
    found = chebyshev_tucker_cp(weights, factors, [(-1, 1)] * 2, 1e-8)
    # The third is 1e-14 of the others, and goes.
    assert found.converged and found.ranks == (2, 2)

    weights = torch.tensor([1.0, 1e8], dtype=torch.float64)
    small = torch.tensor([1.0, 1e-4], dtype=torch.float64)

    def factor(x: Tensor) -> Tensor:
        return torch.exp(x[:, None] * torch.tensor([1.0, 2.0])) * small

    found = chebyshev_tucker_cp(weights, [factor] * 2, [(0, 1)] * 2, 1e-10)
    assert found.converged and found.ranks == (2, 2)
    assert largest_error(found, lambda x: torch.exp(x.sum(1)) + torch.exp(2 * x.sum(1))) <= 2e-10


def test_terms_that_cancel() -> None:
    """A difference quotient: weights of 1e5, and a sum of the size of one."""
    weights = torch.tensor([1e5, -1e5], dtype=torch.float64)
    shifts = torch.tensor([1e-5, 0.0], dtype=torch.float64)
    factors = [lambda x: torch.sin(3 * x[:, None] + shifts), lambda x: torch.cos(x[:, None] + shifts)]
    found = chebyshev_tucker_cp(weights, factors, [(-1, 1)] * 2, 1e-7)

    def function(x: Tensor) -> Tensor:
        both = [factor(x[:, k]) for k, factor in enumerate(factors)]
        return (both[0] * both[1]) @ weights

    assert found.converged
    assert largest_error(found, function) <= 2e-7


def test_complex_weights_and_many_terms() -> None:
    count = 60
    weights = torch.exp(1j * torch.arange(count, dtype=torch.float64))
    rates = torch.linspace(0, 6, count, dtype=torch.float64)
    factors = [lambda x: torch.cos(x[:, None] * rates)] * 4
    found = chebyshev_tucker_cp(weights, factors, [(0, pi / 4)] * 4, 1e-6)

    def function(x: Tensor) -> Tensor:
        products = torch.stack([factor(y) for factor, y in zip(factors, x.mT, strict=True)]).prod(0)
        return products.to(weights.dtype) @ weights

    assert found.converged and max(found.ranks) < 20
    assert largest_error(found, function) <= 2e-6


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_constants(value: float) -> None:
    found = chebyshev_tucker(lambda x: torch.full((len(x),), value, dtype=torch.float64), [(0, 1)] * 3)
    assert found.converged and found.ranks == (1, 1, 1) and found.degrees == (0, 0, 0)
    torch.testing.assert_close(found(points([(0, 1)] * 3, 5)), torch.full((5,), value).double())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda f: f(torch.tensor([[0.5, 1.1]])), r"points within \[0.0, 1.0\] in variable 1, got 1.1"),
        (lambda f: f(torch.tensor([[torch.nan, 0.1]])), "in variable 0, got nan"),
        (lambda f: f(torch.ones(3)), r"ChebyshevTucker: expected points \[n, 2\], got \[3\]"),
        (lambda f: f.on_grid([torch.ones(3)]), "expected 2 axes, got 1"),
        (lambda f: ChebyshevTucker(f.coefficients, ((0, 1),)), "an interval for each of 2 modes"),
        (lambda f: chebyshev_tucker(lambda x: x, [(0, 1)]), r"return values \[4097\] for points \[4097, 1\]"),
        (lambda f: chebyshev_tucker(lambda x: x.sum(1), [(1, 0)]), "chebyshev_tucker: expected bounds"),
        (lambda f: chebyshev_tucker(lambda x: x.sum(1), [(0, 1)], 0), "a tolerance between 0 and 1"),
        (lambda f: chebyshev_tucker(lambda x: 1 / x[:, 0], [(-1, 1)]), r"finite values, got inf at \(0.0,\)"),
        (
            lambda f: chebyshev_tucker_cp(torch.ones(2), [lambda x: x[:, None]] * 2, [(0, 1)] * 2),
            r"expected factor 0 to return values \[4097, 2\] for points \[4097\], got \[4097, 1\]",
        ),
        (lambda f: chebyshev_tucker_cp(torch.ones(2), [], [(0, 1)]), r"weights \[r\] and 1 factors"),
    ],
)
def test_what_does_not_fit_is_named(wrong: Callable[[ChebyshevTucker], object], message: str) -> None:
    found = chebyshev_tucker(lambda x: x.prod(1), [(0, 1)] * 2)
    with pytest.raises(ConfigError, match=message):
        wrong(found)
