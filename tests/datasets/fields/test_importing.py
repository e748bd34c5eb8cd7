import h5py
import numpy as np
import pytest

from sciten.datasets import FieldDataset, import_fields, write_structures
from sciten.datasets.fields import is_field_file, is_importable, summary
from sciten.datasets.fields.layout import read_layout
from sciten.errors import ConfigError, DataError
from sciten.files import sha256
from tests.datasets.conftest import make_structure
from tests.datasets.fields.conftest import write_flow
from tests.datasets.fields.test_layout import write_well


def write_plain(path, n=4, shape=(6, 5), seed=0, **attributes):
    generator = np.random.default_rng(seed)
    mask, solution = generator.integers(0, 2, (n, *shape), dtype=np.uint8), generator.normal(size=(n, *shape))
    with h5py.File(path, "w") as file:
        file["x"], file["y"] = mask, solution.astype(np.float32)
        file.attrs.update(attributes)
    return mask, solution.astype(np.float32)


@pytest.mark.parametrize("shape", [(7,), (6, 5), (4, 3, 2)])
def test_plain_arrays(tmp_path, shape):
    x, y = write_plain(tmp_path / "plain.h5", shape=shape, nu=0.25)
    import_fields(tmp_path / "plain.h5", tmp_path / "out.h5", boundary="wall")
    dataset = FieldDataset(tmp_path / "out.h5", inputs=["x"], targets=["y"])
    assert len(dataset) == 4 and dataset.grid.shape == shape and dataset.channels.parameters == ("nu",)
    assert dataset.grid.names == ("x", "y", "z")[: len(shape)] and dataset.grid.lengths == (1.0,) * len(shape)
    for i, sample in enumerate(dataset):
        np.testing.assert_array_equal(sample.inputs[0], x[i])
        np.testing.assert_array_equal(sample.targets[0, 0], y[i])
    assert dataset.statistics.inputs.mean.item() == pytest.approx(x.mean())


@pytest.mark.parametrize(
    ("boundary", "points", "coordinates"),
    [
        ("wall", None, [0, 0.25, 0.5, 0.75, 1]),
        ("open", "ends", [0, 0.25, 0.5, 0.75, 1]),
        ("periodic", None, [0, 0.2, 0.4, 0.6, 0.8]),
        ("wall", "left", [0, 0.2, 0.4, 0.6, 0.8]),
        ("periodic", "centres", [0.1, 0.3, 0.5, 0.7, 0.9]),
    ],
)
def test_points_of_plain_arrays(tmp_path, boundary, points, coordinates):
    write_plain(tmp_path / "plain.h5", shape=(5,))
    import_fields(tmp_path / "plain.h5", tmp_path / "out.h5", boundary=boundary, points=points)
    (axis,) = read_layout(tmp_path / "out.h5").grid.axes
    assert axis.coordinates == pytest.approx(coordinates) and axis.lower == boundary


def test_files_of_the_well_get_statistics(tmp_path):
    values = write_well(tmp_path / "well.h5")
    import_fields(tmp_path / "well.h5", tmp_path / "out.h5")
    before, after = read_layout(tmp_path / "well.h5"), read_layout(tmp_path / "out.h5")
    assert after.name == "convection" and after.grid.difference(before.grid) == ""
    assert dict(after.fields) == dict(before.fields) and after.parameters == before.parameters
    options = {
        "inputs": ["buoyancy", "velocity", "depth", "heating", "Rayleigh"],
        "targets": ["buoyancy", "strain"],
    }
    old, new = (FieldDataset(tmp_path / name, **options) for name in ("well.h5", "out.h5"))
    for a, b in zip(old, new, strict=True):
        for name in ("inputs", "targets", "parameters"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_allclose(
        new.statistics.targets.std[0], values["buoyancy"].astype(float).std(), rtol=1e-10
    )


def test_own_files_of_every_kind_come_through(flow, tmp_path):
    read = import_fields(flow[0], tmp_path / "out.h5")
    for words in (
        "vorticity [time 7, x 8, y 5]",
        "stress [time 7, x 8, y 5, component 2, component 2]",
        "wall [y 5]",
    ):
        assert words in read
    before, after = read_layout(flow[0]), read_layout(tmp_path / "out.h5")
    assert dict(after.fields) == dict(before.fields) and after.parameters == before.parameters
    np.testing.assert_array_equal(after.times, before.times)
    names = list(before.fields)
    for a, b in zip(
        FieldDataset(flow[0], inputs=names, targets=["stress"]),
        FieldDataset(tmp_path / "out.h5", inputs=names, targets=["stress"]),
        strict=True,
    ):
        np.testing.assert_array_equal(a.inputs, b.inputs)


def test_several_inputs_stand_end_to_end(tmp_path):
    parts = [write_plain(tmp_path / f"{i}.h5", seed=i)[1] for i in range(2)]
    files = [tmp_path / "0.h5", tmp_path / "1.h5"]
    import_fields(files, tmp_path / "out.h5", boundary="wall", name="both", command="me", licence="MIT")
    layout = read_layout(tmp_path / "out.h5")
    assert layout.name == "both" and layout.record["command"] == "me" and layout.record["licence"] == "MIT"
    assert [(s["file"], s["sha256"], s["frames"]) for s in layout.sources] == [
        (f.name, sha256(f), 4) for f in files
    ]
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["t0_fields/y"][:], np.concatenate(parts))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (6, 4)}, "5 points along 'y' against 4"),
        ({"nu": 2.0}, r"parameters \{'nu': 1\.0\} against \{'nu': 2\.0\}"),
    ],
)
def test_inputs_that_do_not_go_together(tmp_path, options, message):
    write_plain(tmp_path / "a.h5", nu=1.0)
    write_plain(tmp_path / "b.h5", **({"nu": 1.0} | options))
    with pytest.raises(DataError, match=rf"a\.h5 and .*b\.h5 do not go into one file: {message}"):
        import_fields([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "out.h5", boundary="wall")


def test_flows_that_do_not_go_together(tmp_path):
    write_flow(tmp_path / "a.h5", times=[0, 1, 2])
    write_flow(tmp_path / "b.h5", times=[0, 1, 3])
    with pytest.raises(DataError, match="do not go into one file: other times"):
        import_fields([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "out.h5")
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file["dimensions/time"][2] = 2
        file["t0_fields/wall"][0] = 7
    with pytest.raises(DataError, match="other values of what all samples share"):
        import_fields([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "out.h5")


def test_what_is_refused(tmp_path, flow):
    plain, out = tmp_path / "plain.h5", tmp_path / "out.h5"
    write_plain(plain)
    for arguments, options, message in (
        ((plain, out), {}, r"plain\.h5: does not say what holds at its boundaries; give --boundary periodic"),
        ((plain, out), {"boundary": "closed"}, "boundary: expected periodic, wall, open, got 'closed'"),
        ((plain, out), {"boundary": "periodic", "points": "ends"}, "points: expected 'left' or 'centres'"),
        ((plain, out), {"boundary": "wall", "points": "corners"}, "points: expected ends, left, centres"),
        ((flow[0], out), {"boundary": "wall"}, r"flow\.h5: says itself what holds at its boundaries"),
        ((flow[0], out), {"times": 0.1}, r"flow\.h5: says itself what its grid and its times are"),
        ((plain, tmp_path / "out.txt"), {}, r"the output comes last and its name ends in \.h5"),
        ((plain, plain), {}, "is an input and the output at once"),
        (([], out), {}, "nothing to import"),
    ):
        with pytest.raises(ConfigError, match=message):
            import_fields(*arguments, **options)
    for name, message in (
        ("none.h5", "no such file"),
        ("text.h5", "not an HDF5 file; fields are read from HDF5"),
    ):
        (tmp_path / "text.h5").write_text("x")
        with pytest.raises(DataError, match=message):
            import_fields(tmp_path / name, out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x": np.zeros((3, 4)), "y": np.zeros((3, 5))},
            r"of one shape, got x \[3, 4\], y \[3, 5\]; write it with",
        ),
        ({}, "got no arrays"),
        ({"x": np.zeros(3)}, r"arrays \[n_samples, \*grid\] on one to three axes, got x \[3\]"),
        ({"x": np.zeros((2, 2, 2, 2, 2))}, "on one to three axes"),
        ({"x": np.array([b"a", b"b"])}, r"real numbers, got x of dtype \|S1; leave it out"),
        ({"x": np.zeros((2, 3), complex)}, "real numbers, got x of dtype complex128; .* as two arrays"),
        (
            {"x": np.full((2, 3), np.inf)},
            "sample 0 cannot be imported: .*field 'x' has 3 values that are not finite",
        ),
    ],
)
def test_arrays_that_are_no_fields(tmp_path, arrays, message):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    with pytest.raises(DataError, match=rf"a\.h5: .*{message}|a\.h5: {message}"):
        import_fields(tmp_path / "a.h5", tmp_path / "out.h5", boundary="wall")
    assert not (tmp_path / "out.h5").exists()


def test_only_the_same_import_is_replaced(tmp_path, flow):
    write_plain(tmp_path / "plain.h5")
    out = tmp_path / "out.h5"
    for _ in range(2):
        import_fields(tmp_path / "plain.h5", out, boundary="wall")
    with pytest.raises(ConfigError, match=r"out\.h5 exists and was not imported from flow\.h5"):
        import_fields(flow[0], out)
    import_fields(flow[0], out, overwrite=True)
    assert read_layout(out).name == "flow"


def test_a_file_that_says_nothing_of_its_boundaries(tmp_path, flow):
    path, out = flow[0], tmp_path / "out.h5"
    with pytest.raises(ConfigError, match=r"says itself .* boundaries \(periodic, wall\), which is not wall"):
        import_fields(path, out, boundary="wall")
    with h5py.File(path, "r+") as file:
        for name in list(file["boundary_conditions"]):
            del file["boundary_conditions"][name]
    for use in (
        lambda: FieldDataset(path, inputs=["vorticity"], targets=["vorticity"]),
        lambda: summary(path),
    ):
        with pytest.raises(DataError, match=r"flow\.h5: says nothing of .* --boundary periodic`"):
            use()
    import_fields(path, out, boundary="wall")
    assert [axis.upper for axis in read_layout(out).grid.axes] == ["wall", "wall"]
    import_fields(out, tmp_path / "again.h5", boundary="wall")  # what it says itself is no other


def test_what_a_file_is(tmp_path, flow):
    write_plain(tmp_path / "plain.h5")
    write_structures(tmp_path / "atoms.h5", [make_structure()])
    (tmp_path / "text.h5").write_text("x")
    found = {
        n: (is_field_file(tmp_path / n), is_importable(tmp_path / n))
        for n in ("plain.h5", "atoms.h5", "text.h5")
    }
    assert found == {"plain.h5": (False, True), "atoms.h5": (False, False), "text.h5": (False, True)}
    assert is_field_file(flow[0]) and is_importable(flow[0]) and not is_importable(tmp_path / "none.h5")


def test_the_summary_tells_what_a_file_holds(tmp_path, flow):
    text = summary(flow[0])
    for line in (
        "flow, 3 trajectories, made 20",
        "grid: cartesian, 8 x 5 points",
        "  x: from 0 to 1.75, spacing 0.25, periodic",
        "  y: from -1 to 0, spacing 0.25, wall",
        "  time: 7 from 0 to 1.5",
        "  viscosity: 0.001",
        "varies with sample, time",
    ):
        assert line in text
    values = np.array([sample["velocity"][..., 1] for sample in flow[1]])
    (row,) = [line.split() for line in text.splitlines() if "velocity_y" in line]
    assert row[1:] == [f"{values.mean():.4g}", f"{values.std():.4g}"]
    (row,) = [line for line in text.splitlines() if "velocity_x" in line]
    assert "sample, time  3 x 7 x 8 x 5 x 2" in row
    write_well(tmp_path / "well.h5")
    assert "no statistics of some fields: `sciten data import well.h5 OUT.h5` writes them" in summary(
        tmp_path / "well.h5"
    )
    assert "no statistics" not in text


def test_public_darcy_data(tmp_path, reference_data):
    source = reference_data / "darcy" / "darcy_train_16.h5"
    import_fields(source, tmp_path / "out.h5", boundary="wall", points="left")
    dataset = FieldDataset(tmp_path / "out.h5", inputs=["x"], targets=["y"])
    with h5py.File(source, locking=False) as file:
        x, y = file["x"][:], file["y"][:]
    assert len(dataset) == len(x) == 1000 and dataset.grid.shape == (16, 16)
    for i in (0, 1, 517, 999):
        np.testing.assert_array_equal(dataset[i].inputs[0], x[i])
        np.testing.assert_array_equal(dataset[i].targets[0, 0], y[i])
    assert dataset.statistics.targets.std.item() == pytest.approx(y.astype(float).std())
