from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sciten.datasets import AtomsDataset, Structure, write_structures
from sciten.errors import DataError
from sciten.training import TrainConfig
from sciten.training.data import Frames, open_data
from sciten.training.statistics import fit_isolated_atom_energies, isolated_atom_energies, statistics
from tests.training.conftest import ISOLATED, dimer, labelled, methane, teacher

Make = Callable[..., TrainConfig]


def test_scale_is_the_force_rms_and_shift_the_mean_energy_per_atom(molecules: Path) -> None:
    dataset = AtomsDataset(molecules)
    frames = dataset[dataset.frames]
    found = statistics(Frames(dataset, dataset.frames, 3.0, 10), ISOLATED)
    components = np.concatenate([frame.forces.reshape(-1) for frame in frames])
    per_atom = [(f.energy - sum(ISOLATED[int(z)] for z in f.numbers)) / len(f) for f in frames]
    assert found.scale == pytest.approx(np.sqrt(np.mean(components**2)), rel=1e-12)
    assert found.shift == pytest.approx(np.mean(per_atom), rel=1e-12)
    distances = [np.linalg.norm(f.positions[:, None] - f.positions[None], axis=-1) for f in frames]
    pairs = sum(int((d < 3.0).sum()) - len(d) for d in distances)
    assert found.average_neighbors == pytest.approx(pairs / sum(map(len, frames)), rel=1e-12)


def test_energies_alone_give_their_own_scale(tmp_path: Path) -> None:
    frames = [Structure(np.eye(3)[:2] * 2, np.array([1, 1]), energy=e) for e in (1.0, 3.0)]
    write_structures(tmp_path / "e.h5", frames)
    found = statistics(Frames(AtomsDataset(tmp_path / "e.h5"), [0, 1], 3.0, 10), {1: 0.0})
    assert (found.scale, found.shift) == (0.5, 1.0)


def test_energies_come_from_file_map_or_fit(config: Make) -> None:
    def energies(given: object) -> dict[int, float]:
        run = config(isolated_atom_energies=given, valid_fraction=0)
        return isolated_atom_energies(run, open_data(run, 3.0).train, (1, 6))

    assert energies("file") == ISOLATED
    assert energies({"H": -1, "C": -2, "O": -3}) == {1: -1.0, 6: -2.0}
    assert energies("fit")[6] == pytest.approx(ISOLATED[6], abs=10)


def test_missing_isolated_atom_names_the_element_and_the_remedy(config: Make) -> None:
    run = config()
    data = open_data(run, 3.0)
    with pytest.raises(DataError, match=r"energy of O; .*IsolatedAtom.*\{O: .*'fit'"):
        isolated_atom_energies(run, data.train, (1, 6, 8))


def test_fit_solves_a_linear_set_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = []
    for carbons, hydrogens in ((1, 4), (2, 2), (1, 1), (3, 8)):
        numbers = np.array([6] * carbons + [1] * hydrogens)
        positions = rng.uniform(0, 20, size=(len(numbers), 3))
        frames.append(Structure(positions, numbers, energy=-30.0 * carbons - 2.5 * hydrogens))
    write_structures(tmp_path / "linear.h5", frames)
    found = fit_isolated_atom_energies(
        Frames(AtomsDataset(tmp_path / "linear.h5"), range(4), 3.0, 10), (1, 6)
    )
    assert found == pytest.approx({1: -2.5, 6: -30.0}, rel=1e-10)


def test_fit_on_top_of_a_model_finds_the_change_of_reference(tmp_path: Path) -> None:
    # Labels of the teacher with other isolated-atom energies: the fit beside the teacher must find them.
    from dataclasses import replace

    rng = np.random.default_rng(0)
    frames = labelled([make(rng) for _ in range(3) for make in (dimer, methane)])
    moved = [replace(f, energy=f.energy + sum({1: 0.7, 6: -4.0}[int(z)] for z in f.numbers)) for f in frames]
    write_structures(tmp_path / "moved.h5", moved)
    chosen = Frames(AtomsDataset(tmp_path / "moved.h5"), range(6), 3.0, 10)
    found = fit_isolated_atom_energies(chosen, (1, 6), teacher())
    assert found == pytest.approx({1: ISOLATED[1] + 0.7, 6: ISOLATED[6] - 4.0}, abs=1e-8)
