"""Plain arrays with an axis of time, and in the formats of numpy."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sciten.datasets import FieldDataset, import_fields
from sciten.datasets.fields import is_importable
from sciten.datasets.fields.layout import read_layout
from sciten.errors import ConfigError, DataError

SHAPES = pytest.mark.parametrize("grid", [(7,), (6, 5), (4, 3, 2)])


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def write(path: Path, **arrays: Any) -> Path:
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.update(arrays)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    else:
        (array,) = arrays.values()
        np.save(path, array)
    return path


@SHAPES
@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_the_second_axis_is_time_where_times_are_given(
    tmp_path: Path, grid: tuple[int, ...], suffix: str
) -> None:
    w, a = numbers(3, 4, *grid), numbers(3, *grid, seed=1)
    source = write(tmp_path / f"flow{suffix}", w=w, a=a, nu=np.float64(0.25))
    read = import_fields(source, tmp_path / "out.h5", boundary="periodic", times=0.5)
    axes = ", ".join(f"{name} {n}" for name, n in zip("xyz", grid, strict=False))
    assert f"w [time 4, {axes}]" in read and f"a [{axes}]" in read and "where x is time" not in read
    layout = read_layout(tmp_path / "out.h5")
    np.testing.assert_array_equal(layout.times, [0.0, 0.5, 1.0, 1.5])
    assert layout.grid.shape == grid and layout.parameters == {"nu": 0.25}
    dataset = FieldDataset(tmp_path / "out.h5", inputs=["w", "a"], targets=["w"])
    assert len(dataset) == 3 * 3 and dataset.time_step == 0.5
    np.testing.assert_array_equal(dataset[4].inputs, np.stack([w[1, 1], a[1]]))
    np.testing.assert_array_equal(dataset[4].targets[0, 0], w[1, 2])


def test_times_may_be_given_one_by_one(tmp_path: Path) -> None:
    source = write(tmp_path / "flow.h5", w=numbers(2, 3, 8))
    import_fields(source, tmp_path / "out.h5", boundary="wall", times=[0.0, 0.1, 0.4])
    np.testing.assert_array_equal(read_layout(tmp_path / "out.h5").times, [0.0, 0.1, 0.4])
    for times, kind, words in (
        ([0.0, 0.1], DataError, r"flow\.h5: expected 3 times, .* got 2"),
        ([0.0, 0.2, 0.1], ConfigError, "ascending times"),
        (0.0, ConfigError, "expected a positive time step, got 0"),
        (float("nan"), ConfigError, "expected a positive time step, got nan"),
    ):
        with pytest.raises(kind, match=words):
            import_fields(source, tmp_path / "new.h5", boundary="wall", times=times)
    assert not (tmp_path / "new.h5").exists()


def test_without_times_all_axes_are_of_the_grid_and_it_says_so(tmp_path: Path) -> None:
    for shape, words in (
        ((2, 10, 6, 5), "w [x 10, y 6, z 5] (where x is time, give --time-step"),
        ((2, 10, 6), "w [x 10, y 6] (where x is time, give --time-step"),
        ((2, 10), "w [x 10]"),
    ):
        source = write(tmp_path / "flow.h5", w=numbers(*shape))
        read = import_fields(source, tmp_path / "out.h5", boundary="wall")
        assert read.removeprefix("of each sample: ").startswith(words)
        assert read_layout(tmp_path / "out.h5").grid.shape == shape[1:]
    assert "where" not in read


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"w": numbers(2, 3, 8), "a": numbers(2, 7)}, r"\[n_samples, n_times, \*grid\] on one grid"),
        ({"w": numbers(2, 3, 8), "a": numbers(3, 8)}, "those that are static without times"),
        ({"w": numbers(2, 3)}, "on one to three axes"),
        ({"w": numbers(2)}, "on one to three axes"),
        ({"w": numbers(2, 2, 2, 2, 2, 2)}, "on one to three axes"),
        ({"nu": np.float64(1.0)}, "got no arrays"),
    ],
)
def test_shapes_that_do_not_go_together(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    source = write(tmp_path / "flow.h5", **arrays)
    with pytest.raises(DataError, match=rf"flow\.h5: .*{words}"):
        import_fields(source, tmp_path / "out.h5", boundary="wall", times=0.1)


def test_times_are_recommended_where_they_would_help(tmp_path: Path) -> None:
    for arrays in (
        {"w": numbers(2, 3, 4, 4, 4)},
        {"w": numbers(2, 3, 8), "a": numbers(2, 8)},
    ):
        source = write(tmp_path / "flow.h5", **arrays)
        with pytest.raises(DataError, match=r"or give --time-step .* where the second axis is time"):
            import_fields(source, tmp_path / "out.h5", boundary="wall")
        import_fields(source, tmp_path / "out.h5", boundary="wall", times=0.1)


def test_an_array_in_a_file_of_its_own_has_the_name_of_the_file(tmp_path: Path) -> None:
    u = numbers(3, 9)
    import_fields(write(tmp_path / "u.npy", u=u), tmp_path / "out.h5", boundary="wall")
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["t0_fields/u"], u)
    # Two of them are fields, not samples: they must not stand one after the other.
    write(tmp_path / "v.npy", v=u)
    with pytest.raises(DataError, match="fields u against v"):
        import_fields([tmp_path / "u.npy", tmp_path / "v.npy"], tmp_path / "new.h5", boundary="wall")


def test_files_that_are_no_arrays_of_numpy(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no arrays")
    np.savez(tmp_path / "objects.npz", a=np.array([None, {}], dtype=object))
    write(tmp_path / "whole.npz", a=numbers(4, 50))
    (tmp_path / "part.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:300])
    (tmp_path / "empty.npy").touch()
    for name in ("text.npz", "objects.npz", "part.npz", "empty.npy"):
        assert is_importable(tmp_path / name)
        with pytest.raises(DataError, match=rf"{name}: cannot be read as arrays of numbers .* numpy\.savez"):
            import_fields(tmp_path / name, tmp_path / "out.h5", boundary="wall")
    assert not is_importable(tmp_path / "none.npz")
