import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciten.datasets.fields import statistics
from sciten.datasets.fields.statistics import FieldMoments, Moments


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(0, 1000), st.sampled_from([0.0, 1e6]))
def test_parts_give_the_moments_of_the_whole(counts, seed, offset):
    values = np.random.default_rng(seed).normal(size=(sum(counts) + 1, 2)) + offset
    parts = np.split(values, np.cumsum(counts))
    found = statistics.pool([Moments.of(part) for part in parts])
    assert found.count == len(values)
    np.testing.assert_allclose(found.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, values.std(axis=0), rtol=1e-8, atol=1e-12)


def test_blocks_do_not_matter(monkeypatch):
    values = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
    whole = Moments.of(values)
    monkeypatch.setattr(statistics, "_BLOCK_VALUES", 30)
    np.testing.assert_allclose(Moments.of(values).std, whole.std, rtol=1e-12)


@pytest.mark.parametrize("components", [(), (2,), (2, 2)])
def test_values_and_differences_come_back_from_the_file(tmp_path, components):
    samples = np.random.default_rng(0).normal(size=(4, 5, 3, *components))  # samples, times, points
    moments = FieldMoments(components, time_varying=True)
    for sample in samples:
        moments.add(sample)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        moments.write(file.create_group("u"))
        for differences, values in ((False, samples), (True, np.diff(samples, axis=1))):
            found = statistics.read(file["u"], differences=differences)
            assert found.count == values[(..., *(0 for _ in components))].size
            np.testing.assert_allclose(found.mean, values.mean(axis=(0, 1, 2)), atol=1e-14)
            np.testing.assert_allclose(found.std, values.std(axis=(0, 1, 2)), rtol=1e-12)


def test_what_is_static_has_no_differences(tmp_path):
    moments = FieldMoments((), time_varying=False)
    moments.add(np.arange(6.0).reshape(2, 3))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        moments.write(file.create_group("u"))
        with pytest.raises(KeyError):
            statistics.read(file["u"], differences=True)
