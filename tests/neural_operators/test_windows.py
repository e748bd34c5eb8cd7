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
