import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.neighborlist import primitive_neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from sciten.datasets import Structure, batch_from_ase, batch_from_structures, collate, neighbor_list
from sciten.errors import ConfigError, DataError

CELLS = {
    "cubic": np.diag([4.0, 4.0, 4.0]),
    "smaller than the cutoff": np.diag([1.5, 1.7, 1.9]),
    "skewed": np.array([[2.0, 0.0, 0.0], [1.2, 1.8, 0.0], [0.9, 0.6, 1.5]]),
    "left-handed": np.array([[0.0, 3.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.5, 3.0]]),
}


def brute_force(positions, cell, pbc, cutoff, reach=8):
    """All (receiver, sender, shift) by looking at every image within `reach` cells."""
    ranges = [range(-reach, reach + 1) if periodic else range(1) for periodic in pbc]
    shifts = np.array(list(itertools.product(*ranges)))
    moved = positions[None] + (shifts @ cell)[:, None]
    distances = np.linalg.norm(moved[:, :, None] - positions[None, None], axis=-1)
    pairs = {(int(r), int(s), *map(int, shifts[k])) for k, r, s in np.argwhere(distances < cutoff)}
    assert max((max(map(abs, pair[2:])) for pair in pairs), default=0) < reach, "look at more images"
    return pairs - {(i, i, 0, 0, 0) for i in range(len(positions))}


def as_set(senders, receivers, shifts):
    return {(int(r), int(s), *map(int, n)) for s, r, n in zip(senders, receivers, shifts, strict=True)}


@pytest.mark.parametrize("pbc", list(itertools.product([True, False], repeat=3)))
@pytest.mark.parametrize("name", CELLS)
def test_neighbor_list_equals_brute_force(name, pbc):
    positions = np.random.default_rng(1).normal(size=(4, 3))
    found = neighbor_list(positions, CELLS[name], pbc, 2.5)
    assert as_set(*found) == brute_force(positions, CELLS[name], pbc, 2.5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n_atoms=st.integers(1, 12), cutoff=st.floats(0.5, 6.0))
def test_neighbor_list_equals_ase(seed, n_atoms, cutoff):
    generator = np.random.default_rng(seed)
    cell = 3 * np.eye(3) + generator.normal(scale=0.5, size=(3, 3))
    pbc = generator.random(3) < 0.6
    positions = generator.normal(scale=4.0, size=(n_atoms, 3))  # also outside the cell
    first, second, shifts = primitive_neighbor_list("ijS", pbc, cell, positions, cutoff)
    assert as_set(*neighbor_list(positions, cell, pbc, cutoff)) == as_set(first, second, shifts)


def test_vectors_point_from_sender_to_receiver():
    positions = np.array([[0.2, 0.0, 0.0], [3.8, 0.0, 0.0]])
    cell = np.diag([4.0, 9.0, 9.0])
    senders, receivers, shifts = neighbor_list(positions, cell, np.ones(3, bool), 1.0)
    assert receivers.tolist() == [0, 1] and senders.tolist() == [1, 0]
    vectors = positions[receivers] - positions[senders] + shifts @ cell
    np.testing.assert_allclose(vectors, [[0.4, 0, 0], [-0.4, 0, 0]], atol=1e-12)


def test_order_is_by_receiver_then_sender_then_shift():
    positions = np.random.default_rng(0).random((20, 3)) * 3
    senders, receivers, shifts = neighbor_list(positions, np.eye(3) * 3, np.ones(3, bool), 3.5)
    rows = np.column_stack([receivers, senders, shifts]).tolist()
    assert len(rows) > 1000
    assert rows == sorted(rows)


def test_order_survives_atoms_far_outside_the_cell():
    generator = np.random.default_rng(0)
    inside = generator.random((6, 3)) * 2
    away = inside + 2 * generator.integers(-(10**6), 10**6, size=(6, 3))
    senders, receivers, shifts = neighbor_list(away, np.eye(3) * 2, np.ones(3, bool), 1.5)
    rows = np.column_stack([receivers, senders, shifts]).tolist()
    assert rows == sorted(rows)
    near_senders, near_receivers, _ = neighbor_list(inside, np.eye(3) * 2, np.ones(3, bool), 1.5)
    assert receivers.tolist() == near_receivers.tolist() and senders.tolist() == near_senders.tolist()


def test_a_single_atom_has_only_its_images():
    origin = np.zeros((1, 3))
    assert len(neighbor_list(origin, np.zeros((3, 3)), np.zeros(3, bool), 5.0)[0]) == 0
    assert len(neighbor_list(np.zeros((0, 3)), np.eye(3), np.ones(3, bool), 5.0)[0]) == 0
    senders, receivers, shifts = neighbor_list(origin, np.eye(3) * 2, np.ones(3, bool), 2.1)
    assert senders.tolist() == receivers.tolist() == [0] * 6
    assert np.abs(shifts).sum(axis=1).tolist() == [1] * 6


def test_zero_vectors_along_non_periodic_axes():
    positions = np.random.default_rng(3).normal(size=(6, 3))
    slab = neighbor_list(positions, np.diag([3.0, 3.0, 0.0]), [True, True, False], 4.0)
    padded = neighbor_list(positions, np.diag([3.0, 3.0, 100.0]), [True, True, True], 4.0)
    assert as_set(*slab) == as_set(*padded)


@pytest.mark.parametrize(
    ("cell", "pbc", "message"),
    [
        (np.zeros((3, 3)), [True] * 3, "without a cell"),
        (np.diag([3.0, 3.0, 0.0]), [True, True, True], "without a cell"),
        ([[3, 0, 0], [6, 0, 0], [0, 0, 3]], [True] * 3, "singular"),
        ([[3, 0, 0], [6, 0, 0], [0, 0, 3]], [True, True, False], "singular"),
    ],
)
def test_a_useless_cell_is_refused(cell, pbc, message):
    with pytest.raises(DataError, match=message):
        neighbor_list(np.zeros((1, 3)), np.array(cell, float), np.array(pbc), 3.0)


def test_useless_positions_and_cutoffs_are_refused():
    with pytest.raises(DataError, match="atom 1"):
        neighbor_list(np.array([[0, 0, 0], [np.nan, 0, 0]]), np.eye(3), np.zeros(3, bool), 3.0)
    for cutoff in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ConfigError, match="cutoff"):
            neighbor_list(np.zeros((2, 3)), np.eye(3), np.zeros(3, bool), cutoff)


def frames():
    water = Structure(
        positions=np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]),
        numbers=np.array([8, 1, 1]),
        energy=-14.0,
        config_type="water",
        charge=1.0,
    )
    crystal = Structure(
        positions=np.array([[0, 0, 0], [1.36, 1.36, 1.36]]),
        numbers=np.array([14, 14]),
        cell=np.array([[0, 2.7, 2.7], [2.7, 0, 2.7], [2.7, 2.7, 0]]),
        pbc=np.ones(3, bool),
        forces=np.arange(6.0).reshape(2, 3),
        stress=np.arange(6.0),
        config_type="bulk",
    )
    lone = Structure(
        positions=np.zeros((1, 3)), numbers=np.array([6]), energy=-1.0, config_type="IsolatedAtom"
    )
    return [water, crystal, lone]


def test_batch_carries_labels_and_masks():
    batch = batch_from_structures(frames(), 3.0)
    assert batch.frame.tolist() == [0, 0, 0, 1, 1, 2]
    assert batch.numbers.tolist() == [8, 1, 1, 14, 14, 6]
    assert batch.energy.tolist() == [-14.0, 0.0, -1.0] and batch.energy_mask.tolist() == [True, False, True]
    assert batch.forces_mask.tolist() == [False] * 3 + [True] * 2 + [False]
    assert batch.forces[3:5].flatten().tolist() == list(range(6)) and not batch.forces[:3].any()
    assert batch.stress_mask.tolist() == [False, True, False] and batch.stress[1].tolist() == list(range(6))
    assert batch.config_types == ("water", "bulk", "IsolatedAtom")
    assert batch.charge[0] == 1.0 and batch.charge[1:].isnan().all() and batch.spin is None
    assert batch.positions.dtype == batch.shifts.dtype == batch.cell.dtype == torch.float64
    assert batch.pbc.tolist() == [[False] * 3, [True] * 3, [False] * 3]


def test_batch_edges_stay_within_frames_and_the_cutoff():
    batch = batch_from_structures(frames(), 3.0)
    assert torch.equal(batch.frame[batch.senders], batch.frame[batch.receivers])
    assert bool((batch.receivers[1:] >= batch.receivers[:-1]).all())
    lengths = batch.edge_vectors().norm(dim=1)
    assert float(lengths.max()) < 3.0 and float(lengths.min()) > 0.9
    # Diamond: four first neighbours at 2.36 Å for each atom; water: six directed pairs; a lone atom: none.
    assert torch.bincount(batch.frame[batch.receivers], minlength=3).tolist() == [6, 8, 0]


def test_collate_equals_a_batch_made_at_once():
    whole = batch_from_structures(frames(), 3.0)
    pieces = collate([batch_from_structures([frame], 3.0) for frame in frames()])
    assert pieces.config_types == whole.config_types
    for name in ("positions", "numbers", "frame", "cell", "pbc", "senders", "receivers", "shifts", "energy"):
        assert torch.equal(getattr(pieces, name), getattr(whole, name)), name
    for name in ("energy_mask", "forces", "forces_mask", "stress", "stress_mask"):
        assert torch.equal(getattr(pieces, name), getattr(whole, name)), name
    torch.testing.assert_close(pieces.charge, whole.charge, equal_nan=True)
    assert pieces.spin is None


def test_collate_masks_what_only_some_batches_carry():
    labelled, bare = batch_from_structures(frames()[:1], 3.0), batch_from_ase([frames()[1].to_ase()], 3.0)
    both = collate([bare, labelled])
    assert both.energy.tolist() == [0.0, -14.0] and both.energy_mask.tolist() == [False, True]
    assert both.forces.shape == (5, 3) and not both.forces_mask.any()
    assert collate([bare, bare]).energy is None
    with pytest.raises(DataError, match="at least one"):
        collate([])


def test_batch_from_ase_equals_batch_from_structures():
    structures = frames()
    batch = batch_from_ase([frame.to_ase() for frame in structures], 3.0)
    expected = batch_from_structures(structures, 3.0)
    for name in ("positions", "numbers", "frame", "cell", "pbc", "senders", "receivers", "shifts"):
        assert torch.equal(getattr(batch, name), getattr(expected, name)), name
    assert batch.config_types == expected.config_types
    assert batch.energy is None and batch.forces_mask is None


def test_the_cell_of_a_molecule_is_dropped():
    molecule = Atoms("H2", positions=[[0, 0, 0], [0.74, 0, 0]], cell=[20, 20, 20])
    assert batch_from_ase([molecule], 3.0).volume().tolist() == [0.0]


def test_empty_batches_and_frames_are_refused():
    with pytest.raises(DataError, match="at least one"):
        batch_from_ase([], 3.0)
    with pytest.raises(DataError, match="structure 1 of 2 has no atoms"):
        batch_from_ase([Atoms("H"), Atoms()], 3.0)
    with pytest.raises(DataError, match=r"structure 1: .*without a cell"):
        batch_from_ase([Atoms("H"), Atoms("H", pbc=True)], 3.0)


WIDE = """
import sys
import numpy as np
from scipy.spatial import cKDTree
from sciten.datasets import neighbor_list

width, flat, cutoff, axes = float(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
rng = np.random.default_rng(0)
positions = rng.random((60, 3)) * width * (np.arange(3) < axes)
positions = np.concatenate([positions, positions + [0.6 * cutoff, 0, 0]])  # so that there are neighbours
pbc = np.array([True, True, False]) if flat == "slab" else np.zeros(3, bool)
found = neighbor_list(positions, np.diag([4 * width, 4 * width, 20.0]), pbc, cutoff)
expected = cKDTree(positions).query_pairs(cutoff, output_type="ndarray")
pairs = {frozenset(map(int, pair)) for pair in zip(found[0], found[1])}
assert pairs == {frozenset(map(int, pair)) for pair in expected} and len(found[0]) == 2 * len(expected) > 0
"""


@pytest.mark.parametrize(
    ("width", "flat", "cutoff", "axes"),
    [(400, "slab", 1.0, 2), (400, "molecules", 1.0, 2), (1e6, "line", 5.0, 1)],
)
def test_wide_and_flat_systems(width, flat, cutoff, axes):
    # In a process of its own: vesin 0.6 ends the process where boxes become too many.
    command = [sys.executable, "-c", WIDE, str(width), flat, str(cutoff), str(axes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_two_atoms_at_the_ends_of_the_world():
    script = "from sciten.datasets import neighbor_list as n; import numpy as np; "
    script += (
        "print(len(n(np.array([[0, 0, 0], [0, 0, 1e30]]), np.zeros((3, 3)), np.zeros(3, bool), 5.0)[0]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "0\n", done.stderr


def test_atoms_at_one_place_are_refused():
    with pytest.raises(DataError, match="atoms 0 and 1 are 0 Å apart"):
        batch_from_ase([Atoms("H2", [[0, 0, 0], [0, 0, 0]])], 3.0)


@pytest.mark.parametrize("value", ["a", [1, 2], float("nan")])
@pytest.mark.parametrize("name", ["charge", "spin"])
def test_charges_and_spins_must_be_numbers(name: str, value: object) -> None:
    atoms = molecule("H2O")
    atoms.info[name] = value
    with pytest.raises(DataError, match=f"expected the {name} of a structure to be a finite number, got"):
        batch_from_ase([atoms], 3.0)
