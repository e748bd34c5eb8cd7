"""Files of fields that other programs write and sciten does not read, told apart, each with the way to HDF5.

Files of torch and of MATLAB need these programs' own readers, and their axes come in many orders: who made the file
knows which is which.
"""

from pathlib import Path
from textwrap import indent

from sciten.datasets import hdf5
from sciten.errors import DataError

_ORDER = (
    "write its arrays to HDF5, samples first, then time where there is one, then the grid, and import that"
)

_TORCH = """\
import h5py, torch
data = torch.load({path!r}, weights_only=True)
with h5py.File({output!r}, "w") as file:
    for name, values in data.items():
        file[name] = values.numpy()"""

_MATLAB = """\
import h5py, scipy.io
data = scipy.io.loadmat({path!r})
with h5py.File({output!r}, "w") as file:
    for name, values in data.items():
        if not name.startswith("__"):
            file[name] = values"""

_MATLAB_HDF5 = """\
import h5py
with h5py.File({path!r}) as data, h5py.File({output!r}, "w") as file:
    for name, values in data.items():
        if "MATLAB_class" in values.attrs:
            file[name] = values[()].transpose()  # MATLAB stores the last axis first"""

TORCH_SUFFIXES = (".pt", ".pth")
SUFFIXES = (*TORCH_SUFFIXES, ".mat")


def refuse(path: Path) -> None:
    """Raise `DataError` for a file of torch or MATLAB, with the lines of Python that make an HDF5 file of it."""
    if path.suffix.lower() in TORCH_SUFFIXES:
        _refuse(path, "a file of torch", _TORCH)
    if _is_matlab_hdf5(path):
        _refuse(path, "a file of MATLAB (v7.3), whose axes stand in HDF5 in reverse", _MATLAB_HDF5)
    if path.suffix.lower() == ".mat":
        _refuse(path, "a file of MATLAB", _MATLAB)


def _refuse(path: Path, what: str, code: str) -> None:
    lines = code.format(
        path=str(path), output=str(path.with_suffix(".h5" if path.suffix != ".h5" else ".hdf5"))
    )
    raise DataError(f"{path}: {what}; {_ORDER}:\n\n{indent(lines, '    ')}\n")


def _is_matlab_hdf5(path: Path) -> bool:
    try:
        with hdf5.open_readonly(path) as file:
            return any("MATLAB_class" in item.attrs for item in file.values())
    except (DataError, OSError, RuntimeError, KeyError):  # no HDF5, or damaged: said where it is read
        return False
