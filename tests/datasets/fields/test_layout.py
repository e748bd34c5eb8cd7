"""Files in The Well's layout that other programs wrote, and files that are none."""

import h5py
import numpy as np
import pytest

from sciten.datasets import AtomsDataset, FieldDataset, write_structures
from sciten.datasets.fields.layout import read_layout
from sciten.errors import DataError
from tests.datasets.conftest import make_structure


def write_well(path, *, n=2, t=4, seed=0):
    """What The Well's documentation describes, by h5py alone; returns the arrays."""
    generator = np.random.default_rng(seed)
    x, y = np.arange(6, dtype=np.float32) / 6, np.linspace(0, 1, 5, dtype=np.float32)
    fields = {
        ("t0_fields", "buoyancy"): (generator.normal(size=(n, t, 6, 5)), True, True, [True, True]),
        ("t0_fields", "depth"): (generator.normal(size=(n, 6)), True, False, [True, False]),
        ("t1_fields", "velocity"): (generator.normal(size=(n, t, 6, 5, 2)), True, True, [True, True]),
        ("t2_fields", "strain"): (generator.normal(size=(n, t, 6, 5, 2, 2)), True, True, [True, True]),
    }
    with h5py.File(path, "w") as file:
        file.attrs["simulation_parameters"] = ["Rayleigh"]
        file.attrs["Rayleigh"] = 1e6
        file.attrs["dataset_name"] = "convection"
        file.attrs["grid_type"] = "cartesian"
        file.attrs["n_spatial_dims"] = 2
        file.attrs["n_trajectories"] = n
        dimensions = file.create_group("dimensions")
        dimensions.attrs["spatial_dims"] = ["x", "y"]
        dimensions["time"] = np.arange(t, dtype=np.float32)
        dimensions["time"].attrs["sample_varying"] = False
        for name, points in (("x", x), ("y", y)):
            dimensions[name] = points
            dimensions[name].attrs["sample_varying"] = dimensions[name].attrs["time_varying"] = False
        for name, kind, points in (("x_periodic", "PERIODIC", x), ("y_wall", "wall", y)):
            group = file.create_group(f"boundary_conditions/{name}")
            group.attrs["associated_dims"] = [name[0]]
            group.attrs["associated_fields"] = []
            group.attrs["bc_type"] = kind
            group.attrs["sample_varying"] = group.attrs["time_varying"] = False
            group["mask"] = np.isin(np.arange(len(points)), [0, len(points) - 1])
        scalars = file.create_group("scalars")
        scalars.attrs["field_names"] = ["Rayleigh", "heating"]
        scalars["Rayleigh"] = np.float32([1e6])
        scalars["heating"] = np.arange(t, dtype=np.float32)
        for name, varying in (("Rayleigh", False), ("heating", True)):
            scalars[name].attrs["sample_varying"], scalars[name].attrs["time_varying"] = False, varying
        for order in range(3):
            file.create_group(f"t{order}_fields").attrs["field_names"] = [
                name for group, name in fields if group == f"t{order}_fields"
            ]
        for (group, name), (values, sample, time, dims) in fields.items():
            stored = file[group].create_dataset(name, data=values.astype(np.float32))
            stored.attrs["sample_varying"], stored.attrs["time_varying"] = sample, time
            stored.attrs["dim_varying"] = dims
            if group == "t2_fields":
                stored.attrs["symmetric"] = stored.attrs["antisymmetric"] = False
    return {name: values.astype(np.float32) for (_, name), (values, *_) in fields.items()}


@pytest.fixture
def well(tmp_path):
    path = tmp_path / "well.hdf5"
    return path, write_well(path)


def test_its_files_are_read_as_they_are(well):
    path, values = well
    dataset = FieldDataset(
        path,
        inputs=["buoyancy", "velocity", "depth", "heating"],
        targets=["strain"],
    )
    assert dataset.name == "convection" and dataset.grid.periodic == (True, False)
    assert dataset.grid.axes[1].lower == dataset.grid.axes[1].upper == "wall"
    assert dataset.grid.lengths == pytest.approx((1.0, 1.0)) and dataset.time_step == 1.0
    assert dataset.channels.parameters == ("Rayleigh",) and len(dataset) == 2 * 3
    sample = dataset[3 + 1]  # second trajectory, second frame
    assert sample.parameters.tolist() == [1e6]
    expected = [values["buoyancy"][1, 1], *np.moveaxis(values["velocity"][1, 1], -1, 0), np.ones((6, 5))]
    expected.append(np.tile(values["depth"][1][:, None], (1, 5)))
    np.testing.assert_array_equal(sample.inputs, np.float32(expected))
    np.testing.assert_array_equal(
        sample.targets[0], values["strain"][1, 2].reshape(6, 5, 4).transpose(2, 0, 1)
    )
    with pytest.raises(
        DataError, match=r"well\.hdf5: has no normalisation statistics .* `sciten data import"
    ):
        _ = dataset.statistics


def test_tensors_with_one_axis_of_components(well):
    path, values = well

    def flatten(file):
        attributes = dict(file["t2_fields/strain"].attrs)
        del file["t2_fields/strain"]
        file["t2_fields/strain"] = values["strain"].reshape(2, 4, 6, 5, 4)
        file["t2_fields/strain"].attrs.update(attributes)

    with h5py.File(path, "r+") as file:
        flatten(file)
    dataset = FieldDataset(path, inputs=["strain"], targets=["buoyancy"])
    assert dataset.channels.inputs == ("strain_xx", "strain_xy", "strain_yx", "strain_yy")
    np.testing.assert_array_equal(dataset[0].inputs[1], values["strain"][0, 0, ..., 0, 1])


def test_times_of_each_trajectory(well):
    path, _ = well
    with h5py.File(path, "r+") as file:
        del file["dimensions/time"]
        file["dimensions/time"] = np.arange(8.0).reshape(2, 4)
        file["dimensions/time"].attrs["sample_varying"] = True
    dataset = FieldDataset(path, inputs=["buoyancy"], targets=["buoyancy"])
    assert len(dataset) == 2 * 3 and dataset.time_step == 1.0


def test_boundaries_of_parts_of_a_side(well):
    """A wall counts where it covers a whole side, an opening where there is any part of it, and nothing is open."""
    path, _ = well
    with h5py.File(path, "r+") as file:
        del file["boundary_conditions"]
        for name, kind, mask in (
            ("hole", "OPEN", np.zeros((6, 5), bool)),
            ("walls", "WALL", np.zeros((6, 5), bool)),
        ):
            mask[0, :], mask[-1, 2:] = (kind == "WALL"), (kind == "WALL")
            mask[-1, :2] = kind == "OPEN"
            group = file.create_group(f"boundary_conditions/{name}")
            group.attrs["associated_dims"], group.attrs["bc_type"] = ["x", "y"], kind
            group["mask"] = mask
    x, y = read_layout(path).grid.axes
    assert (x.lower, x.upper) == ("wall", "open") and (y.lower, y.upper) == ("open", "open")


def test_boundaries_that_vary_with_the_sample(well):
    path, _ = well
    with h5py.File(path, "r+") as file:
        condition = file["boundary_conditions/y_wall"]
        del condition["mask"]
        condition["mask"] = np.array([[True, False, False, False, True], [False, False, False, False, True]])
        condition.attrs["sample_varying"] = True
    y = read_layout(path).grid.axes[1]
    assert (y.lower, y.upper) == ("open", "wall")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f["dimensions"].pop("y"), "damaged or incomplete layout"),
        (lambda f: f["dimensions"].pop("time"), "damaged or incomplete layout"),
        (lambda f: f["t0_fields"].pop("depth"), "damaged or incomplete layout"),
        (lambda f: f["t0_fields/depth"].attrs.pop("time_varying"), "damaged or incomplete layout"),
        (
            lambda f: f["dimensions/x"].attrs.update(sample_varying=True),
            "coordinates along 'x' differ from sample",
        ),
        (lambda f: f["dimensions/x"].__setitem__(2, 9.0), "Axis 'x': expected finite, ascending coordinates"),
        (
            lambda f: f.attrs.update(n_trajectories=3),
            r"'buoyancy': .*shape \[3, 4, 6, 5\].*got \[2, 4, 6, 5\]",
        ),
        (
            lambda f: f["t0_fields/depth"].attrs.update(dim_varying=[True, True]),
            r"'depth': .*\[2, 6, 5\].*got \[2, 6\]",
        ),
        (lambda f: f.move("t1_fields/velocity", "t1_fields/depth"), "damaged or incomplete layout"),
        (
            lambda f: f.attrs.update(schema="sciten-fields", schema_version=99),
            "schema version 99, this sciten reads",
        ),
    ],
)
def test_contradictions_are_named(well, change, message):
    path, _ = well
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataError, match=rf"well\.hdf5: .*{message}|well\.hdf5: {message}"):
        FieldDataset(path, inputs=["buoyancy"], targets=["buoyancy"])


def test_one_name_twice(well):
    path, _ = well
    with h5py.File(path, "r+") as file:
        file["t1_fields"].attrs["field_names"] = ["buoyancy"]
    with pytest.raises(DataError, match=r"two fields are called 'buoyancy' \(t0_fields and t1_fields\)"):
        read_layout(path)


def test_missing_and_foreign_files(tmp_path):
    for name, message in (
        ("none", "no such file"),
        ("text", "not an HDF5 file; fields are read from HDF5"),
        ("plain", r"not in the layout of The Well .*`sciten data import IN\.h5 OUT\.h5`"),
        ("atoms", "an atoms file, not one of fields; open it with AtomsDataset"),
    ):
        path = tmp_path / f"{name}.h5"
        if name == "text":
            path.write_text("x")
        if name == "plain":
            with h5py.File(path, "w") as file:
                file["x"] = np.zeros((3, 4))
        if name == "atoms":
            write_structures(path, [make_structure()])
        with pytest.raises(DataError, match=rf"{name}\.h5: .*{message}|{name}\.h5: {message}"):
            FieldDataset(path, inputs=["u"], targets=["u"])


def test_an_atoms_dataset_says_that_a_file_is_another(flow):
    with pytest.raises(DataError, match=r"not an atoms file of sciten \(schema 'sciten-fields'"):
        AtomsDataset(flow[0])


@pytest.mark.parametrize("kept", [0.03, 0.5, 0.999])
def test_truncated_files(flow, kept):
    path, _ = flow
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=r"flow\.h5: truncated or damaged"):
        read_layout(path)
