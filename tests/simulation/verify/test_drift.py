import numpy as np
import pytest

from sciten.simulation.verify.dynamics import linear_drift


def test_a_slope_is_found_under_an_oscillation():
    times = np.arange(4000) * 5e-4
    values = 0.3 * times + 0.1 * np.sin(2 * np.pi * times / 0.0173)
    drift = linear_drift(values, 5e-4)
    assert drift.slope == pytest.approx(0.3, abs=3 * drift.error + 1e-3)
    assert drift.error < 0.02


def test_the_stated_error_covers_correlated_noise():
    """Of many series without a drift, about one in twenty may have a slope beyond two standard errors."""
    rng = np.random.default_rng(0)
    outside = 0
    for _ in range(200):
        noise = rng.normal(size=4100)
        correlated = np.convolve(noise, np.exp(-np.arange(100) / 10), mode="valid")[:4000]
        drift = linear_drift(correlated, 1.0)
        outside += abs(drift.slope) > 2 * drift.error
    assert outside < 30
