"""Structures named on the command line."""

from pathlib import Path
from typing import TYPE_CHECKING

from sciten.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms


def read_structure(path: Path) -> "Atoms":
    """The last frame of a file in any format that ASE reads.

    Raises `DataError` where the file is missing, cannot be read, or holds no atoms.
    """
    from ase import Atoms
    from ase.io import read

    if not path.exists():
        raise DataError(f"{path}: no such file")
    try:
        atoms = read(path)
    except Exception as error:  # every format of ASE has errors of its own
        raise DataError(
            f"{path}: expected a structure in a format that ASE reads, got {type(error).__name__}: {error}"
        ) from error
    if not isinstance(atoms, Atoms) or len(atoms) == 0:
        raise DataError(f"{path}: expected a structure, got a file without atoms")
    return atoms
