"""A small synthetic file of each kind of PDEBench, imported and read again."""

import h5py
import numpy as np
import pytest

from sciten.datasets import FieldDataset, import_fields
from sciten.datasets.fields.layout import read_layout
from sciten.errors import ConfigError, DataError

GENERATOR = np.random.default_rng(0)


def values(*shape):
    return GENERATOR.normal(size=shape).astype(np.float32)


def centres(n, length=1.0, start=0.0):
    return np.float32(start + length * (np.arange(n) + 0.5) / n)


def write(path, arrays, **attributes):
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        for name, array in arrays.items():
            file[name] = array
    return path


def imported(path, **options):
    output = path.with_name("imported.h5")
    import_fields(path, output, **options)
    return output


def scalar_file(folder, **change):
    """1D advection, Burgers, reaction-diffusion: one time coordinate too many, as there."""
    arrays = {
        "tensor": values(3, 5, 8),
        "t-coordinate": np.arange(6) / 5,
        "x-coordinate": centres(8, 2, -1),
    } | change
    return write(
        folder / "1D_Burgers_Sols_Nu0.01.hdf5", {k: v for k, v in arrays.items() if v is not None}, Nu=0.01
    )


def test_scalar_equations(tmp_path):
    path = scalar_file(tmp_path)
    dataset = FieldDataset(imported(path), inputs=["u"], targets=["u"], horizon=4)
    assert dataset.name == path.stem and dataset.grid.periodic == (True,)
    assert dataset.grid.lengths == pytest.approx((2.0,)) and dataset.grid.coordinates[0][0] == -0.875
    assert dataset.time_step == pytest.approx(0.2) and dataset.channels.parameters == ("Nu",)
    with h5py.File(path) as file:
        for i, sample in enumerate(dataset):
            np.testing.assert_array_equal(sample.inputs, file["tensor"][i, :1])
            np.testing.assert_array_equal(sample.targets[:, 0], file["tensor"][i, 1:])
    assert dataset[0].parameters.tolist() == [np.float32(0.01)]
    assert dataset.statistics.inputs.std.item() == pytest.approx(h5py.File(path)["tensor"][:].std(), rel=1e-5)


def test_darcy(tmp_path):
    arrays = {
        "nu": values(4, 6, 5),
        "tensor": values(4, 1, 6, 5),
        "x-coordinate": centres(6),
        "y-coordinate": centres(5),
    }
    path = write(tmp_path / "2D_DarcyFlow_beta1.0_Train.hdf5", arrays, beta=1.0)
    dataset = FieldDataset(imported(path), inputs=["nu"], targets=["u"])
    assert len(dataset) == 4 and dataset.grid.names == ("x", "y")
    assert {end for axis in dataset.grid.axes for end in (axis.lower, axis.upper)} == {"wall"}
    np.testing.assert_array_equal(dataset[2].inputs[0], arrays["nu"][2])
    np.testing.assert_array_equal(dataset[2].targets[0, 0], arrays["tensor"][2, 0])
    assert dataset[2].parameters.tolist() == [1.0]


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(("word", "boundary"), [("periodic", "periodic"), ("Trans", "open")])
def test_compressible_flow(tmp_path, d, word, boundary):
    grid = (4, 3, 2)[:d]
    arrays = {name: values(2, 3, *grid) for name in ("density", "pressure", *("Vx", "Vy", "Vz")[:d])}
    arrays |= {f"{name}-coordinate": centres(n) for name, n in zip("xyz", grid, strict=False)}
    arrays["t-coordinate"] = np.linspace(0, 1, 4, dtype=np.float32)
    path = write(tmp_path / f"{d}D_CFD_Rand_Eta0.1_Zeta0.1_{word}_Train.hdf5", arrays, eta=0.1, zeta=0.1)
    dataset = FieldDataset(imported(path), inputs=["density", "velocity"], targets=["pressure"])
    assert {axis.upper for axis in dataset.grid.axes} == {boundary} and dataset.grid.shape == grid
    assert dataset.channels.inputs == ("density", *("velocity_x", "velocity_y", "velocity_z")[:d])
    sample = dataset[3]  # second sample, second time
    expected = [arrays[name][1, 1] for name in ("density", "Vx", "Vy", "Vz")[: d + 1]]
    np.testing.assert_array_equal(sample.inputs, expected)
    np.testing.assert_array_equal(sample.targets[0, 0], arrays["pressure"][1, 2])


@pytest.mark.parametrize(
    ("grid", "channels", "boundary"), [((4, 3), 2, "wall"), ((4, 3), 1, "open"), ((5,), 1, "wall")]
)
def test_a_group_for_each_sample(tmp_path, grid, channels, boundary):
    """Diffusion-reaction, radial dam break, diffusion-sorption."""
    data = values(12, 4, *grid, channels)
    arrays = {}
    for i, sample in enumerate(data):
        arrays[f"{i:04}/data"] = sample
        arrays[f"{i:04}/grid/t"] = np.linspace(0, 3, 4, dtype=np.float32)
        arrays |= {f"{i:04}/grid/{n}": centres(m, 2, -1) for n, m in zip("xy", grid, strict=False)}
    names = ["u"] if channels == 1 else ["u_0", "u_1"]
    path = write(tmp_path / "2D_diff-react_NA_NA.h5", arrays)
    dataset = FieldDataset(imported(path), inputs=names, targets=names[-1:])
    assert len(dataset) == 12 * 3 and {axis.lower for axis in dataset.grid.axes} == {boundary}
    np.testing.assert_array_equal(dataset[3 * 10 + 1].inputs, np.moveaxis(data[10, 1], -1, 0))
    np.testing.assert_array_equal(dataset[3 * 10 + 1].targets[0, 0], data[10, 2, ..., -1])


def incompressible_file(folder, **change):
    arrays = {
        "velocity": values(2, 4, 6, 5, 2),
        "particles": values(2, 4, 6, 5, 1),
        "force": values(2, 6, 5, 2),
        "t": np.tile(np.arange(4.0) / 10, (2, 1)),
    } | change
    return write(folder / "ns_incom_inhom_2d_512-0.h5", arrays), arrays


def test_incompressible_flow(tmp_path):
    path, arrays = incompressible_file(tmp_path)
    dataset = FieldDataset(imported(path), inputs=["velocity", "particles", "force"], targets=["velocity"])
    assert dataset.grid.coordinates[1] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert dataset.time_step == pytest.approx(0.1) and dataset.grid.axes[0].lower == "wall"
    sample = dataset[3 + 2]
    expected = [
        arrays["velocity"][1, 2, ..., 0],
        arrays["velocity"][1, 2, ..., 1],
        arrays["particles"][1, 2, ..., 0],
    ]
    expected += [arrays["force"][1, ..., 0], arrays["force"][1, ..., 1]]
    np.testing.assert_array_equal(sample.inputs, expected)
    np.testing.assert_array_equal(sample.targets[0], np.moveaxis(arrays["velocity"][1, 3], -1, 0))


def test_boundaries_can_be_given(tmp_path):
    layout = read_layout(imported(scalar_file(tmp_path), boundary="open"))
    assert layout.grid.axes[0].lower == "open"
    arrays = {n: values(2, 3, 4) for n in ("density", "pressure", "Vx")}
    arrays |= {"x-coordinate": centres(4), "t-coordinate": np.arange(3)}
    path = write(tmp_path / "flow.h5", arrays)
    with pytest.raises(
        ConfigError, match=r"flow\.h5: says neither 'periodic' nor 'trans' in its name; give --boundary"
    ):
        imported(path, overwrite=True)
    assert read_layout(imported(path, overwrite=True, boundary="wall")).grid.axes[0].upper == "wall"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"x-coordinate": centres(7)},
            r"expected 'x-coordinate' of shape \[8\], as the fields have, got \[7\]",
        ),
        ({"x-coordinate": None}, r"expected 'x-coordinate' of shape \[8\], as the fields have, got none"),
        ({"x-coordinate": np.zeros(8)}, "Axis 'x': expected finite, ascending coordinates"),
        ({"t-coordinate": np.arange(9)}, "expected 5 or 6 times, as the fields have, got 9"),
        ({"tensor": values(3, 5)}, r"expected 'tensor' of at least \[samples, times, points\], got \[3, 5\]"),
        ({"tensor": np.full((3, 5, 8), np.nan)}, "sample 0 cannot be imported: .*field 'u' has 40 values"),
        ({"tensor": values(0, 5, 8)}, "holds no sample"),
    ],
)
def test_files_that_contradict_themselves(tmp_path, change, message):
    path = scalar_file(tmp_path, **change)
    with pytest.raises(
        (DataError, ConfigError), match=rf"1D_Burgers_Sols_Nu0\.01\.hdf5: .*{message}|hdf5: {message}"
    ):
        imported(path)
    assert list(tmp_path.iterdir()) == [path]


def test_other_contradictions(tmp_path):
    for change, message in (
        (
            {"particles": values(2, 4, 6, 5)},
            r"expected 'particles' of shape \[2, 4, 6, 5, 1\], got \[2, 4, 6, 5\]",
        ),
        ({"t": np.array([[0.0, 1, 2, 3], [0, 1, 2, 4]])}, "the same times of all samples"),
        ({"velocity": values(2, 4, 6, 5, 3)}, "'velocity' of 2 components on 2 axes, got 3"),
    ):
        path, _ = incompressible_file(tmp_path, **change)
        with pytest.raises(DataError, match=message):
            imported(path)
    arrays = {"density": values(2, 3, 4), "x-coordinate": centres(4), "t-coordinate": np.arange(3)}
    with pytest.raises(DataError, match="expected an array 'pressure', got none"):
        imported(write(tmp_path / "flow_periodic.h5", arrays))
    groups = {f"000{i}/{name}": array for i in range(2) for name, array in (("data", values(3, 4 + i, 1)),)}
    groups |= {f"000{i}/grid/{name}": np.arange(n) for i in range(2) for name, n in (("t", 3), ("x", 4))}
    with pytest.raises(
        DataError, match=r"'data' of group '0001' of shape \[3, 4, 1\], as in the first, got \[3, 5, 1\]"
    ):
        imported(write(tmp_path / "sorption.h5", groups))
