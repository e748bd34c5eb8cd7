"""What is written comes back: any grid, any order, static or varying, shared or not."""

import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciten.datasets import Axis, Field, FieldDataset, FieldGrid, FieldWriter
from sciten.datasets.fields.layout import read_layout
from tests.datasets.fields.conftest import random_sample


@st.composite
def axes(draw: st.DrawFn) -> tuple[Axis, ...]:
    def axis(name: str) -> Axis:
        n, length = draw(st.integers(2, 5)), draw(st.sampled_from([1.0, 0.3, 7.0]))
        if draw(st.booleans()):
            return Axis.periodic(name, n, length, start=-1.0)
        return Axis(
            name, np.linspace(0.0, length, n), *draw(st.tuples(*[st.sampled_from(["wall", "open"])] * 2))
        )

    return tuple(axis(name) for name in "xyz"[: draw(st.integers(1, 3))])


@st.composite
def fields(draw: st.DrawFn, d: int) -> tuple[Field, ...]:
    def field(i: int) -> Field:
        time, sample = draw(st.booleans()), draw(st.booleans())
        if draw(st.integers(0, 4)) == 0:
            return Field.scalar(f"scalar {i}", time_varying=time, sample_varying=sample)
        order = draw(st.integers(0, 2))
        symmetry = draw(st.sampled_from(["", "symmetric"])) if order == 2 else ""
        varying = draw(st.tuples(*[st.booleans()] * d))
        return Field(f"field {i}", order, time, sample, varying, symmetry=symmetry)  # type: ignore[arg-type]

    return (Field("u"), *(field(i) for i in range(draw(st.integers(0, 3)))))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_round_trip(data: st.DataObject) -> None:
    grid = FieldGrid(data.draw(axes()))
    kinds = data.draw(fields(len(grid.axes)))
    n_samples, n_times = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    times = 2.0 + 0.5 * np.arange(n_times)
    samples = [random_sample(kinds, grid.axes, n_times, seed) for seed in range(n_samples)]
    shared = random_sample(kinds, grid.axes, n_times, 99, sample_varying=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        with FieldWriter(
            path, name="mine", axes=grid.axes, fields=kinds, times=times, parameters={"nu": 0.5}, dtype=dtype
        ) as writer:
            writer.share(shared)
            for sample in samples:
                writer.append(sample)
        layout = read_layout(path)
        assert (layout.name, layout.n_trajectories, layout.parameters) == ("mine", n_samples, {"nu": 0.5})
        assert layout.grid.difference(grid) == ""
        for axis, before in zip(layout.grid.axes, grid.axes, strict=True):
            np.testing.assert_array_equal(axis.coordinates, before.coordinates)
        np.testing.assert_array_equal(layout.times, times)
        assert [layout.fields[kind.name] for kind in kinds] == [kind.on(grid) for kind in kinds]
        for i, sample in enumerate(samples):
            check_by_hand(path, i, sample, dtype)
            check_dataset(path, i, {**sample, **shared}, kinds, grid, n_times, dtype)


def check_by_hand(path: Path, i: int, sample: dict[str, np.ndarray], dtype: str) -> None:
    with h5py.File(path) as file:
        for group in ("t0_fields", "t1_fields", "t2_fields", "scalars"):
            for name in file[group].attrs["field_names"]:
                stored = file[group][name]
                if stored.attrs["sample_varying"]:
                    assert stored.dtype == dtype
                    np.testing.assert_array_equal(stored[i], np.asarray(sample[name], dtype=dtype))


def check_dataset(
    path: Path,
    i: int,
    values: dict[str, np.ndarray],
    kinds: tuple[Field, ...],
    grid: FieldGrid,
    n_times: int,
    dtype: str,
) -> None:
    names = [kind.name for kind in kinds]
    varying = [kind for kind in kinds if kind.time_varying]
    static = [kind for kind in kinds if not kind.time_varying]
    if n_times < 2:
        with pytest.raises(ValueError, match="that fit into the 1 times"):
            FieldDataset(path, inputs=names, targets=["u"])
        return
    dataset = FieldDataset(path, inputs=names, targets=["u"], dtype=getattr(torch, dtype))
    assert len(dataset) == dataset._readers[0].layout.n_trajectories * (n_times - 1)
    for frame in range(n_times - 1):
        sample = dataset[i * (n_times - 1) + frame]
        expected = [dense(kind, values[kind.name], grid)[frame] for kind in varying]
        expected += [dense(kind, values[kind.name], grid)[0] for kind in static]
        np.testing.assert_array_equal(sample.inputs, np.concatenate(expected).astype(dtype))
        np.testing.assert_array_equal(sample.targets, values["u"][frame + 1][None, None].astype(dtype))
        constants = [values[kind.name] for kind in static if not kind.in_space]
        np.testing.assert_array_equal(sample.parameters, np.array([*constants, 0.5], dtype=dtype))


def dense(kind: Field, value: np.ndarray, grid: FieldGrid) -> np.ndarray:
    """`[n_times or 1, components, *grid]`, by repeating what does not vary."""
    full = kind.on(grid)
    value = np.asarray(value) if kind.time_varying else np.asarray(value)[None]
    for axis, (varies, n) in enumerate(zip(full.dim_varying or (), grid.shape, strict=True), start=1):
        if not varies:
            value = np.repeat(np.expand_dims(value, axis), n, axis=axis)
    components = value.reshape(*value.shape[: 1 + len(grid.shape)], -1)
    return np.stack([components[..., c] for c in range(components.shape[-1])], axis=1)
