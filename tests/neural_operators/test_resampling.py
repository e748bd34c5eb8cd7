from itertools import product

import numpy as np
import pytest
import torch

from sciten.neural_operators.resampling import mirrored, resampled


def places(n: int, periodic: bool) -> np.ndarray:
    """The points of an axis of length one."""
    return np.arange(n) / max(1, n if periodic else n - 1)


def wave(frequency: int, n: int, periodic: bool) -> torch.Tensor:
    """A wave of the axis: of any phase on periodic ones, of zero slope at the ends of others."""
    if periodic:
        return torch.from_numpy(np.cos(2 * np.pi * frequency * places(n, True) + 0.3))
    return torch.from_numpy(np.cos(np.pi * frequency * places(n, False)))


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(
    ("given", "points"), [(32, 16), (33, 17), (24, 16), (29, 15), (9, 17), (16, 32), (7, 2)]
)
def test_waves_of_both_grids_stay_and_others_vanish(given: int, points: int, periodic: bool) -> None:
    periods = [n if periodic else 2 * (n - 1) for n in (given, points)]
    for frequency in range(periods[0] // 2 + 1):
        found = resampled(wave(frequency, given, periodic), 0, points, periodic)
        carried = 2 * frequency < min(periods)
        expected = wave(frequency, points, periodic) * carried
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("periodic", [True, False])
def test_constants_stay_for_every_size(periodic: bool) -> None:
    for given, points in product(range(1, 18), repeat=2):
        found = resampled(torch.full((2, given), 3.0, dtype=torch.float64), 1, points, periodic)
        torch.testing.assert_close(found, torch.full_like(found, 3.0), rtol=0, atol=1e-12)
        assert found.shape == (2, points)


def test_along_any_axis_and_in_any_dtype() -> None:
    x = torch.randn(2, 8, 3, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    found = resampled(x, 1, 6, periodic=True)
    assert found.shape == (2, 6, 3) and found.dtype == torch.complex64
    torch.testing.assert_close(found, resampled(x.movedim(1, 2), 2, 6, periodic=True).movedim(2, 1))
    assert resampled(x, 1, 8, periodic=True) is x


def test_fields_of_any_slope_converge_beside_ends() -> None:
    # Mirrored, exp has a corner at each end, so that a sharp low-pass is right there to the first order only.
    errors = []
    for n in (65, 129):
        at = torch.linspace(0, 1, n, dtype=torch.float64)
        found = resampled(torch.exp(at), 0, n // 2 + 1, periodic=False)
        errors.append(float((found - torch.exp(at[::2])).abs().max()))
    assert errors[1] < 0.02
    assert errors[0] / errors[1] > 1.8


def test_matrices_kept_in_inference_serve_in_training() -> None:
    with torch.inference_mode():
        resampled(torch.ones(14), 0, 7, periodic=True)
    x = torch.ones(14, requires_grad=True)
    resampled(x, 0, 7, periodic=True).sum().backward()
    assert x.grad is not None and x.grad.shape == (14,)


def test_beyond_its_ends_an_axis_is_mirrored() -> None:
    assert mirrored(np.arange(-2, 7), 4).tolist() == [2, 1, 0, 1, 2, 3, 2, 1, 0]
    assert mirrored(np.arange(-2, 3), 1).tolist() == [0] * 5
