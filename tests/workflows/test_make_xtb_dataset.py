"""The molecular workflow: reproducible, resumable, and the same on every executor."""

import dataclasses
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms, units

from sciten.datasets import AtomsDataset
from sciten.errors import ConfigError
from workflows import make_xtb_dataset as workflow
from workflows.executors import ExecutorKind, open_executor

pytest.importorskip("tblite", reason="tblite is not installed; pip install 'sciten[xtb]'")

from workflows import xtb

BRIEF = workflow.Sampling(1, train_frames=2, test_trajectories=1, test_frames=1, stride=2, equilibration=3)


@pytest.fixture(scope="module")
def trajectories():
    return workflow.plan(["ethanol"], BRIEF, seed=3)


def test_training_never_sees_the_hot_trajectories(trajectories):
    kinds = [(trajectory.split, trajectory.temperature) for trajectory in trajectories]
    assert kinds == [("train", 300.0), ("test", 300.0), ("test", 600.0)]
    assert len({trajectory.seed for trajectory in trajectories}) == 3


def test_more_molecules_leave_the_others_as_they_are(trajectories):
    more = workflow.plan(["acetamide", "ethanol"], BRIEF, seed=3)
    assert [trajectory for trajectory in more if trajectory.molecule == "ethanol"] == trajectories


def test_an_unknown_molecule_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match="'ethenol': expected ethanol, acetamide, pyrrole or a file"):
        workflow.plan(["ethenol"], BRIEF, seed=3)


def test_a_molecule_may_come_from_a_file(tmp_path):
    Atoms("OH2", positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]).write(tmp_path / "water.xyz")
    trajectory = workflow.plan([str(tmp_path / "water.xyz")], BRIEF, seed=3)[0]
    assert trajectory.molecule == "water"
    assert trajectory.numbers == (8, 1, 1)


def test_a_trajectory_is_reproducible_and_its_seed_matters(trajectories):
    first, again = workflow.sample(trajectories[0]), workflow.sample(trajectories[0])
    other = workflow.sample(dataclasses.replace(trajectories[0], seed=4))
    for name in first:
        assert np.array_equal(first[name], again[name])
    assert np.abs(first["positions"] - other["positions"]).max() > 1e-3


def test_forces_are_minus_the_gradient_of_the_energy(trajectories):
    labels = workflow.sample(trajectories[0])
    atoms = Atoms(numbers=trajectories[0].numbers, positions=labels["positions"][0])
    step = 1e-3
    for atom, axis in ((0, 0), (4, 1), (8, 2)):
        moved = []
        for sign in (1, -1):
            copy = atoms.copy()
            copy.positions[atom, axis] += sign * step
            moved.append(xtb.label([copy], workflow.METHOD)["energy"][0])
        gradient = (moved[0] - moved[1]) / (2 * step)
        assert labels["forces"][0, atom, axis] == pytest.approx(-gradient, abs=1e-4)


def test_isolated_atoms_have_the_spin_of_their_ground_state():
    structures = xtb.isolated_atoms([8, 6, 1, 7, 6], workflow.METHOD)
    assert [int(s.numbers[0]) for s in structures] == [1, 6, 7, 8]
    assert [s.spin for s in structures] == [2.0, 3.0, 4.0, 3.0]
    # Hydrogen's electron and nitrogen's half-filled shell leave no choice of orbital; carbon's two electrons
    # share three p orbitals, whose electronic entropy at tblite's 300 K enters the energy.
    cold = xtb.calculator(workflow.METHOD, accuracy=xtb.LABEL_ACCURACY, multiplicity=3)
    cold.set(electronic_temperature=1.0)
    atom = Atoms("C")
    atom.calc = cold
    entropy = -3 * (2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
    expected = atom.get_potential_energy() - units.kB * (300.0 - 1.0) * entropy
    assert structures[1].energy == pytest.approx(expected, abs=1e-4)
    assert all(s.is_isolated_atom for s in structures)


def test_ethanol_is_bound_relative_to_its_atoms(trajectories):
    energies = {int(s.numbers[0]): s.energy for s in xtb.isolated_atoms([1, 6, 8], workflow.METHOD)}
    energy = workflow.sample(trajectories[0])["energy"][0]
    binding = sum(energies[z] for z in trajectories[0].numbers) - energy
    # Experiment: 33 eV. GFN2-xTB is not made for atoms: without spin polarisation it binds too strongly.
    assert 33.0 < binding < 50.0


def make(trajectories, folder, executor, output="data"):
    return xtb.make_datasets(
        "molecules",
        workflow.sample,
        trajectories,
        folder / output,
        method=workflow.METHOD,
        sampling="brief",
        executor=executor,
        work=folder / "work",
        command="a test",
        progress=False,
    )


def test_datasets_hold_every_frame_with_its_labels_and_its_origin(trajectories, tmp_path):
    with ThreadPoolExecutor(1) as executor:
        train, test = make(trajectories, tmp_path, executor)
    with AtomsDataset(train) as dataset:
        assert dataset.config_types == ["IsolatedAtom"] * 3 + ["ethanol_300K"] * 2
        assert set(dataset.isolated_atom_energies) == {1, 6, 8}
        frame = dataset[3]
        expected = workflow.sample(trajectories[0])
        assert frame.energy == expected["energy"][0]
        assert np.array_equal(frame.forces, expected["forces"][0])
        assert not frame.pbc.any()
        assert dataset.attributes["command"] == "a test"
        assert dataset.attributes["licence"] == "CC0-1.0"
        metadata = dataset.attributes["metadata"]
        assert metadata["method"] == "GFN2-xTB"
        assert metadata["program"] == xtb.version()
        assert json.loads(metadata["seeds"]) == {"0": trajectories[0].seed}
    with AtomsDataset(test) as dataset:
        assert dataset.config_types == ["ethanol_300K", "ethanol_600K"]


def test_started_again_it_samples_only_what_is_missing(trajectories, tmp_path, monkeypatch):
    with ThreadPoolExecutor(1) as executor:
        make(trajectories[:2], tmp_path, executor)
        before = {file: file.stat().st_ino for file in (tmp_path / "work").iterdir()}
        make(trajectories, tmp_path, executor)
    after = {file: file.stat().st_ino for file in (tmp_path / "work").iterdir()}
    assert len(before) == 2
    assert len(after) == 3
    # Every result is a new file when it is written, so the same inode means that it was left alone.
    assert before.items() < after.items()


def test_parsl_and_processes_give_the_same_datasets(trajectories, tmp_path):
    pytest.importorskip("parsl", reason="parsl is not installed; pip install 'sciten[parsl]'")
    energies = []
    for kind in (ExecutorKind.PROCESS, ExecutorKind.PARSL):
        folder = tmp_path / kind
        with open_executor(kind, workers=2, folder=folder) as executor:
            files = make(trajectories, folder, executor)
        energies.append([frame.energy for file in files for frame in AtomsDataset(file)])
    assert len(energies[0]) == 3 + 2 + 2
    assert energies[0] == energies[1]


def run(folder, *arguments):
    command = [sys.executable, workflow.__file__, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_command_line(tmp_path):
    completed = run(tmp_path, "ethanol", "--small", "--output=made", "--work=work", "--workers=1", "--seed=5")
    assert completed.stderr == ""
    assert completed.stdout.split() == ["wrote", "made/molecules_train.h5", "wrote", "made/molecules_test.h5"]
    with AtomsDataset(tmp_path / "made" / "molecules_train.h5") as dataset:
        assert len(dataset.frames) == 6
        command = dataset.attributes["command"]
    assert command == "python workflows/make_xtb_dataset.py ethanol --seed 5 --small"


def test_the_command_line_refuses_in_one_sentence(tmp_path):
    wrong = run(tmp_path, "unobtainium")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: molecule 'unobtainium': expected ethanol")
    assert len(wrong.stderr.splitlines()) == 1
