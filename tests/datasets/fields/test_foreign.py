"""Files of torch and MATLAB are refused, with lines of Python that do what they promise."""

import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from sciten.datasets import import_fields
from sciten.datasets.fields import is_importable
from sciten.datasets.fields.layout import read_layout
from sciten.errors import DataError

COEFFICIENT = np.random.default_rng(0).integers(0, 2, (3, 6, 5)).astype(bool)
SOLUTION = np.random.default_rng(1).normal(size=(3, 6, 5))


def write_torch(path: Path) -> None:
    torch.save({"x": torch.from_numpy(COEFFICIENT), "y": torch.from_numpy(SOLUTION)}, path)


def write_matlab(path: Path) -> None:
    scipy.io.savemat(path, {"x": COEFFICIENT, "y": SOLUTION})


def write_matlab_hdf5(path: Path) -> None:
    """As MATLAB's `save -v7.3` does: a block of its own, the last axis first, logical values as bytes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, kind, values in (
            ("x", b"logical", COEFFICIENT.astype(np.uint8)),
            ("y", b"double", SOLUTION),
        ):
            file[name] = values.transpose()
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
        file.create_group("#refs#")


@pytest.mark.parametrize(
    ("name", "write", "what"),
    [
        ("darcy.pt", write_torch, "a file of torch"),
        ("darcy.pth", write_torch, "a file of torch"),
        ("darcy.mat", write_matlab, "a file of MATLAB;"),
        ("darcy.mat", write_matlab_hdf5, r"a file of MATLAB \(v7\.3\), whose axes stand in HDF5 in reverse"),
        ("darcy.h5", write_matlab_hdf5, r"a file of MATLAB \(v7\.3\)"),
    ],
)
def test_they_are_refused_with_code_that_makes_hdf5_of_them(
    tmp_path: Path, name: str, write: object, what: str
) -> None:
    source = tmp_path / name
    write(source)  # type: ignore[operator]
    assert is_importable(source)
    with pytest.raises(DataError, match=rf"{name}: {what}.* samples first, then time") as refused:
        import_fields(source, tmp_path / "out.h5", boundary="wall")
    exec(textwrap.dedent(str(refused.value).split("\n\n", 1)[1]), {})
    (made,) = {*tmp_path.iterdir()} - {source}
    import_fields(made, tmp_path / "out.h5", boundary="wall")
    assert read_layout(tmp_path / "out.h5").grid.shape == (6, 5)
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["t0_fields/x"], COEFFICIENT)
        np.testing.assert_array_equal(file["t0_fields/y"], SOLUTION.astype(np.float32))
