"""What the pseudo-spectral solvers share."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sciten.errors import DivergenceError
from sciten.pde.spectral.torus import highest_kept, number_of_steps, require_resolved


@given(n=st.integers(4, 60))
def test_products_of_kept_waves_do_not_fold_onto_kept_ones(n: int) -> None:
    kept = highest_kept(n)
    for a in range(kept + 1):
        for b in range(a, kept + 1):
            if a + b > kept:
                folded = (a + b) % n
                assert min(folded, n - folded) > kept
    above = 2 * (kept + 1)
    assert n - above <= kept + 1  # one more wave would fold onto itself


@given(interval=st.floats(1e-6, 1e3), longest=st.floats(1e-3, 1e3))
def test_steps_are_equal_and_none_is_longer_than_allowed(interval: float, longest: float) -> None:
    count = number_of_steps(interval, longest)
    assert interval / count <= longest * (1 + 1e-8)
    assert count == 1 or interval / (count - 1) > longest * (1 - 1e-8)


def test_a_tenth_fits_ten_times_into_one() -> None:
    assert [number_of_steps(1.0, step) for step in (0.1, 0.2, 0.3, 2.0)] == [10, 5, 4, 1]


def test_the_share_of_the_shortest_waves_is_measured_for_each_sample() -> None:
    wavenumber = torch.arange(
        17, dtype=torch.float64
    )  # of 32 points: ten are kept, and the last sixth is 9, 10
    power = torch.zeros(2, 17, dtype=torch.float64)
    power[:, 1], power[0, 8], power[1, 9] = 1.0, 1.0, 1e-3
    require_resolved("Waves", power, wavenumber, 32, 1.01e-3, 0.5)
    with pytest.raises(DivergenceError, match=r"Waves: 32 points .* at t = 0.5 \(a share of 1.0e-03"):
        require_resolved("Waves", power, wavenumber, 32, 0.99e-3, 0.5)
    require_resolved("Waves", torch.zeros_like(power), wavenumber, 32, 1e-9, 0.5)
