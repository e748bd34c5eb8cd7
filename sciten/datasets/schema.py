"""The layout of an atoms file in HDF5, and the check that a file has it.

Per frame: `atoms_ptr` `[n_frames + 1]`, `cell`, `pbc`, `energy`, `stress`, `charge`, `spin`, `config_type`
(an index into `config_type_names`) and the masks `energy_mask`, `forces_mask`, `stress_mask`. Per atom,
frames end to end, frame `i` in rows `atoms_ptr[i]:atoms_ptr[i + 1]`: `positions`, `numbers`, `forces`.
Further arrays stand in the groups `frame` and `atom`, and `frame_present` and `atom_present` say which frames
have them. A missing label is NaN on disk and False in its mask.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from sciten.errors import DataError

SCHEMA = "sciten-atoms"
SCHEMA_VERSION = 1
LABELS = ("energy", "forces", "stress")


@dataclass(frozen=True)
class Field:
    """One dataset of the layout: dtype, shape of one row, unit, and whether its rows are atoms or frames."""

    dtype: str
    shape: tuple[int, ...] = ()
    unit: str = ""
    per_atom: bool = False


FIELDS = {
    "positions": Field("f8", (3,), "Å", per_atom=True),
    "numbers": Field("u1", (), "", per_atom=True),
    "forces": Field("f8", (3,), "eV/Å", per_atom=True),
    "cell": Field("f8", (3, 3), "Å"),
    "pbc": Field("?", (3,)),
    "energy": Field("f8", (), "eV"),
    "stress": Field("f8", (6,), "eV/Å³, tension positive, Voigt xx yy zz yz xz xy"),
    "charge": Field("f8", (), "e"),
    "spin": Field("f8", (), "multiplicity"),
    "config_type": Field("i4"),
    "energy_mask": Field("?"),
    "forces_mask": Field("?"),
    "stress_mask": Field("?"),
}


def check(path: Path, file: h5py.File) -> np.ndarray:
    """Frame pointers `[n_frames + 1]` of an atoms file; raises `DataError` for another layout."""
    schema = file.attrs.get("schema")
    if schema != SCHEMA:
        raise DataError(
            f"{path}: an HDF5 file, but not an atoms file of sciten (schema {schema!r}, expected "
            f"{SCHEMA!r}); make one with `sciten data import`"
        )
    version = int(file.attrs.get("schema_version", 0))
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{path}: atoms file of schema version {version}, this sciten reads version {SCHEMA_VERSION}; "
            "import the original data again or install a matching sciten"
        )
    pointers = _read_pointers(path, file)
    n_frames, n_atoms = len(pointers) - 1, int(pointers[-1])
    for name, entry in FIELDS.items():
        expected = (n_atoms if entry.per_atom else n_frames, *entry.shape)
        found = file[name].shape if isinstance(file.get(name), h5py.Dataset) else None
        if found != expected:
            raise DataError(
                f"{path}: damaged atoms file: expected {name!r} of shape {expected}, found {found}"
            )
    return pointers


def _read_pointers(path: Path, file: h5py.File) -> np.ndarray:
    stored = file.get("atoms_ptr")
    if not isinstance(stored, h5py.Dataset) or stored.ndim != 1 or len(stored) < 2:
        raise DataError(f"{path}: damaged atoms file: 'atoms_ptr' is missing or names no frame")
    pointers: np.ndarray = stored[:].astype(np.int64)
    if pointers[0] != 0 or (np.diff(pointers) <= 0).any():
        raise DataError(f"{path}: damaged atoms file: 'atoms_ptr' does not ascend from zero")
    return pointers


def escape(name: str) -> str:
    """An arbitrary key as the name of an HDF5 dataset (a slash would nest, a dot is the group itself)."""
    escaped = name.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    return "%2E" if escaped == "." else escaped


def unescape(name: str) -> str:
    """The inverse of `escape`."""
    if name == "%2E":
        return "."
    return name.replace("%00", "\0").replace("%2F", "/").replace("%25", "%")
