"""What every structure must satisfy before it is written."""

import numpy as np

from sciten.datasets.graphs import check_cell, neighbor_list
from sciten.datasets.structure import Structure
from sciten.errors import DataError

CLOSEST = 0.1  # Å; nothing physical comes nearer, a wrong unit or a doubled atom does
_SEARCH_RADIUS = 1.0  # Å; a smaller one makes the cell list of the neighbour search needlessly fine
_HEAVIEST = 118


def check_structure(structure: Structure, where: str) -> None:
    """Raise `DataError`, one sentence that begins with `where`, if the structure cannot be used."""
    try:
        _check_atoms(structure)
        _check_labels(structure)
        _check_isolated(structure)
        _check_distances(structure)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _check_atoms(structure: Structure) -> None:
    n = len(structure.numbers)
    if n == 0:
        raise DataError("the frame has no atoms; remove it")
    if structure.positions.shape != (n, 3):
        raise DataError(f"positions: expected shape [{n}, 3], got {list(structure.positions.shape)}")
    _check_finite(structure.positions, "positions")
    wrong = (structure.numbers < 1) | (structure.numbers > _HEAVIEST)
    if wrong.any():
        atom = int(np.argmax(wrong))
        raise DataError(
            f"atom {atom} has the atomic number {structure.numbers[atom]}, expected 1 to {_HEAVIEST}"
        )
    if structure.cell.shape != (3, 3) or structure.pbc.shape != (3,):
        raise DataError(
            f"expected a 3x3 cell and 3 pbc flags, got {structure.cell.shape} and {structure.pbc.shape}"
        )
    _check_finite(structure.cell, "cell")
    check_cell(structure.cell, structure.pbc)


def _check_labels(structure: Structure) -> None:
    n = len(structure)
    for name, shape in (("energy", ()), ("forces", (n, 3)), ("stress", (6,))):
        value = getattr(structure, name)
        if value is None:
            continue
        if np.shape(value) != shape:
            raise DataError(f"{name}: expected shape {list(shape)}, got {list(np.shape(value))}")
        _check_finite(np.asarray(value), name)


def _check_finite(values: np.ndarray, name: str) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        where = np.argwhere(~finite)[0] if values.ndim else np.zeros(0, int)
        entry = f" of atom {where[0]}" if values.ndim == 2 and name != "cell" else ""
        raise DataError(
            f"{name}{entry} is {values[tuple(where)]}, expected finite numbers; correct it or leave it out"
        )


def _check_isolated(structure: Structure) -> None:
    if structure.is_isolated_atom and len(structure) != 1:
        raise DataError(
            f"the frame is named {structure.config_type!r}, but has {len(structure)} atoms instead of one"
        )


def _check_distances(structure: Structure) -> None:
    positions, cell = structure.positions, structure.cell
    senders, receivers, shifts = neighbor_list(positions, cell, structure.pbc, _SEARCH_RADIUS)
    if len(senders) == 0:
        return
    distances = np.linalg.norm(positions[receivers] - positions[senders] + shifts @ cell, axis=1)
    nearest = int(distances.argmin())
    if distances[nearest] < CLOSEST:
        i, j = int(senders[nearest]), int(receivers[nearest])
        pair = f"atoms {i} and {j} are" if i != j else f"atom {i} and its own image are"
        raise DataError(
            f"{pair} {distances[nearest]:.3g} Å apart, expected at least {CLOSEST} Å; check units and cell"
        )
