import numpy as np
import pytest
import torch

from sciten.neural_operators.windows import Windows

ALL = [(n, count) for n in range(1, 18) for count in range(1, n + 1)]


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("halo", [0, 1, 5])
def test_stitching_undoes_cutting(periodic: bool, halo: int) -> None:
    for n, count in ALL:
        x = torch.randn(3, n, 2, dtype=torch.float64)
        windows = Windows(n, count, halo, periodic)
        cut = windows.cut(x, 1)
        assert cut.shape == (3, count * windows.size, 2)
        assert torch.equal(windows.stitch(cut, 1), x)


def test_windows_lie_within_the_axis_and_own_every_point_once() -> None:
    for n, count in ALL:
        windows = Windows(n, count, 0, periodic=False)
        starts = windows.starts()
        owned = np.diff(np.append(starts, n))
        assert set(owned) <= {windows.core, windows.core - 1} - {0}
        assert starts[0] == 0 and starts[-1] + windows.core == n


def test_a_halo_wraps_around_or_mirrors() -> None:
    x = torch.arange(6)
    assert Windows(6, 2, 2, periodic=True).cut(x, 0).tolist() == [4, 5, 0, 1, 2, 3, 4, 1, 2, 3, 4, 5, 0, 1]
    assert Windows(6, 2, 2, periodic=False).cut(x, 0).tolist() == [2, 1, 0, 1, 2, 3, 4, 1, 2, 3, 4, 5, 4, 3]


def places(windows: Windows, factor: int) -> np.ndarray:
    """Where the points of coarse windows should lie: about the middle of what a window owns, `factor` apart.

    A periodic window reaches to where the next one begins, others to their last point.
    """
    end = 0 if windows.periodic else 1
    middles = [start + (windows.core - end) / 2 for start in windows.starts()]
    offsets = np.arange(windows.size) - (windows.size - end) / 2
    return np.concatenate([middle + factor * offsets for middle in middles])


def wave(frequency: int, at: np.ndarray, windows: Windows) -> torch.Tensor:
    """A wave of the axis: of any phase on periodic ones, of zero slope at the ends of others."""
    if windows.periodic:
        return torch.from_numpy(np.cos(2 * np.pi * frequency * at / windows.points + 0.3))
    return torch.from_numpy(np.cos(np.pi * frequency * at / (windows.points - 1)))


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("halo", [0, 2])
@pytest.mark.parametrize(
    ("n", "count", "factor"), [(32, 4, 2), (32, 4, 4), (33, 4, 2), (29, 5, 3), (24, 2, 2)]
)
def test_slow_waves_stay_and_fast_ones_vanish(
    n: int, count: int, factor: int, halo: int, periodic: bool
) -> None:
    windows = Windows(n, count, halo, periodic)
    period = n if periodic else 2 * (n - 1)
    for frequency in range(period // 2 + 1):
        found = windows.coarse(wave(frequency, np.arange(n), windows), 0, factor)
        expected = wave(frequency, places(windows, factor), windows)
        # Points `factor` apart carry waves of less than half a period from one to the next.
        carried = frequency * factor / period < 0.5
        torch.testing.assert_close(found, expected * carried, rtol=0, atol=1e-12)


def test_constants_stay_for_every_size() -> None:
    for n, count in ALL:
        for factor in range(1, count + 1):
            for periodic in (True, False):
                windows = Windows(n, count, 1, periodic)
                found = windows.coarse(torch.full((n,), 3.0, dtype=torch.float64), 0, factor)
                torch.testing.assert_close(found, torch.full_like(found, 3.0), rtol=0, atol=1e-12)


def test_coarse_points_near_the_ends_converge_for_fields_of_any_slope() -> None:
    # Mirrored, exp has a corner at each end, so that a sharp low-pass is right there to the first order only.
    errors = []
    for n in (65, 129):
        windows = Windows(n, 2, 0, periodic=False)
        at = places(windows, 2)
        inside = torch.from_numpy((at >= 0) & (at <= n - 1))
        found = windows.coarse(torch.exp(torch.linspace(0, 1, n, dtype=torch.float64)), 0, 2)
        expected = torch.from_numpy(np.exp(at / (n - 1)))
        errors.append(float((found - expected)[inside].abs().max()))
    assert errors[1] < 0.02
    assert errors[0] / errors[1] > 1.8


def test_matrices_kept_in_inference_serve_in_training() -> None:
    windows = Windows(14, 2, 0, periodic=True)
    with torch.inference_mode():
        windows.coarse(torch.ones(14), 0, 2)
    x = torch.ones(14, requires_grad=True)
    windows.coarse(x, 0, 2).sum().backward()
    assert x.grad is not None and x.grad.shape == (14,)
