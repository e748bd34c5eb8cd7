"""Small datasets: labels of a potential with known parameters, and fields under diffusion."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from sciten.datasets import Structure, batch_from_structures, write_structures
from sciten.training import OperatorConfig, TrainConfig
from tests.toys import ToyPotential
from tests.training.fields import TINY_FNO, write_evolution, write_static

TRUE_DEPTH = 0.8
ISOLATED = {1: -13.0, 6: -1000.0}
#: A model small enough that a test trains it in a second.
TINY = {"channels": 4, "lmax": 1, "hidden_lmax": 0, "correlation": 2, "radial_mlp": [8], "cutoff": 3.0}
TINY_TENSORNET = {"kind": "TensorNet", "channels": 6, "layers": 1, "radial_functions": 6, "cutoff": 3.0}


def teacher() -> ToyPotential:
    return ToyPotential(
        tuple(ISOLATED), isolated_atom_energies=list(ISOLATED.values()), cutoff=3.0, depth=TRUE_DEPTH
    )


def methane(rng: np.random.Generator) -> Structure:
    corners = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.63
    return Structure(
        corners + rng.normal(scale=0.08, size=(5, 3)), np.array([6, 1, 1, 1, 1]), config_type="methane"
    )


def dimer(rng: np.random.Generator) -> Structure:
    positions = np.array([[0, 0, 0], [0, 0, rng.uniform(1.0, 1.6)]]) + rng.normal(scale=0.05, size=(2, 3))
    return Structure(positions, np.array([6, 1]), config_type="dimer")


def crystal(rng: np.random.Generator) -> Structure:
    positions = np.array([[0, 0, 0], [1, 1, 1]]) * 1.2 + rng.normal(scale=0.05, size=(2, 3))
    return Structure(
        positions, np.array([6, 6]), 2.4 * np.eye(3), np.ones(3, dtype=bool), config_type="crystal"
    )


def labelled(
    structures: Sequence[Structure], labels: Sequence[str] = ("energy", "forces")
) -> list[Structure]:
    """The structures with the teacher's labels; stress on crystals only."""
    from dataclasses import replace

    model, results = teacher(), []
    for structure in structures:
        stress = bool(structure.pbc.all())
        prediction = model(batch_from_structures([structure], 3.0), stress=stress, inference=True)
        known = {"energy": float(prediction.energy[0]), "forces": prediction.forces.numpy()}
        if stress:
            known["stress"] = prediction.stress[0].numpy()
        results.append(replace(structure, **{key: value for key, value in known.items() if key in labels}))
    return results


def isolated_atoms() -> list[Structure]:
    return [
        Structure(np.zeros((1, 3)), np.array([z]), energy=energy, config_type="IsolatedAtom")
        for z, energy in ISOLATED.items()
    ]


@pytest.fixture(scope="session")
def molecules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten dimers and ten methanes in turn with energies and forces, then two isolated atoms."""
    rng = np.random.default_rng(0)
    frames = labelled([make(rng) for _ in range(10) for make in (dimer, methane)])
    path = tmp_path_factory.mktemp("data") / "molecules.h5"
    write_structures(path, [*frames, *isolated_atoms()])
    return path


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Molecules beside crystals with stress, then two isolated atoms."""
    rng = np.random.default_rng(1)
    frames = labelled(
        [make(rng) for _ in range(6) for make in (crystal, dimer)], ("energy", "forces", "stress")
    )
    path = tmp_path_factory.mktemp("data") / "mixed.h5"
    write_structures(path, [*frames, *isolated_atoms()])
    return path


@pytest.fixture
def config(molecules: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """A configuration of a small run on `molecules`, with changes."""

    def make(**changes: object) -> TrainConfig:
        settings = {
            "train_file": molecules,
            "output": tmp_path / "run",
            "model": TINY,
            "epochs": 3,
            "batch_size": 4,
            "threads": 1,
            **changes,
        }
        return TrainConfig(**settings)

    return make


@pytest.fixture(scope="session")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_static(tmp_path_factory.mktemp("fields") / "static.h5")


@pytest.fixture(scope="session")
def evolution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_evolution(tmp_path_factory.mktemp("fields") / "evolution.h5")


@pytest.fixture
def operator_config(static: Path, tmp_path: Path) -> Callable[..., OperatorConfig]:
    """A configuration of a small run on `static`, with changes."""

    def make(**changes: object) -> OperatorConfig:
        settings = {
            "train_file": static,
            "output": tmp_path / "run",
            "inputs": ["before"],
            "targets": ["after"],
            "model": TINY_FNO,
            "epochs": 3,
            "batch_size": 4,
            "threads": 1,
            **changes,
        }
        return OperatorConfig(**settings)

    return make
