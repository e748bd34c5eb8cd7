"""Gaussian random fields: their covariance in closed form, and one function on all grids."""

from itertools import product
from math import cosh, pi, sinh

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde import Dirichlet, Neumann, Periodic
from sciten.pde.spectral import INITIAL_VELOCITY, INITIAL_VORTICITY, PERMEABILITY, GaussianField

FIELDS = {
    "vorticity": INITIAL_VORTICITY,
    "permeability": PERMEABILITY,
    "velocity": INITIAL_VELOCITY,
    "with a mean": GaussianField(1.5, 2.0, dimensions=1, boundary=Neumann(), zero_mean=False),
    "in space": GaussianField(2.5, 4.0, dimensions=3, zero_mean=False),
}
EACH = pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS.keys())


def covariance(field: GaussianField, n: int, modes: int) -> Tensor:
    """Of all points with all points, `[n^d, n^d]`, summed wave by wave."""
    x = torch.cartesian_prod(*[field.points(n)] * field.dimensions).reshape(-1, field.dimensions)
    periodic = isinstance(field.boundary, Periodic)
    total = torch.zeros(len(x), len(x), dtype=torch.float64)
    for k in product(range(-modes if periodic else 0, modes + 1), repeat=field.dimensions):
        if field.zero_mean and not any(k):
            continue
        wave = torch.tensor(k, dtype=torch.float64) * (2 * pi if periodic else pi)
        variance = field.scale * (float(wave.square().sum()) + field.tau**2) ** -field.alpha
        if periodic:
            total += variance * torch.cos((x[:, None] - x) @ wave)
        else:
            values = torch.cos(x * wave).prod(-1) * 2.0 ** (sum(one > 0 for one in k) / 2)
            total += variance * values[:, None] * values
    return total


@EACH
def test_the_covariance_is_the_closed_form(field: GaussianField) -> None:
    n = {1: 12, 2: 5, 3: 3}[field.dimensions]
    modes, count = 4, 4000
    samples = field.sample(n, seed=3, samples=range(count), modes=modes).reshape(count, -1)
    expected = covariance(field, n, modes)
    found = samples.T @ samples / count
    # Sample covariances of normal numbers scatter by sqrt((C_ii C_jj + C_ij²) / count).
    scatter = ((expected.diag()[:, None] * expected.diag() + expected.square()) / count).sqrt()
    assert float(((found - expected).abs() / scatter).max()) < 5.0
    assert float(((found - expected) / scatter).square().mean()) < 2.0


@EACH
def test_the_mean_variance_is_the_sum_of_the_spectrum(field: GaussianField) -> None:
    n = {1: 64, 2: 16, 3: 8}[field.dimensions]
    modes = field.resolved(n) // 2
    if isinstance(field.boundary, Periodic):
        mean = covariance(field, 3, modes).diag()
        torch.testing.assert_close(mean, torch.full_like(mean, float(field.spectrum(modes).sum())))
    # Over the domain the mean square of a sample is the sum of its squared coefficients.
    means = field.sample(n, seed=1, samples=range(2000), modes=modes).square()
    weights = torch.ones(n, dtype=torch.float64)
    if not isinstance(field.boundary, Periodic):
        weights[[0, -1]] = 0.5  # the trapezoidal rule is exact for these cosines
    for _ in range(field.dimensions):
        means = means @ weights / weights.sum()
    spectrum = field.spectrum(modes)
    scatter = float((2 * spectrum.square().sum() / 2000).sqrt())
    assert abs(float(means.mean() - spectrum.sum())) < 5 * scatter


def test_the_variance_of_the_velocity_is_that_of_an_infinite_sum() -> None:
    """Σ_k 1/(4π²k² + τ²)² over all integers has a closed form by hyperbolic functions."""
    tau = INITIAL_VELOCITY.tau
    half = tau / 2
    every = (cosh(half) / sinh(half) / (4 * tau**3)) + 1 / (8 * tau**2 * sinh(half) ** 2)
    expected = 625 * (every - 1 / tau**4)
    assert float(INITIAL_VELOCITY.spectrum(4096).sum()) == pytest.approx(expected, rel=1e-9)


@EACH
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_sample_is_one_function_on_all_grids(field: GaussianField, data: st.DataObject) -> None:
    """On coarse points it has the values of the fine ones, even where the coarse ones do not resolve it."""
    modes = data.draw(st.integers(1, {1: 20, 2: 9, 3: 4}[field.dimensions]))
    n = data.draw(st.integers(3, {1: 30, 2: 12, 3: 6}[field.dimensions]))
    factor = data.draw(st.integers(2, 4 if field.dimensions < 3 else 2))
    finer = factor * n if isinstance(field.boundary, Periodic) else factor * (n - 1) + 1
    coarse = field.sample(n, seed=5, samples=(2, 7), modes=modes)
    fine = field.sample(finer, seed=5, samples=(7,), modes=modes)
    fine = fine[(slice(None), *[slice(None, None, factor)] * field.dimensions)]
    torch.testing.assert_close(coarse[1:], fine)


@EACH
def test_more_modes_only_add_to_a_sample(field: GaussianField) -> None:
    """The difference of two numbers of modes has none of the waves of the fewer."""
    n = {1: 33, 2: 17, 3: 9}[field.dimensions]
    few, many = (field.sample(n, seed=2, modes=modes) for modes in (2, 4))
    if isinstance(field.boundary, Periodic):
        axes = tuple(range(1, field.dimensions + 1))
        difference = torch.fft.fftn(many - few, dim=axes, norm="forward")
        largest = torch.fft.fftfreq(n, 1 / n).abs()
        for _ in range(field.dimensions - 1):
            largest = torch.maximum(largest[..., None], torch.fft.fftfreq(n, 1 / n).abs())
        assert float(difference[0][largest <= 2].abs().max()) < 1e-15 * n
        assert float(difference[0][largest > 2].abs().max()) > 1e-5
    else:
        assert float((many - few).abs().max()) > 1e-5
        weights = torch.ones(n, dtype=torch.float64)
        weights[[0, -1]] = 0.5
        waves = torch.cos(pi * field.points(n) * torch.arange(3, dtype=torch.float64)[:, None]) * weights
        rest = (many - few)[0]
        for _ in range(field.dimensions):
            rest = torch.tensordot(rest, waves, ([0], [1]))
        assert float(rest.abs().max()) < 1e-13


def test_a_sample_does_not_depend_on_the_others() -> None:
    together = INITIAL_VORTICITY.sample(16, seed=9, samples=range(4))
    torch.testing.assert_close(
        INITIAL_VORTICITY.sample(16, seed=9, samples=(3,)), together[3:], rtol=0, atol=0
    )
    assert float((together[0] - together[1]).abs().max()) > 1e-3
    assert float((INITIAL_VORTICITY.sample(16, seed=8) - together[:1]).abs().max()) > 1e-3


@EACH
def test_no_samples_may_be_asked_for(field: GaussianField) -> None:
    assert field.sample(9, seed=0, samples=()).shape == (0, *[9] * field.dimensions)


@EACH
def test_the_mean_is_zero_where_asked_for(field: GaussianField) -> None:
    if isinstance(field.boundary, Periodic):
        mean = float(field.sample(9, seed=0).mean().abs())
        assert (mean < 1e-15) == field.zero_mean


def test_normal_derivatives_vanish_on_neumann_faces() -> None:
    samples = PERMEABILITY.sample(1001, seed=0, modes=3)[0]
    slope = (-1.5 * samples[0] + 2 * samples[1] - 0.5 * samples[2]) * 1000
    inside = (samples[301] - samples[299]) * 500
    assert float(slope.abs().max()) < 1e-3 * float(inside.abs().max())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"alpha": 1.0}, "alpha > 1 in 2 dimensions"),
        ({"alpha": float("nan")}, "alpha > 1"),
        ({"tau": -1.0}, "tau > 0"),
        ({"tau": 0.0, "zero_mean": False}, "tau > 0"),
        ({"scale": 0.0}, "positive scale"),
        ({"dimensions": 0}, "at least one dimension"),
        ({"boundary": Neumann(1.0)}, r"Periodic\(\) or Neumann\(\)"),
        ({"boundary": Dirichlet()}, r"Periodic\(\) or Neumann\(\)"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        GaussianField(**{"alpha": 2.0, "tau": 3.0, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 2, "seed": 0}, "at least 3 points"),
        ({"n": 8, "seed": 0, "modes": 0}, "one mode"),
        ({"n": 8, "seed": -1}, "a seed and samples from 0 on"),
        ({"n": 8, "seed": 1, "samples": (-1,)}, "a seed and samples from 0 on"),
    ],
)
def test_wrong_samples_are_named(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        INITIAL_VORTICITY.sample(**arguments)  # type: ignore[arg-type]
