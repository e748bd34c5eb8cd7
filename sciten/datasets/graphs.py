"""From structures to graphs: neighbour lists, and batches of them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sciten.datasets.batch import AtomsBatch
from sciten.datasets.structure import Structure
from sciten.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ase import Atoms


_MOST_BOXES = 4e4  # vesin 0.6 is known to fail from about 1e5


def neighbor_list(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All directed pairs of atoms closer than `cutoff`, periodic images included.

    The vector of an edge is `positions[receivers] - positions[senders] + shifts @ cell`, from sender to
    receiver. Edges are sorted by receiver, then sender, then shift, so that equal input gives equal order.

    Args:
        positions: `[n_atoms, 3]`, Å; atoms may lie outside the cell.
        cell: `[3, 3]`, rows are lattice vectors, Å; rows of non-periodic axes may be zero.
        pbc: `[3]`, bool.
        cutoff: Å.

    Returns:
        senders and receivers, `[n_edges]`, int64; shifts, `[n_edges, 3]`, int64.

    Raises:
        ConfigError: the cutoff is not a positive number.
        DataError: a position is not finite, two atoms stand at the same place, a periodic axis has no lattice
            vector, or the lattice vectors are linearly dependent.
    """
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise ConfigError(f"neighbor_list: expected a positive cutoff in Å, got {cutoff}")
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    pbc = np.asarray(pbc, dtype=bool)
    if not np.isfinite(positions).all():
        atom = int(np.argwhere(~np.isfinite(positions))[0, 0])
        raise DataError(f"the position of atom {atom} is {positions[atom].tolist()}, expected finite numbers")
    check_cell(cell, pbc)
    if len(positions) == 0 or (len(positions) == 1 and not pbc.any()):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3), np.int64)
    import vesin

    cell = np.asarray(cell, dtype=np.float64)
    # Older vesin knows one flag for all axes only; give it that wherever it is enough.
    periodic = bool(pbc[0]) if pbc.all() or not pbc.any() else pbc.tolist()
    radius = _search_radius(positions, cell, pbc, cutoff)
    search = vesin.NeighborList(cutoff=radius, full_list=True)
    first, second, shifts, distances = search.compute(positions, cell, periodic, "ijSd")
    senders, receivers, shifts = first.astype(np.int64), second.astype(np.int64), shifts.astype(np.int64)
    if len(distances) and not distances.min() > 0:
        i, j = (int(atoms[distances.argmin()]) for atoms in (senders, receivers))
        raise DataError(f"atoms {i} and {j} are 0 Å apart, expected different places; check units and cell")
    if radius > cutoff:
        near = distances < cutoff
        senders, receivers, shifts = senders[near], receivers[near], shifts[near]
    order = _order(receivers, senders, *shifts.T)
    return senders[order], receivers[order], shifts[order]


def _search_radius(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> float:
    """The cutoff, or more where boxes as small as it would be too many.

    vesin caps the number of boxes by dividing that of every axis by the same factor. In a wide and flat
    system no box is left of the flat axis, and vesin 0.6 then ends the process by a division by zero.
    """
    from ase.geometry import complete_cell

    # Widths along the normals of the cell's faces: of the cell where periodic, of the atoms elsewhere.
    normals = np.linalg.inv(complete_cell(cell) if pbc.any() else np.eye(3))
    heights = 1 / np.linalg.norm(normals, axis=0)
    widths = np.where(pbc, heights, np.ptp(positions @ normals, axis=0) * heights)
    radius = float(cutoff)
    while np.prod(np.maximum(widths / radius, 1.0)) > _MOST_BOXES:
        radius *= 1.25
    return radius


def _order(*keys: np.ndarray) -> np.ndarray:
    if len(keys[0]) == 0:
        return np.zeros(0, dtype=np.int64)
    lows = [int(key.min()) for key in keys]
    sizes = [int(key.max()) - low + 1 for key, low in zip(keys, lows, strict=True)]
    if math.prod(sizes) >= 2**63:
        return np.lexsort(keys[::-1])
    # Packed into one integer they sort several times faster.
    packed = np.zeros(len(keys[0]), dtype=np.int64)
    for key, low, size in zip(keys, lows, sizes, strict=True):
        packed = packed * size + (key - low)
    return np.argsort(packed)


def check_cell(cell: np.ndarray, pbc: np.ndarray) -> None:
    """Raise `DataError` unless the periodic axes have linearly independent lattice vectors."""
    if not np.any(pbc):
        return
    vectors = np.asarray(cell, dtype=np.float64)[np.asarray(pbc, dtype=bool)]
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(lengths).all() or (lengths < 1e-6).any():
        raise DataError(
            f"a periodic frame (pbc {np.asarray(pbc).tolist()}) without a cell along a periodic axis: "
            "set the lattice vectors or switch periodicity off"
        )
    if np.linalg.svd(vectors / lengths[:, None], compute_uv=False)[-1] < 1e-6:
        raise DataError(
            f"the cell {np.asarray(cell).tolist()} is singular: its lattice vectors are linearly dependent"
        )


def batch_from_ase(structures: "Sequence[Atoms]", cutoff: float) -> AtomsBatch:
    """A batch of ASE structures with neighbour lists and no labels.

    Raises:
        DataError: a structure is empty, or its info has a charge or spin that is no finite number.
    """
    frames = [
        Structure(
            positions=np.asarray(atoms.positions, dtype=np.float64),
            numbers=np.asarray(atoms.numbers, dtype=np.int64),
            cell=atoms.cell.array,
            pbc=np.asarray(atoms.pbc, dtype=bool),
            config_type=str(atoms.info.get("config_type", "default")),
            charge=_number(atoms.info, "charge"),
            spin=_number(atoms.info, "spin"),
        )
        for atoms in structures
    ]
    return _graphs(frames, cutoff)


def _number(info: Mapping[str, Any], name: str) -> float | None:
    value = info.get(name)
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(
            f"expected the {name} of a structure to be a finite number, got {value!r}; or leave it out"
        )
    return number


def batch_from_structures(structures: Sequence[Structure], cutoff: float) -> AtomsBatch:
    """A batch with neighbour lists, labels and masks; a missing label is zero and masked.

    Args:
        structures: at least one, none of them empty.
        cutoff: Å.

    Raises:
        DataError: no structure, a structure without atoms, or a periodic one without a cell.
    """
    batch = _graphs(structures, cutoff)
    counts = [len(frame) for frame in structures]
    forces = [np.zeros((len(frame), 3)) if frame.forces is None else frame.forces for frame in structures]
    stress = [np.zeros(6) if frame.stress is None else frame.stress for frame in structures]
    labels: dict[str, Any] = {
        "energy": _float64([0.0 if frame.energy is None else frame.energy for frame in structures]),
        "energy_mask": torch.tensor([frame.energy is not None for frame in structures]),
        "forces": _float64(np.concatenate(forces)),
        "forces_mask": torch.tensor([frame.forces is not None for frame in structures]).repeat_interleave(
            torch.tensor(counts)
        ),
        "stress": _float64(np.stack(stress)),
        "stress_mask": torch.tensor([frame.stress is not None for frame in structures]),
    }
    return dataclasses.replace(batch, **labels)


def collate(batches: Sequence[AtomsBatch]) -> AtomsBatch:
    """One batch of several prepared ones: indices are offset, no neighbour is searched.

    A label that only some of them carry is masked in the others; a charge or spin that only some carry is
    NaN in the others.
    """
    if not batches:
        raise DataError("collate: expected at least one batch, got none")
    if len(batches) == 1:
        return batches[0]
    atoms = np.cumsum([0] + [batch.n_atoms for batch in batches])
    frames = np.cumsum([0] + [batch.n_frames for batch in batches])

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(batch, name) for batch in batches])

    def offset(name: str, offsets: np.ndarray) -> Tensor:
        return torch.cat([getattr(b, name) + int(by) for b, by in zip(batches, offsets[:-1], strict=True)])

    return AtomsBatch(
        positions=joined("positions"),
        numbers=joined("numbers"),
        frame=offset("frame", frames),
        cell=joined("cell"),
        pbc=joined("pbc"),
        senders=offset("senders", atoms),
        receivers=offset("receivers", atoms),
        shifts=joined("shifts"),
        config_types=tuple(name for batch in batches for name in batch.config_types),
        energy=_joined_optional(batches, "energy", per_atom=False, missing=0.0),
        energy_mask=_joined_mask(batches, "energy", per_atom=False),
        forces=_joined_optional(batches, "forces", per_atom=True, missing=0.0),
        forces_mask=_joined_mask(batches, "forces", per_atom=True),
        stress=_joined_optional(batches, "stress", per_atom=False, missing=0.0),
        stress_mask=_joined_mask(batches, "stress", per_atom=False),
        charge=_joined_optional(batches, "charge", per_atom=False, missing=float("nan")),
        spin=_joined_optional(batches, "spin", per_atom=False, missing=float("nan")),
    )


def _joined_optional(
    batches: Sequence[AtomsBatch], name: str, *, per_atom: bool, missing: float
) -> Tensor | None:
    values = [getattr(batch, name) for batch in batches]
    present = next((value for value in values if value is not None), None)
    if present is None:
        return None
    filled = [
        present.new_full((batch.n_atoms if per_atom else batch.n_frames, *present.shape[1:]), missing)
        if value is None
        else value
        for batch, value in zip(batches, values, strict=True)
    ]
    return torch.cat(filled)


def _joined_mask(batches: Sequence[AtomsBatch], label: str, *, per_atom: bool) -> Tensor | None:
    if all(getattr(batch, label) is None for batch in batches):
        return None
    masks = []
    for batch in batches:
        mask = getattr(batch, f"{label}_mask")
        if mask is None:  # no mask beside a label: all of it is meant
            rows = batch.n_atoms if per_atom else batch.n_frames
            known = getattr(batch, label) is not None
            mask = torch.full((rows,), known, dtype=torch.bool, device=batch.positions.device)
        masks.append(mask)
    return torch.cat(masks)


def _graphs(structures: Sequence[Structure], cutoff: float) -> AtomsBatch:
    if not structures:
        raise DataError("expected at least one structure, got none")
    for i, frame in enumerate(structures):
        if len(frame) == 0:
            raise DataError(f"structure {i} of {len(structures)} has no atoms; leave it out")
    lists = [_edges(frame, i, cutoff) for i, frame in enumerate(structures)]
    counts = np.array([len(frame) for frame in structures])
    offsets = np.cumsum(counts) - counts
    # The cell of a molecule means nothing; a zero one lets a model refuse to give its stress.
    cells = [frame.cell if np.any(frame.pbc) else np.zeros((3, 3)) for frame in structures]
    return AtomsBatch(
        positions=_float64(np.concatenate([frame.positions for frame in structures])),
        numbers=torch.from_numpy(np.concatenate([frame.numbers for frame in structures]).astype(np.int64)),
        frame=torch.from_numpy(np.repeat(np.arange(len(structures)), counts)),
        cell=_float64(np.stack(cells)),
        pbc=torch.from_numpy(np.stack([frame.pbc for frame in structures])),
        senders=torch.from_numpy(np.concatenate([e[0] + k for e, k in zip(lists, offsets, strict=True)])),
        receivers=torch.from_numpy(np.concatenate([e[1] + k for e, k in zip(lists, offsets, strict=True)])),
        shifts=_float64(np.concatenate([e[2] for e in lists])),
        config_types=tuple(frame.config_type for frame in structures),
        charge=optional_column([frame.charge for frame in structures]),
        spin=optional_column([frame.spin for frame in structures]),
    )


def _edges(frame: Structure, index: int, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    try:
        return neighbor_list(frame.positions, frame.cell, frame.pbc, cutoff)
    except DataError as error:
        raise DataError(f"structure {index}: {error}") from error


def _float64(values: np.ndarray | list[float]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))


def optional_column(values: Sequence[float | None]) -> Tensor | None:
    """Numbers that some frames may lack (there they are NaN), `[n_frames]`; None where all of them do."""
    if all(value is None for value in values):
        return None
    return torch.tensor(
        [float("nan") if value is None else float(value) for value in values], dtype=torch.float64
    )
