import h5py
import numpy as np
import pytest
import torch

from sciten.datasets import Axis, Field, FieldWriter
from sciten.datasets.fields.writer import chunk_shape
from sciten.errors import ConfigError, DataError, StorageError
from tests.datasets.fields.conftest import AXES, FLOW, TIMES, random_sample, write_flow

X = (Axis.periodic("x", 4),)
STATIC = (Field("u", time_varying=False),)


def test_the_layout_is_that_of_the_well(flow):
    path, samples = flow
    with h5py.File(path) as file:
        assert file.attrs["dataset_name"] == "flow" and file.attrs["grid_type"] == "cartesian"
        assert file.attrs["n_spatial_dims"] == 2 and file.attrs["n_trajectories"] == 3
        assert list(file.attrs["simulation_parameters"]) == ["viscosity"] and file.attrs["viscosity"] == 1e-3
        assert list(file["dimensions"].attrs["spatial_dims"]) == ["x", "y"]
        np.testing.assert_array_equal(file["dimensions/time"][:], TIMES)
        assert not file["dimensions/time"].attrs["sample_varying"]
        for axis in AXES:
            stored = file["dimensions"][axis.name]
            np.testing.assert_array_equal(stored[:], axis.coordinates)
            assert not stored.attrs["sample_varying"] and not stored.attrs["time_varying"]
        assert sorted(file["boundary_conditions"]) == ["x_periodic", "y_wall"]
        for name, dim, kind, n in (("x_periodic", "x", "PERIODIC", 8), ("y_wall", "y", "WALL", 5)):
            condition = file["boundary_conditions"][name]
            assert list(condition.attrs["associated_dims"]) == [dim] and condition.attrs["bc_type"] == kind
            assert len(condition.attrs["associated_fields"]) == 0
            assert np.flatnonzero(condition["mask"][:]).tolist() == [0, n - 1]
        listed = {
            group: list(file[group].attrs["field_names"])
            for group in file
            if "field_names" in file[group].attrs
        }
        assert listed == {
            "t0_fields": ["vorticity", "forcing", "wall"],
            "t1_fields": ["velocity"],
            "t2_fields": ["stress"],
            "scalars": ["reynolds", "mean_flow", "viscosity"],
        }
        stress = file["t2_fields/stress"]
        assert stress.shape == (3, 7, 8, 5, 2, 2)
        assert stress.attrs["symmetric"] and not stress.attrs["antisymmetric"]
        assert (
            stress.attrs["dim_varying"].tolist() == [True, True] and stress.attrs["dim_varying"].dtype == bool
        )
        wall = file["t0_fields/wall"]
        assert wall.shape == (5,) and wall.attrs["dim_varying"].tolist() == [False, True]
        assert not wall.attrs["sample_varying"] and not wall.attrs["time_varying"]
        assert file["scalars/viscosity"].shape == () and file["scalars/mean_flow"].shape == (3, 7)
        np.testing.assert_array_equal(
            file["t1_fields/velocity"][:], [sample["velocity"] for sample in samples]
        )


def test_boundaries_that_differ_have_a_mask_each(tmp_path):
    axis = Axis("x", np.linspace(0, 1, 5), "wall", "open")
    with FieldWriter(tmp_path / "a.h5", name="a", axes=[axis], fields=STATIC) as writer:
        writer.append({"u": np.arange(5.0)})
    with h5py.File(tmp_path / "a.h5") as file:
        masks = {
            name: file["boundary_conditions"][name]["mask"][:].tolist()
            for name in file["boundary_conditions"]
        }
    assert masks == {"x_wall": [True, *[False] * 4], "x_open": [*[False] * 4, True]}


def test_statistics_are_those_of_the_stored_values(tmp_path):
    samples = write_flow(tmp_path / "a.h5", dtype="float32")
    with h5py.File(tmp_path / "a.h5") as file:
        for name in ("vorticity", "velocity", "stress", "forcing", "reynolds", "mean_flow"):
            values = np.array([sample[name] for sample in samples], dtype=np.float32).astype(np.float64)
            components = {"velocity": 1, "stress": 2}.get(name, 0)
            over = tuple(range(values.ndim - components))
            group = file["normalisation"][name]
            np.testing.assert_allclose(group["mean"][()], values.mean(over), atol=1e-14)
            np.testing.assert_allclose(group["std"][()], values.std(over), rtol=1e-12)
            assert ("difference_std" in group) == (name in ("vorticity", "velocity", "stress", "mean_flow"))
        changes = np.diff(
            np.array([s["velocity"] for s in samples], dtype=np.float32).astype(np.float64), axis=1
        )
        found = file["normalisation/velocity/difference_std"][()]
        np.testing.assert_allclose(found, changes.std(axis=(0, 1, 2, 3)), rtol=1e-12)
        assert file["normalisation/viscosity/mean"][()] == np.float32(1e-3)


def test_provenance(tmp_path):
    write_flow(tmp_path / "a.h5", command="make it", licence="CC0-1.0")
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["schema"] == "sciten-fields" and file.attrs["schema_version"] == 1
        assert file.attrs["command"] == "make it" and file.attrs["licence"] == "CC0-1.0"
        assert file.attrs["created"].endswith("+00:00") and file.attrs["sciten_version"]


def test_tensors_and_whole_numbers_are_taken(tmp_path):
    with FieldWriter(tmp_path / "a.h5", name="a", axes=X, fields=STATIC) as writer:
        writer.append({"u": torch.arange(4.0, requires_grad=True)})
        writer.append({"u": np.array([1, 0, 1, 1], dtype=np.uint8)})
        assert len(writer) == 2
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["t0_fields/u"][:].tolist() == [[0, 1, 2, 3], [1, 0, 1, 1]]
        assert file["dimensions/time"].shape == (1,)


def test_an_error_inside_leaves_nothing(tmp_path):
    with (
        pytest.raises(RuntimeError, match="mine"),
        FieldWriter(tmp_path / "a.h5", name="a", axes=X, fields=STATIC) as w,
    ):
        w.append({"u": np.arange(4.0)})
        raise RuntimeError("mine")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_noticed(tmp_path):
    with (
        pytest.raises(StorageError, match=r"a\.h5: cannot be written"),
        FieldWriter(tmp_path / "a.h5", name="a", axes=X, fields=STATIC) as writer,
    ):
        writer._new._stream.error = OSError(28, "the disk is full")
        writer.append({"u": np.arange(4.0)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"vorticity": np.zeros((7, 8, 4))},
            r"sample 1: expected 'vorticity' of shape \[7, 8, 5\], got \[7, 8, 4\]",
        ),
        ({"velocity": np.zeros((7, 8, 5))}, r"'velocity' of shape \[7, 8, 5, 2\], got \[7, 8, 5\]"),
        ({"forcing": np.full((8, 5), np.nan)}, "sample 1: field 'forcing' has 40 values that are not finite"),
        ({"reynolds": np.inf}, "field 'reynolds' has 1 values that are not finite"),
        ({"vorticity": np.full((7, 8, 5), 1e300)}, "280 values that are not finite in float32"),
        ({"vorticity": np.zeros((7, 8, 5), complex)}, "real numbers of 'vorticity', got dtype complex128"),
        ({"vortisity": 0}, "unknown field 'vortisity', did you mean 'vorticity'?"),
        ({"wall": np.zeros(5)}, "unknown field 'wall', known are"),
        ({"vorticity": None}, "expected a value of 'vorticity', got none"),
        ({"stress": np.arange(1120.0).reshape(7, 8, 5, 2, 2)}, "'stress' is declared symmetric"),
    ],
)
def test_samples_that_do_not_fit_are_named(tmp_path, change, message):
    sample = {name: value for name, value in {**random_sample(seed=5), **change}.items() if value is not None}
    with (
        pytest.raises(DataError, match=message),
        FieldWriter(tmp_path / "a.h5", name="a", axes=AXES, fields=FLOW, times=TIMES) as writer,
    ):
        writer.append(random_sample())
        writer.append(sample)
    assert list(tmp_path.iterdir()) == []


def test_a_sample_that_came_already(tmp_path):
    with (
        pytest.raises(DataError, match=r"sample 2: equals sample 0; .*seed taken twice"),
        FieldWriter(tmp_path / "a.h5", name="a", axes=X, fields=STATIC) as writer,
    ):
        for value in (0.0, 1.0, 0.0):
            writer.append({"u": np.full(4, value)})
    with FieldWriter(tmp_path / "a.h5", name="a", axes=X, fields=STATIC, unique=False) as writer:
        for value in (0.0, 1.0, 0.0):
            writer.append({"u": np.full(4, value)})
    assert (tmp_path / "a.h5").exists()


@pytest.mark.parametrize(
    ("options", "n", "message"),
    [
        ({}, 0, "there is no sample to write"),
        ({"n_samples": 3}, 2, "expected 3 samples, got 2"),
        (
            {"fields": (*STATIC, Field("k", time_varying=False, sample_varying=False))},
            2,
            "'k' was never given",
        ),
    ],
)
def test_incomplete_files_do_not_appear(tmp_path, options, n, message):
    arguments = {"name": "a", "axes": X, "fields": STATIC} | options
    with pytest.raises(DataError, match=message), FieldWriter(tmp_path / "a.h5", **arguments) as writer:
        for i in range(n):
            writer.append({"u": np.full(4, i)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": (Field("u"),)}, r"'u' varies in time: give times, or Field\(..., time_varying=False\)"),
        ({"fields": (Field.scalar("nu"),)}, "at least one field on the grid"),
        ({"fields": (*STATIC, Field("u", 1, time_varying=False))}, "got 'u' twice"),
        ({"parameters": {"u": 1.0}}, "got 'u' twice"),
        ({"parameters": {"licence": 1.0}}, "parameter 'licence' has the name of an attribute"),
        ({"times": [0.0, 0.0]}, "finite, ascending times"),
        ({"times": [[0.0, 1.0]]}, r"got shape \[1, 2\]"),
        ({"axes": [Axis.periodic("time", 4)]}, "axes of other names than 'time'"),
    ],
)
def test_descriptions_that_contradict_themselves(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        FieldWriter(tmp_path / "a.h5", **({"name": "a", "axes": X, "fields": STATIC} | options))


def test_shared_values_are_given_once(tmp_path):
    fields = (*STATIC, Field("k", time_varying=False, sample_varying=False))
    with (
        pytest.raises(ConfigError, match="'k' was given already"),
        FieldWriter(tmp_path / "a.h5", name="a", axes=X, fields=fields) as writer,
    ):
        writer.share({"k": np.zeros(4)})
        writer.share({"k": np.ones(4)})


@pytest.mark.parametrize(
    ("shape", "time_varying"),
    [
        ((), False),
        ((7,), True),
        ((16, 16), False),
        ((20, 64, 64), True),
        ((5, 512, 512, 512, 3), True),
        ((3, 4), True),
    ],
)
def test_chunks_fit_and_stay_small(shape, time_varying):
    chunk = chunk_shape(shape, 4, time_varying=time_varying)
    assert len(chunk) == len(shape) + 1 and min(chunk) >= 1
    assert all(part <= whole for part, whole in zip(chunk[1:], shape, strict=True))
    assert 4 * np.prod(chunk) <= 1 << 22


def test_samples_belong_into_the_block(tmp_path):
    writer = FieldWriter(tmp_path / "a.h5", name="a", axes=AXES, fields=[Field("u", time_varying=False)])
    with pytest.raises(
        ConfigError, match=r"a\.h5: sample 0: expected to be written within `with FieldWriter"
    ):
        writer.append({"u": np.zeros((8, 5))})
    with writer:
        writer.append({"u": np.zeros((8, 5))})
    with pytest.raises(ConfigError, match="within `with FieldWriter"):
        writer.append({"u": np.ones((8, 5))})
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["t0_fields/u"].shape == (1, 8, 5)
