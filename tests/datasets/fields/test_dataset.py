import multiprocessing
import pickle
import tracemalloc
import warnings

import h5py
import numpy as np
import pytest
import torch

from sciten.datasets import Axis, Field, FieldDataset, FieldWriter, collate_fields
from sciten.errors import ConfigError, DataError
from tests.datasets.fields.conftest import AXES, TIMES, write_flow


@pytest.fixture(params=["in memory", "from disk"])
def kept(request, monkeypatch):
    if request.param == "from disk":
        monkeypatch.setattr("sciten.datasets.fields.dataset._KEPT_VALUES", 0)


def edited(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


@pytest.mark.parametrize(("history", "horizon", "stride"), [(1, 1, 1), (3, 2, 1), (2, 2, 2), (1, 6, 1)])
def test_windows_slide_over_each_trajectory(flow, kept, history, horizon, stride):
    path, samples = flow
    names = ["vorticity", "velocity", "forcing", "mean_flow"]
    dataset = FieldDataset(
        path, inputs=names, targets=["vorticity"], history=history, horizon=horizon, stride=stride
    )
    starts = 7 - (history + horizon - 1) * stride
    assert len(dataset) == 3 * starts
    for index in range(len(dataset)):
        values, start = samples[index // starts], index % starts
        assert dataset.place(index).trajectory == index // starts and dataset.place(index).frame == start
        frames = []
        for t in range(start, start + history * stride, stride):
            mean_flow = np.full((8, 5), values["mean_flow"][t])
            frames += [values["vorticity"][t], *np.moveaxis(values["velocity"][t], -1, 0), mean_flow]
        found = dataset[index]
        np.testing.assert_array_equal(found.inputs, np.float32([*frames, values["forcing"]]))
        first = start + history * stride
        future = values["vorticity"][first : first + horizon * stride : stride]
        np.testing.assert_array_equal(found.targets, np.float32(future[:, None]))
        np.testing.assert_array_equal(found.parameters, np.float32([values["reynolds"], 1e-3]))
    assert dataset.time_step == pytest.approx(0.25 * stride)


def test_channels_are_named(flow):
    dataset = FieldDataset(
        flow[0], inputs=["forcing", "velocity", "reynolds", "wall"], targets=["stress", "velocity"], history=2
    )
    channels = dataset.channels
    assert channels.inputs == (
        *("velocity_x@-1", "velocity_y@-1", "velocity_x", "velocity_y"),
        *("forcing", "reynolds", "wall"),
    )
    assert channels.targets == (
        "stress_xx",
        "stress_xy",
        "stress_yx",
        "stress_yy",
        "velocity_x",
        "velocity_y",
    )
    assert channels.parameters == ("reynolds", "viscosity") and channels.state == ("velocity_x", "velocity_y")
    sample = dataset[0]
    assert sample.inputs.shape == (len(channels.inputs), 8, 5)
    assert sample.targets.shape == (1, len(channels.targets), 8, 5)


def test_scalars_and_shared_fields_are_spread_over_the_grid(flow, kept):
    path, samples = flow
    dataset = FieldDataset(path, inputs=["reynolds", "viscosity", "wall"], targets=["forcing"])
    assert len(dataset) == 3
    for i, values in enumerate(samples):
        inputs = dataset[i].inputs
        assert inputs.shape == (3, 8, 5)
        assert (inputs[0] == np.float32(values["reynolds"])).all() and (inputs[1] == np.float32(1e-3)).all()
        np.testing.assert_array_equal(inputs[2], np.tile(np.float32(values["wall"]), (8, 1)))


def test_static_inputs_and_a_whole_trajectory_as_targets(flow):
    path, samples = flow
    dataset = FieldDataset(path, inputs=["forcing"], targets=["vorticity"], horizon=7)
    assert len(dataset) == 3
    np.testing.assert_array_equal(dataset[1].inputs, np.float32(samples[1]["forcing"][None]))
    np.testing.assert_array_equal(dataset[1].targets, np.float32(samples[1]["vorticity"][:, None]))


def test_static_targets_of_a_history(flow):
    path, samples = flow
    dataset = FieldDataset(path, inputs=["vorticity"], targets=["forcing"], history=6)
    assert len(dataset) == 3 * 2
    np.testing.assert_array_equal(dataset[3].inputs, np.float32(samples[1]["vorticity"][1:7]))
    np.testing.assert_array_equal(dataset[3].targets, np.float32(samples[1]["forcing"][None, None]))


@pytest.mark.parametrize("steps", [2, (4, 1), (1, 2)])
def test_subsampling_takes_points_of_the_grid(flow, kept, steps):
    path, samples = flow
    a, b = (steps, steps) if isinstance(steps, int) else steps
    names = ["velocity", "wall", "reynolds"]
    dataset = FieldDataset(path, inputs=names, targets=["vorticity"], subsample=steps)
    assert dataset.grid.shape == (8 // a, (5 + b - 1) // b)
    assert dataset.grid.lengths == pytest.approx((2.0, 1.0))
    np.testing.assert_array_equal(dataset.grid.coordinates[0], AXES[0].coordinates[::a])
    found = dataset[0]
    np.testing.assert_array_equal(found.inputs[1], np.float32(samples[0]["velocity"][0, ::a, ::b, 1]))
    np.testing.assert_array_equal(found.inputs[2, 0], np.float32(samples[0]["wall"][::b]))
    np.testing.assert_array_equal(found.targets[0, 0], np.float32(samples[0]["vorticity"][1, ::a, ::b]))


def test_dtype(flow):
    path, samples = flow
    dataset = FieldDataset(path, inputs=["vorticity"], targets=["vorticity"], dtype=torch.float64)
    np.testing.assert_array_equal(dataset[0].inputs[0], samples[0]["vorticity"][0])
    assert dataset[0].parameters.dtype == dataset[0].targets.dtype == torch.float64


def test_indices(flow):
    dataset = FieldDataset(flow[0], inputs=["vorticity"], targets=["vorticity"])
    assert torch.equal(dataset[-1].inputs, dataset[17].inputs)
    for index in (18, -19):
        with pytest.raises(IndexError, match=f"no sample {index}, it has 18"):
            dataset[index]


def test_several_files_stand_end_to_end(tmp_path):
    written = []
    for i, times in enumerate((TIMES, TIMES[:3])):
        written += write_flow(
            tmp_path / f"{i}.h5", 2 + i, seed=10 * i, times=times, parameters={"viscosity": 0.1 + i}
        )
    paths = [tmp_path / "0.h5", tmp_path / "1.h5"]
    options = {"inputs": ["vorticity"], "targets": ["vorticity"]}
    both = FieldDataset(paths, **options)
    parts = [FieldDataset(path, **options) for path in paths]
    assert len(both) == len(parts[0]) + len(parts[1]) == 2 * 6 + 3 * 2
    for i, sample in enumerate([*parts[0], *parts[1]]):
        assert torch.equal(both[i].inputs, sample.inputs) and torch.equal(
            both[i].parameters, sample.parameters
        )
    assert both.place(12) == parts[1].place(0)
    found = both.statistics
    values = np.concatenate([sample["vorticity"].ravel() for sample in written])
    assert found.targets.std.item() == pytest.approx(
        values.std()
    ) and found.targets.mean.item() == pytest.approx(values.mean())
    assert found.parameters.mean[1].item() == pytest.approx((2 * 0.1 + 3 * 1.1) / 5)


def test_statistics_of_channels(flow):
    path, samples = flow
    dataset = FieldDataset(
        path, inputs=["forcing", "velocity", "viscosity"], targets=["vorticity"], history=2
    )
    found = dataset.statistics
    velocity = np.array([sample["velocity"] for sample in samples])
    forcing = np.array([sample["forcing"] for sample in samples])
    means = [*velocity.mean((0, 1, 2, 3)).tolist() * 2, forcing.mean(), 1e-3]
    np.testing.assert_allclose(found.inputs.mean, means, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(
        found.inputs.std, [*velocity.std((0, 1, 2, 3)).tolist() * 2, forcing.std(), 1.0], rtol=1e-10
    )
    changes = np.diff(np.array([sample["vorticity"] for sample in samples]), axis=1)
    assert found.differences is not None
    assert found.differences.std.item() == pytest.approx(changes.std())
    assert found.differences.mean.item() == pytest.approx(changes.mean())
    strided = FieldDataset(path, inputs=["vorticity"], targets=["vorticity"], stride=2)
    static = FieldDataset(path, inputs=["forcing"], targets=["forcing"])
    assert strided.statistics.differences is None and static.statistics.differences is None


def test_rollouts_reproduce_the_windows(flow):
    dataset = FieldDataset(
        flow[0], inputs=["velocity", "forcing", "vorticity"], targets=["velocity", "vorticity"], history=3
    )
    now, then = collate_fields([dataset[0]]), collate_fields([dataset[1]])
    assert torch.equal(dataset.advance(now.inputs, now.targets[:, 0]), then.inputs)
    assert dataset.autoregressive
    other = FieldDataset(flow[0], inputs=["velocity"], targets=["vorticity"])
    with pytest.raises(
        ConfigError, match=r"a rollout needs targets .*\(velocity_x, velocity_y\), got vorticity"
    ):
        other.advance(now.inputs, now.targets[:, 0])
    static = FieldDataset(flow[0], inputs=["forcing"], targets=["forcing"])
    assert not other.autoregressive and not static.autoregressive
    swapped = FieldDataset(flow[0], inputs=["vorticity", "velocity"], targets=["velocity", "vorticity"])
    with pytest.raises(
        ConfigError, match=r"in the order of .*\(vorticity, velocity_x, .*; name them in the same"
    ):
        _ = swapped.autoregressive


def test_batches(flow):
    dataset = FieldDataset(flow[0], inputs=["velocity"], targets=["vorticity"], horizon=2)
    batch = collate_fields([dataset[0], dataset[5], dataset[-1]])
    assert len(batch) == 3 and batch.inputs.shape == (3, 2, 8, 5) and batch.targets.shape == (3, 2, 1, 8, 5)
    assert torch.equal(batch.targets[1], dataset[5].targets) and batch.parameters.shape == (3, 2)
    moved = batch.to("meta", torch.float64)
    assert moved.targets.device.type == "meta" and moved.inputs.dtype == torch.float64


def test_pickle_carries_no_data(flow):
    dataset = FieldDataset(flow[0], inputs=["velocity"], targets=["vorticity"])
    sample = dataset[3]
    data = pickle.dumps(dataset)
    assert len(data) < 8000
    assert torch.equal(pickle.loads(data)[3].inputs, sample.inputs)


@pytest.mark.parametrize(("method", "kept_values"), [("fork", 0), ("fork", 1 << 24), ("spawn", 0)])
def test_several_worker_processes(flow, monkeypatch, method, kept_values):
    monkeypatch.setattr("sciten.datasets.fields.dataset._KEPT_VALUES", kept_values)
    dataset = FieldDataset(flow[0], inputs=["velocity", "forcing"], targets=["vorticity"])
    expected = collate_fields(list(dataset))  # open in the parent before the workers start
    loader = torch.utils.data.DataLoader(
        dataset,
        num_workers=2,
        batch_size=5,
        collate_fn=collate_fields,
        multiprocessing_context=multiprocessing.get_context(method),
    )
    batches = list(loader)
    for name in ("inputs", "targets", "parameters"):
        assert torch.equal(torch.cat([getattr(batch, name) for batch in batches]), getattr(expected, name))
    assert torch.equal(dataset[1].inputs, expected.inputs[1])


def test_reading_after_closing(flow):
    with FieldDataset(flow[0], inputs=["velocity"], targets=["vorticity"]) as dataset:
        first = dataset[0]
    assert torch.equal(dataset[0].inputs, first.inputs)
    assert repr(dataset).endswith("18 samples, 8 x 5 points, velocity -> vorticity")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ["velocty"]}, r"flow\.h5 has no field 'velocty', did you mean 'velocity'?"),
        ({"targets": ["zz"]}, "has no field 'zz', known are vorticity, forcing"),
        ({"inputs": []}, "expected names of inputs, got none"),
        ({"inputs": ["velocity", "velocity"]}, "expected different inputs, got 'velocity' twice"),
        (
            {"targets": ["vorticity", "forcing"]},
            r"all static or all vary.*vorticity \(varies\), forcing \(static\)",
        ),
        ({"targets": ["reynolds"]}, "fields on the grid as targets, got the scalar 'reynolds'"),
        ({"history": 0}, "history to be a whole number from 1 on, got 0"),
        ({"history": 1.5}, "history to be a whole number from 1 on, got 1.5"),
        ({"dtype": torch.int32}, "a dtype of real numbers, as torch.float32, got torch.int32"),
        (
            {"history": 2, "inputs": ["forcing"]},
            "history to be 1, as nothing concerned varies in time, got 2",
        ),
        ({"horizon": 2, "targets": ["forcing"]}, "horizon to be 1, as"),
        ({"horizon": 7}, r"fit into the 7 times of .*flow\.h5, got 8 frames 1 apart; take fewer"),
        ({"history": 2, "stride": 4}, "got 3 frames 4 apart"),
        (
            {"subsample": 3},
            "a step .* that divides their number and leaves two of the 8 points of axis 'x', got 3",
        ),
        ({"subsample": (2, 5)}, "a step of at least 1 that leaves two of the 5 points of axis 'y', got 5"),
        ({"subsample": (2,)}, r"a number for each of 2 axes, got \[2\]"),
    ],
)
def test_questions_that_do_not_fit(flow, options, message):
    with pytest.raises(ConfigError, match=message):
        FieldDataset(flow[0], **({"inputs": ["velocity"], "targets": ["vorticity"]} | options))


def test_values_that_are_not_finite_are_named(flow, kept):
    path, _ = flow
    edited(path, lambda file: file["t0_fields/vorticity"].__setitem__((1, 4, 2, 3), np.nan))
    dataset = FieldDataset(path, inputs=["vorticity"], targets=["vorticity"])
    dataset[0], dataset[6 + 2], dataset[6 + 5]
    with pytest.raises(
        DataError, match=r"flow\.h5: trajectory 1, times 4 to 4: field 'vorticity' has 1 values"
    ):
        dataset[6 + 3]
    with pytest.raises(DataError, match="trajectory 1, times 4 to 4"):
        dataset[6 + 4]
    dataset.close()
    edited(path, lambda file: file["scalars/reynolds"].__setitem__(2, np.inf))
    with pytest.raises(DataError, match=r"flow\.h5: trajectory 2: scalar 'reynolds'"):
        FieldDataset(path, inputs=["vorticity"], targets=["vorticity"])


def test_an_axis_that_loses_its_end_is_said(flow):
    path, _ = flow
    fields = {"inputs": ["vorticity"], "targets": ["vorticity"]}
    with pytest.warns(
        UserWarning, match=r"flow\.h5: subsample=3 leaves off the last 1 of 5 points of 'y', .* at -0\.25 in"
    ):
        dataset = FieldDataset(path, **fields, subsample=(2, 3))
    assert dataset.grid.axes[1].coordinates.tolist() == [-1.0, -0.25]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FieldDataset(path, **fields, subsample=(4, 4))


@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_statistics_of_no_use_are_refused(flow, name, value):
    path, _ = flow
    edited(path, lambda file: file[f"normalisation/vorticity/{name}"].__setitem__(..., value))
    dataset = FieldDataset(path, inputs=["vorticity"], targets=["vorticity"])
    with pytest.raises(
        DataError,
        match=r"flow\.h5: has no normalisation statistics of 'vorticity' of use .* `sciten data import",
    ):
        _ = dataset.statistics


def test_missing_statistics_have_a_remedy(flow):
    path, _ = flow
    edited(path, lambda file: file["normalisation"].pop("vorticity"))
    dataset = FieldDataset(path, inputs=["vorticity"], targets=["vorticity"])
    with pytest.raises(
        DataError,
        match=r"flow\.h5: has no normalisation statistics of 'vorticity'; `sciten data import flow\.h5 OUT\.h5`",
    ):
        _ = dataset.statistics


def test_times_that_are_not_evenly_spaced(tmp_path):
    write_flow(tmp_path / "a.h5", times=[0.0, 0.1, 0.3])
    dataset = FieldDataset(tmp_path / "a.h5", inputs=["vorticity"], targets=["vorticity"])
    with pytest.raises(DataError, match=r"equally spaced times, got steps from 0\.1 to 0\.2"):
        _ = dataset.time_step


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"axes": (Axis.periodic("x", 8), AXES[1])},
            r"coordinates from 0 to 1\.75 along 'x' against 0 to 0\.875",
        ),
        ({"axes": (AXES[0], Axis.bounded("y", 9))}, "5 points along 'y' against 9"),
        ({"axes": (AXES[0], Axis.periodic("y", 5))}, "boundary wall, wall along 'y' against periodic"),
        ({"times": 2 * TIMES}, r"time steps of 0\.25 against 0\.5"),
        (
            {"parameters": {"density": 1.0}},
            "parameters mean_flow, reynolds, viscosity against density, mean_flow",
        ),
    ],
)
def test_files_that_do_not_go_together(flow, tmp_path, options, message):
    write_flow(tmp_path / "b.h5", **options)
    with pytest.raises(DataError, match=rf"flow\.h5 and .*b\.h5 do not go together: {message}"):
        FieldDataset([flow[0], tmp_path / "b.h5"], inputs=["vorticity"], targets=["vorticity"])


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (Field("w"), "the second has no field 'u'"),
        (Field("u", time_varying=False), "'u' is of order 0, varying in time, against order 0, static"),
        (Field("u", 1, components=(3,)), "1 channels of 'u' against 3"),
        (Field("u", 1), "'u' is of order 0, varying in time, against order 1"),
    ],
)
def test_fields_that_disagree(tmp_path, field, message):
    axis = Axis.periodic("x", 4)
    for name, kind in (("a", Field("u")), ("b", field)):
        with FieldWriter(
            tmp_path / f"{name}.h5", name=name, axes=[axis], fields=[kind], times=[0, 1]
        ) as writer:
            shape = kind.sample_shape(writer.grid, 2)
            writer.append({kind.name: np.random.default_rng(0).normal(size=shape)})
    with pytest.raises(DataError, match=message):
        FieldDataset([tmp_path / "a.h5", tmp_path / "b.h5"], inputs=["u"], targets=["u"])


def test_no_files_at_all():
    with pytest.raises(ConfigError, match="at least one file, got none"):
        FieldDataset([], inputs=["u"], targets=["u"])


def test_damaged_content_is_an_error_of_the_file(flow):
    path, _ = flow
    with h5py.File(path) as file:
        chunk = file["t0_fields/vorticity"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    middle = chunk.byte_offset + chunk.size // 2
    content[middle : middle + 8] = bytes(255 - byte for byte in content[middle : middle + 8])
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"flow\.h5: (damaged file|trajectory)"):
        FieldDataset(path, inputs=["vorticity"], targets=["vorticity"])[0]


def test_a_large_file_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("sciten.datasets.fields.dataset._KEPT_VALUES", 0)
    axes, times = (Axis.periodic("x", 64), Axis.periodic("y", 64)), np.arange(20)
    generator = np.random.default_rng(0)
    with FieldWriter(tmp_path / "a.h5", name="a", axes=axes, fields=[Field("u")], times=times) as writer:
        for _ in range(20):
            writer.append({"u": generator.normal(size=(20, 64, 64)).round(1)})
    dataset = FieldDataset(tmp_path / "a.h5", inputs=["u"], targets=["u"])
    tracemalloc.start()
    for index in range(0, len(dataset), 37):
        dataset[index]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 20 * 64 * 64 * 4 / 10


def test_channels_that_do_not_vary_can_be_divided_by_their_deviation(tmp_path):
    axes = (Axis.periodic("x", 999),)
    fields = [Field("u", time_varying=False), Field("k", time_varying=False)]
    with FieldWriter(tmp_path / "a.h5", name="a", axes=axes, fields=fields, dtype="float64") as writer:
        for i in range(7):
            writer.append({"u": np.full(999, float(i)), "k": np.full(999, 0.1)})
    found = FieldDataset(tmp_path / "a.h5", inputs=["k", "u"], targets=["u"]).statistics.inputs
    assert found.std.tolist() == pytest.approx([1.0, 2.0]) and found.mean.tolist() == pytest.approx(
        [0.1, 3.0]
    )
