"""The periodic workflow: labels that are derivatives of the energy, and disorder that is what it says."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms

from workflows import make_periodic_dataset as workflow

pytest.importorskip("tblite", reason="tblite is not installed; pip install 'sciten[xtb]'")

from workflows import xtb

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@pytest.fixture(scope="module")
def cells():
    disorder = workflow.DISORDER["NaCl_strained"]
    return workflow.Cells("NaCl_strained", "train", frames=1, disorder=disorder, repeats=1, seed=7)


@pytest.fixture(scope="module")
def labels(cells):
    return workflow.label_cells(cells)


def energy(atoms):
    return xtb.label([atoms], workflow.METHOD)["energy"][0]


def frame(cells, labels):
    return Atoms(cells.numbers, labels["positions"][0], cell=labels["cell"][0], pbc=True)


@pytest.mark.parametrize("component", [0, 2, 5])
def test_stress_is_the_strain_derivative_of_the_energy(cells, labels, component):
    atoms, step, energies = frame(cells, labels), 5e-4, []
    for sign in (1, -1):
        strain = np.zeros((3, 3))
        strain[VOIGT[component]] = sign * step
        deformed = atoms.copy()
        deformed.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        energies.append(energy(deformed))
    derivative = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
    # A finite tolerance for tblite's cut-off sums; the stress itself is of the order of 1e-2.
    assert labels["stress"][0, component] == pytest.approx(derivative, abs=2e-5)


def test_forces_are_minus_the_gradient_of_the_energy(cells, labels):
    atoms, step = frame(cells, labels), 1e-3
    for atom, axis in ((0, 0), (5, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(energy(moved))
        gradient = (energies[0] - energies[1]) / (2 * step)
        assert labels["forces"][0, atom, axis] == pytest.approx(-gradient, abs=1e-4)


def test_a_compressed_cell_pushes_back(cells):
    compressed = dataclasses.replace(cells, disorder=workflow.DISORDER["NaCl_compressed"])
    assert (workflow.label_cells(compressed)["stress"][0, :3] < -0.02).all()


def test_only_the_test_set_is_compressed_and_no_seed_is_used_twice():
    tasks = workflow.plan(seed=1)
    assert {t.config_type for t in tasks if t.split == "train"} == {"NaCl_rattled", "NaCl_strained"}
    assert "NaCl_compressed" in {t.config_type for t in tasks if t.split == "test"}
    assert len({t.seed for t in tasks}) == len(tasks)
    assert sum(t.frames for t in tasks if t.split == "train") == 80


def test_disorder_keeps_to_its_ranges(cells):
    crystal = cells.crystal().repeat(4)
    atoms = workflow.disorder(crystal, workflow.Disorder(rattle=(0.1, 0.1)), np.random.default_rng(0))
    displacement = atoms.positions - crystal.positions
    assert displacement.std() == pytest.approx(0.1, rel=0.05)
    assert np.abs(displacement.mean(axis=0)).max() < 1e-12
    assert np.array_equal(atoms.cell.array, crystal.cell.array)
    shrunk = workflow.disorder(
        crystal, workflow.Disorder(rattle=(0.0, 0.0), compression=(0.05, 0.05)), np.random.default_rng(0)
    )
    assert np.allclose(shrunk.positions, 0.95 * crystal.positions)
