import numpy as np
import pytest
import torch

from sciten.datasets.fields.normalisation import ChannelStatistics
from sciten.datasets.fields.statistics import Moments


def test_channels_stand_one_after_another():
    rows = np.random.default_rng(0).normal(size=(50, 2, 2))
    found = ChannelStatistics.of([Moments.of(rows), Moments.of(rows[:, 0, 0])])
    np.testing.assert_allclose(found.mean, [*rows.mean(0).ravel(), rows[:, 0, 0].mean()], rtol=1e-12)
    np.testing.assert_allclose(found.std, [*rows.std(0).ravel(), rows[:, 0, 0].std()], rtol=1e-12)
    assert found.mean.dtype == torch.float64


@pytest.mark.parametrize(("mean", "std", "expected"), [(0.1, 1e-17, 1.0), (0.0, 0.0, 1.0), (1e6, 1e-3, 1e-3)])
def test_a_deviation_from_rounding_counts_as_none(mean, std, expected):
    moments = Moments(4, np.array(mean), np.array(4 * std**2))
    assert ChannelStatistics.of([moments]).std.item() == pytest.approx(expected)


def test_there_may_be_no_channels():
    assert ChannelStatistics.of([]).mean.shape == ChannelStatistics.of([]).std.shape == (0,)
