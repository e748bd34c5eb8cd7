"""Navier-Stokes on the torus: closed forms, orders, conserved quantities."""

from collections.abc import Callable
from itertools import pairwise
from math import exp, log2, pi

import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError, DataError, DivergenceError
from sciten.pde.spectral import INITIAL_VORTICITY, NavierStokes, diagonal_forcing


def points(n: int) -> tuple[Tensor, Tensor]:
    x = torch.arange(n, dtype=torch.float64) / n
    return x[:, None], x


def vortices(n: int) -> Tensor:
    """A few long waves that act on each other."""
    x, y = points(n)
    w = torch.sin(2 * pi * x) * torch.cos(2 * pi * y) + 0.7 * torch.cos(4 * pi * x + 2 * pi * y)
    return 2 * pi * (w + 0.5 * torch.sin(2 * pi * (x - 2 * y)))


def energy(w: Tensor) -> Tensor:
    """Mean of |u|²/2, from w by its own transform."""
    n = w.shape[-1]
    k = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    squared = (4 * pi**2 * (k[:, None] ** 2 + k**2)).clamp(min=1.0)
    return (torch.fft.fft2(w, norm="forward").abs().square() / squared).sum((-2, -1)) / 2


@pytest.mark.parametrize(("a", "b", "n"), [(1, 1, 32), (2, 1, 27), (0, 3, 18)])
def test_taylor_green_vortices_decay_as_they_should(a: int, b: int, n: int) -> None:
    x, y = points(n)
    start = torch.cos(2 * pi * a * x) * torch.cos(2 * pi * b * y)
    found = NavierStokes(0.01, forcing=None).solve(start, [0.0, 0.25, 1.0])
    for field, time in zip(found, (0.0, 0.25, 1.0), strict=True):
        decay = exp(-0.01 * 4 * pi**2 * (a * a + b * b) * time)
        torch.testing.assert_close(field, decay * start, rtol=0, atol=2e-4 * (1 - decay) + 1e-14)


def test_crank_nicolson_is_of_second_order() -> None:
    x, y = points(16)
    start = torch.cos(2 * pi * x) * torch.cos(2 * pi * y)
    errors = []
    for step in (0.1, 0.05, 0.025):
        found = NavierStokes(0.05, forcing=None, step=step).solve(start, [1.0])[0]
        errors.append(float((found - exp(-0.05 * 8 * pi**2) * start).abs().max()))
    assert [log2(a / b) for a, b in pairwise(errors)] == pytest.approx([2, 2], abs=0.1)


def test_a_forced_shear_flow_has_its_closed_form() -> None:
    """From rest, w = f (1 - exp(-8π²νt)) / (8π²ν): a shear flow does not advect itself."""
    x, y = points(24)
    rate = 8 * pi**2 * 1e-2
    found = NavierStokes(1e-2).solve(torch.zeros(24, 24), [1.0, 3.0])
    for field, time in zip(found, (1.0, 3.0), strict=True):
        expected = diagonal_forcing(x, y) * (1 - exp(-rate * time)) / rate
        torch.testing.assert_close(field, expected, rtol=0, atol=1e-6)


def test_a_steady_flow_that_advects_itself_stays() -> None:
    """f = u·∇w - νΔw from derivatives by hand holds w = -Δψ where it is, ψ = sin 2πx + cos 4πy / 2."""
    viscosity, wave = 2e-2, 2 * pi

    def vorticity(x: Tensor, y: Tensor) -> Tensor:
        return wave**2 * (torch.sin(wave * x) + 2 * torch.cos(2 * wave * y))

    def forcing(x: Tensor, y: Tensor) -> Tensor:
        u = -wave * torch.sin(2 * wave * y)  # ∂ψ/∂y
        v = -wave * torch.cos(wave * x)  # -∂ψ/∂x
        wx = wave**3 * torch.cos(wave * x)
        wy = -4 * wave**3 * torch.sin(2 * wave * y)
        minus_laplacian = wave**4 * (torch.sin(wave * x) + 8 * torch.cos(2 * wave * y))
        return u * wx + v * wy + viscosity * minus_laplacian

    start = vorticity(*points(32))
    found = NavierStokes(viscosity, forcing=forcing).solve(start, [0.2])[0]
    torch.testing.assert_close(found, start, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("viscosity", "order"), [(0.0, 3), (0.02, 2)])
def test_the_order_in_time(viscosity: float, order: int) -> None:
    start = vortices(24)
    flow = lambda step: NavierStokes(viscosity, step=step, largest_tail=1.0)  # noqa: E731
    coarse, middle, fine = (flow(0.5 / count).solve(start, [0.5])[0] for count in (48, 96, 192))
    found = log2(float((coarse - middle).norm() / (middle - fine).norm()))
    assert found == pytest.approx(order, abs=0.3)


def test_errors_fall_faster_than_any_power_of_the_spacing() -> None:
    flow = NavierStokes(0.02, step=2.5e-3, largest_tail=1.0)
    reference = flow.solve(vortices(96), [0.3])[0]
    errors = [
        float((flow.solve(vortices(n), [0.3])[0] - reference[:: 96 // n, :: 96 // n]).abs().max())
        for n in (12, 24, 48)
    ]
    assert errors[0] / errors[1] > 2**4 and errors[1] / errors[2] > 2**8


def test_energy_and_enstrophy_are_conserved_without_viscosity_to_the_order_of_the_scheme() -> None:
    """And so is the mean, to the last digit."""
    start, drifts = vortices(32), []
    for count in (64, 128):
        end = NavierStokes(0.0, None, step=0.5 / count, largest_tail=1.0).solve(start, [0.5])[0]
        assert abs(float(end.mean())) < 1e-14
        drifts.append(
            [
                abs(float(after / before - 1))
                for after, before in (
                    (energy(end), energy(start)),
                    (end.square().mean(), start.square().mean()),
                )
            ]
        )
    assert max(drifts[1]) < 1e-6
    for coarse, fine in zip(*drifts, strict=True):
        assert log2(coarse / fine) > 2.6


def test_the_energy_balance_holds_as_viscosity_vanishes() -> None:
    """Energy is lost at ν times the squared vorticity, whatever advection does."""
    for viscosity in (1e-3, 1e-4):
        times = torch.linspace(0, 0.3, 31, dtype=torch.float64).tolist()
        found = NavierStokes(viscosity, None).solve(vortices(64), times)
        lost = viscosity * torch.trapezoid(found.square().mean((-2, -1)), dx=0.01)
        change = energy(found[0]) - energy(found[-1])
        assert float(change / lost) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize(
    "symmetry",
    [
        lambda w: w.roll((5, 3), (-2, -1)),
        lambda w: -w.flip(-1).roll(1, -1),  # a mirror image, y to -y
        lambda w: w.flip(-1).roll(1, -1).transpose(-2, -1),  # a quarter turn
    ],
    ids=["translation", "reflection", "rotation"],
)
def test_flows_are_equivariant(symmetry: Callable[[Tensor], Tensor]) -> None:
    flow, start = NavierStokes(1e-2, None), INITIAL_VORTICITY.sample(32, seed=1, modes=6) * 20
    found = symmetry(flow.solve(start, [0.5]))
    torch.testing.assert_close(flow.solve(symmetry(start), [0.5]), found, rtol=0, atol=1e-11)


def test_steps_end_at_the_times_and_batches_keep_their_shape() -> None:
    start = INITIAL_VORTICITY.sample(32, seed=0, samples=range(6), modes=8).reshape(2, 3, 32, 32)
    flow = NavierStokes(1e-3)
    found = flow.solve(start.to(torch.float32), [0.0, 0.333, 1.0])
    assert found.shape == (2, 3, 3, 32, 32) and found.dtype == torch.float64
    torch.testing.assert_close(found[:, :, 0], start, rtol=0, atol=1e-6)
    alone = flow.solve(start[1, 2], [1.0])
    torch.testing.assert_close(alone[0], found[1, 2, 2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 8, 8), (3, 0, 8, 8)])
def test_no_samples_have_no_solutions(shape: tuple[int, ...]) -> None:
    found = NavierStokes(1e-3).solve(torch.empty(shape), [0.0, 1.0])
    assert found.shape == (*shape[:-2], 2, 8, 8) and found.dtype == torch.float64


def test_what_is_not_resolved_is_refused() -> None:
    with pytest.raises(
        DivergenceError, match="24 points in each direction do not resolve the field at t = 2"
    ):
        NavierStokes(1e-5).solve(vortices(24), [2.0])


def test_an_unstable_step_is_refused() -> None:
    with pytest.raises(DivergenceError, match=r"expected a step of at most .* got 0.1"):
        NavierStokes(1e-3, step=0.1).solve(vortices(32), [1.0])


def test_overflow_is_refused() -> None:
    with pytest.raises(DivergenceError, match="expected a finite velocity at t = 0"):
        NavierStokes(1e-3).solve(vortices(16) * 1e306, [1.0])


@pytest.mark.parametrize(
    ("start", "times", "error", "words"),
    [
        (torch.full((3, 8, 8), float("inf")), [1.0], DataError, "NaN in sample 0"),
        (torch.zeros(8, 9), [1.0], DataError, "n, n"),
        (torch.zeros(8), [1.0], DataError, "n, n"),
        (torch.ones(8, 8), [1.0], DataError, "mean zero"),
        (torch.zeros(8, 8), [-1.0], ConfigError, "from 0 on"),
    ],
)
def test_bad_input_is_named(start: Tensor, times: list[float], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        NavierStokes(1e-3).solve(start, times)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"viscosity": -1.0}, "zero or more"),
        ({"step": 0.0}, "positive step"),
        ({"courant": 2.0}, "Courant number of at most 0.83"),
        ({"longest_step": float("nan")}, "positive longest_step"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        NavierStokes(**{"viscosity": 1e-3, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("forcing", "words"),
    [(lambda x, y: x / 0 + y, "finite forcing"), (lambda x, y: 1 + 0 * x, "mean zero")],
)
def test_forcings_that_cannot_be_used_are_named(forcing: Callable[..., Tensor], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        NavierStokes(1e-3, forcing=forcing).solve(torch.zeros(8, 8), [1.0])
