"""Burgers' equation against the closed form of Cole and Hopf."""

from math import log2, pi

import numpy as np
import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError, DataError, DivergenceError
from sciten.pde.spectral import INITIAL_VELOCITY, Burgers


def sine(n: int) -> Tensor:
    return torch.sin(2 * pi * torch.arange(n, dtype=torch.float64) / n)


def cole_hopf(n: int, viscosity: float, time: float) -> Tensor:
    """From sin 2πx: the mean of (x - y) / t under exp(-((x - y)²/2t + ∫ u0) / 2ν), by the trapezoidal rule."""
    width = np.sqrt(2 * viscosity * time)
    reach = 12 * width + time  # nothing comes from further away than it travels
    x, z = np.arange(n)[:, None] / n, np.linspace(-reach, reach, int(max(4000, 60 * reach / width)))
    exponent = -(z**2 / (2 * time) + (1 - np.cos(2 * pi * (x - z))) / (2 * pi)) / (2 * viscosity)
    weights = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return torch.from_numpy((weights * z / time).sum(1) / weights.sum(1))


@pytest.mark.parametrize(("viscosity", "n"), [(0.1, 64), (1e-2, 256), (1e-3, 2048)])
def test_the_closed_form_of_a_sine_is_met(viscosity: float, n: int) -> None:
    times = [0.1, 0.5] if viscosity < 1e-2 else [0.1, 0.5, 1.0]
    found = Burgers(viscosity).solve(sine(n), times)
    for field, time in zip(found, times, strict=True):
        error = (field - cole_hopf(n, viscosity, time)).abs().max()
        assert float(error) < 1e-6, (time, float(error))


def test_it_is_of_fourth_order_in_time() -> None:
    n, viscosity = 128, 0.02
    exact = cole_hopf(n, viscosity, 0.4)
    errors = [
        float((Burgers(viscosity, step=0.4 / count).solve(sine(n), [0.4])[0] - exact).abs().max())
        for count in (16, 32, 64)
    ]
    assert errors[2] > 1e-11  # not yet rounding
    assert log2(errors[0] / errors[1]) > 3.6 and log2(errors[1] / errors[2]) == pytest.approx(4, abs=0.3)


def test_errors_fall_faster_than_any_power_of_the_spacing() -> None:
    errors = []
    for n in (24, 48, 96):
        found = Burgers(0.02, largest_tail=1.0, step=1e-3).solve(sine(n), [0.3])[0]
        errors.append(float((found - cole_hopf(n, 0.02, 0.3)).abs().max()))
    assert errors[0] / errors[1] > 2**4 and errors[1] / errors[2] > 2**8


def test_waves_move_with_their_mean_velocity() -> None:
    """u(x - ct, t) + c solves the equation where u does."""
    n, c, time = 64, 0.75, 1.0
    rest, moving = Burgers(0.05).solve(torch.stack([sine(n), sine(n) + c]), [time])[:, 0]
    torch.testing.assert_close(moving.mean(), torch.tensor(c, dtype=torch.float64))
    torch.testing.assert_close(moving, rest.roll(round(c * time * n)) + c, rtol=0, atol=1e-8)


def test_samples_of_a_random_field_lose_energy_and_keep_their_mean() -> None:
    start = INITIAL_VELOCITY.sample(512, seed=0, samples=range(5), modes=100) + 0.1
    found = Burgers(0.01).solve(start, [0.0, 0.3, 0.6, 1.0])
    torch.testing.assert_close(found[:, 0], start, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.mean(-1), torch.full((5, 4), 0.1, dtype=torch.float64))
    energy = found.square().mean(-1)
    assert bool((energy.diff(dim=1) < 0).all())
    assert bool((found.amax(-1).diff(dim=1) < 1e-9).all()) and bool(
        (found.amin(-1).diff(dim=1) > -1e-9).all()
    )


def test_a_sample_is_solved_alike_alone_and_on_finer_points() -> None:
    start = INITIAL_VELOCITY.sample(256, seed=4, samples=range(3), modes=40)
    together = Burgers(0.05).solve(start, [0.5])
    torch.testing.assert_close(Burgers(0.05).solve(start[1], [0.5]), together[1], rtol=0, atol=1e-8)
    fine = Burgers(0.05).solve(INITIAL_VELOCITY.sample(512, seed=4, samples=(1,), modes=40), [0.5])
    torch.testing.assert_close(fine[0, :, ::2], together[1], rtol=0, atol=1e-8)


def test_what_is_not_resolved_is_refused() -> None:
    with pytest.raises(
        DivergenceError, match=r"64 points in each direction do not resolve the field at t = 0\.16"
    ):
        Burgers(1e-3).solve(sine(64), [0.05, 0.16])


def test_a_step_that_is_too_large_is_refused() -> None:
    with pytest.raises(DivergenceError, match="give a step smaller than"):
        Burgers(1e-3, step=0.05, largest_tail=1.0).solve(sine(256), [2.0])


def test_growth_is_that_of_a_sample_whatever_the_others_are() -> None:
    """Beside a fast sample, a slow one may grow a hundredfold and not exceed what the batch began with."""
    slow, fast = 1e-3 * sine(256), torch.ones(256, dtype=torch.float64)
    scheme = Burgers(1e-7, step=50.0, largest_tail=1.0)
    torch.testing.assert_close(scheme.solve(fast, [200.0])[0], fast)
    for batch, number in ((slow, 0), (torch.stack([fast, slow]), 1)):
        with pytest.raises(DivergenceError, match=rf"velocity of sample {number} at t = 200 is 0\.16, but"):
            scheme.solve(batch, [200.0])


@pytest.mark.parametrize("shape", [(0, 16), (3, 0, 16)])
def test_no_samples_have_no_solutions(shape: tuple[int, ...]) -> None:
    found = Burgers(0.1).solve(torch.empty(shape), [0.0, 1.0])
    assert found.shape == (*shape[:-1], 2, 16) and found.dtype == torch.float64


@pytest.mark.parametrize(
    ("start", "times", "error", "words"),
    [
        (torch.full((2, 16), float("nan")), [1.0], DataError, "NaN in sample 0"),
        (torch.ones(3), [1.0], DataError, "at least 4"),
        (torch.ones(8, dtype=torch.complex64), [1.0], DataError, "real start"),
        (torch.ones(8), [1.0, 0.5], ConfigError, "ascending"),
        (torch.ones(8), [], ConfigError, "ascending"),
        (torch.ones(8), [float("nan")], ConfigError, "ascending"),
    ],
)
def test_bad_input_is_named(start: Tensor, times: list[float], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Burgers(0.1).solve(start, times)


@pytest.mark.parametrize("name", ["viscosity", "courant", "step", "largest_tail"])
def test_numbers_that_are_not_positive_are_named(name: str) -> None:
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=f"a positive {name}"):
            Burgers(**{"viscosity": 0.1, name: value})
