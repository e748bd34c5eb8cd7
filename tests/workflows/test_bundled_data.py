"""The datasets in `data/`: complete, documented, physical, and labelled with what they say."""

from pathlib import Path

import numpy as np
import pytest
from ase.data import covalent_radii

from sciten.datasets import AtomsDataset
from workflows import make_periodic_dataset, make_xtb_dataset

DATA = Path(__file__).parents[2] / "data"
FILES = ("molecules_train.h5", "molecules_test.h5", "crystal_train.h5", "crystal_test.h5")
FILES_BY_SPEED = [
    *FILES[:2],
    *(pytest.param(name, marks=pytest.mark.slow) for name in FILES[2:]),
]
METHODS = {"molecules": make_xtb_dataset.METHOD, "crystal": make_periodic_dataset.METHOD}
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@pytest.fixture(scope="module")
def datasets():
    return {name: AtomsDataset(DATA / name) for name in FILES}


def bonds(structure):
    distances = np.linalg.norm(structure.positions[:, None] - structure.positions, axis=-1)
    radii = covalent_radii[structure.numbers]
    return (distances < 1.3 * (radii[:, None] + radii)) & ~np.eye(len(structure), dtype=bool)


def test_they_are_small():
    assert sum((DATA / name).stat().st_size for name in FILES) < 4e6


@pytest.mark.parametrize("name", FILES)
def test_each_says_where_it_comes_from(datasets, name):
    attributes = datasets[name].attributes
    assert attributes["licence"] == "CC0-1.0"
    assert attributes["units"]["forces"] == "eV/Å"
    assert attributes["command"].startswith("python workflows/make_")
    assert attributes["metadata"]["program"].startswith("tblite ")
    assert attributes["metadata"]["method"] == METHODS[name.split("_")[0]]
    assert attributes["metadata"]["seeds"]


@pytest.mark.parametrize("name", FILES)
def test_each_frame_has_every_label_and_no_net_force(datasets, name):
    dataset = datasets[name]
    for label in ("energy", "forces", *(["stress"] if "crystal" in name else [])):
        assert dataset.has_label(label)[dataset.frames].all()
    assert max(np.abs(frame.forces.sum(axis=0)).max() for frame in dataset) < 1e-6


def test_configuration_types_and_counts(datasets):
    def counts(name):
        types = datasets[name].config_types
        return {kind: types.count(kind) for kind in sorted(set(types)) if kind != "IsolatedAtom"}

    molecules = ("acetamide", "ethanol", "pyrrole")
    assert counts("molecules_train.h5") == {f"{name}_300K": 200 for name in molecules}
    assert counts("molecules_test.h5") == {f"{name}_{t}K": 60 for name in molecules for t in (300, 600)}
    assert counts("crystal_train.h5") == {"NaCl_rattled": 30, "NaCl_strained": 50}
    assert counts("crystal_test.h5") == dict.fromkeys(
        ["NaCl_compressed", "NaCl_rattled", "NaCl_strained"], 10
    )


def test_isolated_atoms_stand_in_the_training_files(datasets):
    assert set(datasets["molecules_train.h5"].isolated_atom_energies) == {1, 6, 7, 8}
    assert set(datasets["crystal_train.h5"].isolated_atom_energies) == {11, 17}


@pytest.mark.parametrize("kind", ["molecules", "crystal"])
def test_no_frame_is_in_both_training_and_test(datasets, kind):
    train, test = ({frame.energy for frame in datasets[f"{kind}_{split}.h5"]} for split in ("train", "test"))
    assert not train & test


@pytest.mark.parametrize("name", ["molecules_train.h5", "molecules_test.h5"])
def test_no_molecule_reacted(datasets, name):
    first = {}
    for frame in (datasets[name][int(i)] for i in datasets[name].frames):
        molecule = frame.config_type.split("_")[0]
        assert np.array_equal(bonds(frame), first.setdefault(molecule, bonds(frame))), molecule


@pytest.mark.parametrize("molecule", ["ethanol", "acetamide", "pyrrole"])
def test_hot_frames_hold_more_energy_by_about_equipartition(datasets, molecule):
    frames = [frame for frame in datasets["molecules_test.h5"] if frame.config_type.startswith(molecule)]
    mean = {t: np.mean([f.energy for f in frames if f.config_type.endswith(f"_{t}K")]) for t in (300, 600)}
    n_atoms = len(frames[0])
    harmonic = (3 * n_atoms - 6) / 2 * 8.617e-5 * 300  # eV: half a k_B T for each vibration, 300 K more
    assert mean[600] - mean[300] == pytest.approx(harmonic, rel=0.35)


@pytest.mark.parametrize("name", FILES_BY_SPEED)
def test_labels_are_those_of_the_method(datasets, name):
    pytest.importorskip("tblite", reason="tblite is not installed; pip install 'sciten[xtb]'")
    from workflows import xtb

    dataset = datasets[name]
    frame = dataset[int(dataset.frames[-1])]
    labels = xtb.label([frame.to_ase()], METHODS[name.split("_")[0]])
    assert labels["energy"][0] == pytest.approx(frame.energy, abs=1e-5)
    assert np.allclose(labels["forces"][0], frame.forces, atol=1e-5)
    assert frame.stress is None or np.allclose(labels["stress"][0], frame.stress, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, -1])
def test_bundled_stress_is_the_strain_derivative_of_the_energy(datasets, index):
    pytest.importorskip("tblite", reason="tblite is not installed; pip install 'sciten[xtb]'")
    from workflows import xtb

    dataset, step = datasets["crystal_test.h5"], 5e-4
    frame = dataset[int(dataset.frames[index])]
    for component in (0, 4):
        energies = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[VOIGT[component]] = sign * step
            atoms = frame.to_ase()
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
            energies.append(xtb.label([atoms], make_periodic_dataset.METHOD)["energy"][0])
        derivative = (energies[0] - energies[1]) / (2 * step) / frame.volume
        assert frame.stress[component] == pytest.approx(derivative, abs=2e-5)


@pytest.mark.parametrize("index", [0, 150, -1])
def test_bundled_forces_are_minus_the_gradient_of_the_energy(datasets, index):
    pytest.importorskip("tblite", reason="tblite is not installed; pip install 'sciten[xtb]'")
    from workflows import xtb

    dataset, step = datasets["molecules_test.h5"], 1e-3
    frame = dataset[int(dataset.frames[index])]
    energies = []
    for sign in (1, -1):
        atoms = frame.to_ase()
        atoms.positions[2, 1] += sign * step
        energies.append(xtb.label([atoms], make_xtb_dataset.METHOD)["energy"][0])
    assert frame.forces[2, 1] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=1e-3)
