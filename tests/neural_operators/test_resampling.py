from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from sciten.neural_operators.resampling import mirrored, resampled


def wave(frequency: int, n: int, periodic: bool) -> Tensor:
    """A wave of the axis: of any phase on periodic ones, of zero slope at the ends of others."""
    at = np.arange(n) / max(1, n if periodic else n - 1)
    values = np.cos(2 * np.pi * frequency * at + 0.3) if periodic else np.cos(np.pi * frequency * at)
    return torch.from_numpy(values)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(
    ("given", "points"), [(32, 16), (33, 17), (24, 16), (29, 15), (9, 17), (16, 32), (7, 2), (600, 300)]
)
def test_waves_of_both_grids_stay_and_others_vanish(given: int, points: int, periodic: bool) -> None:
    periods = [n if periodic else 2 * (n - 1) for n in (given, points)]
    frequencies = range(0, periods[0] // 2 + 1, max(1, given // 50))
    found = resampled(
        torch.stack([wave(k, given, periodic) for k in frequencies])[None], (points,), (periodic,)
    )
    carried = torch.tensor([2 * k < min(periods) for k in frequencies])[:, None]
    expected = torch.stack([wave(k, points, periodic) for k in frequencies]) * carried
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("periodic", [(True, True), (False, True), (False, False)])
def test_products_of_waves_are_resampled_along_every_axis(periodic: tuple[bool, bool]) -> None:
    def field(grid: tuple[int, int]) -> Tensor:
        lines = [wave(2, n, continues) for n, continues in zip(grid, periodic, strict=True)]
        return (1 + lines[0][:, None] * lines[1][None, :])[None, None]

    for given, grid in product([(12, 14), (13, 9), (8, 20)], repeat=2):
        found = resampled(field(given), grid, periodic)
        torch.testing.assert_close(found, field(grid), rtol=0, atol=1e-12)


def test_an_axis_that_keeps_its_points_keeps_its_values() -> None:
    x = torch.randn(2, 3, 8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for kept, periodic in product((0, 1), ((True, True), (False, False), (True, False))):
        grid, changed = ((8, 9), (4, 5))[kept], 1 - kept
        lines = [
            resampled(x.select(2 + kept, k), (grid[changed],), (periodic[changed],))
            for k in range(grid[kept])
        ]
        torch.testing.assert_close(resampled(x, grid, periodic), torch.stack(lines, 2 + kept))
    assert resampled(x, (8, 5), (True, True)) is x


@pytest.mark.parametrize("periodic", [True, False])
def test_constants_stay_for_every_size(periodic: bool) -> None:
    for given, points in product(range(1, 18), repeat=2):
        found = resampled(torch.full((2, 1, given), 3.0, dtype=torch.float64), (points,), (periodic,))
        torch.testing.assert_close(found, torch.full_like(found, 3.0), rtol=0, atol=1e-12)
        assert found.shape == (2, 1, points)


def test_fields_of_any_slope_converge_beside_ends() -> None:
    # Mirrored, exp has a corner at each end, so that a sharp low-pass is right there to the first order only.
    errors = []
    for n in (65, 129):
        at = torch.linspace(0, 1, n, dtype=torch.float64)
        found = resampled(torch.exp(at)[None, None], (n // 2 + 1,), (False,))
        errors.append(float((found - torch.exp(at[::2])).abs().max()))
    assert errors[1] < 0.02
    assert errors[0] / errors[1] > 1.8


def test_gradients_are_those_of_finite_differences() -> None:
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for grid in ((3, 4), (9, 7)):
        assert torch.autograd.gradcheck(lambda x, g=grid: resampled(x, g, (True, False)), x.requires_grad_())


def test_mixed_precision_does_not_reach_it() -> None:
    x = torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        found = resampled(x, (8,), (True,))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, resampled(x, (8,), (True,)))


def test_what_is_kept_in_inference_serves_in_training() -> None:
    with torch.inference_mode():
        resampled(torch.ones(1, 1, 14), (7,), (True,))
    x = torch.ones(1, 1, 14, requires_grad=True)
    resampled(x, (7,), (True,)).sum().backward()
    assert x.grad is not None and x.grad.shape == x.shape


def test_beyond_its_ends_an_axis_is_mirrored() -> None:
    assert mirrored(np.arange(-2, 7), 4).tolist() == [2, 1, 0, 1, 2, 3, 2, 1, 0]
    assert mirrored(np.arange(-2, 3), 1).tolist() == [0] * 5
