"""What a run starts from: a new potential made for its data, or an earlier one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sciten.datasets import AtomsDataset, Structure, write_structures
from sciten.errors import DataError
from sciten.potentials import POTENTIALS, load_potential, save_potential
from sciten.training import TrainConfig
from sciten.training.models import prepare
from sciten.training.statistics import statistics
from tests.training.conftest import ISOLATED, TINY, TINY_TENSORNET, crystal, isolated_atoms, labelled

Make = Callable[..., TrainConfig]


@pytest.fixture(params=[{**TINY, "average_neighbors": 3.0}, TINY_TENSORNET], ids=["MACE", "TensorNet"])
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model that knows H, C and O."""
    arguments = dict(request.param)
    model = POTENTIALS[arguments.pop("kind", "MACE")](
        [1, 6, 8],
        isolated_atom_energies=[-12.0, -990.0, -2000.0],
        scale=2.0,
        shift=-0.5,
        dtype=torch.float64,
        **arguments,
    )
    save_potential(model, tmp_path / "earlier")
    return tmp_path / "earlier"


@pytest.fixture
def carbon(tmp_path: Path) -> Path:
    """Carbon crystals whose energies are 7 eV per atom above the teacher's."""
    rng = np.random.default_rng(0)
    frames = labelled([crystal(rng) for _ in range(4)])
    frames = [replace(frame, energy=(frame.energy or 0) + 7.0 * len(frame)) for frame in frames]
    write_structures(tmp_path / "carbon.h5", [*frames, *isolated_atoms()])
    return tmp_path / "carbon.h5"


def test_what_is_not_given_comes_from_the_data(config: Make) -> None:
    run = config(dtype="float64", seed=5)
    model, data = prepare(run)
    found = statistics(data.train, ISOLATED)
    arguments = model.arguments()
    assert arguments["elements"] == [1, 6]
    assert arguments["isolated_atom_energies"] == list(ISOLATED.values())
    assert (arguments["average_neighbors"], arguments["scale"], arguments["shift"]) == (
        found.average_neighbors,
        found.scale,
        found.shift,
    )
    assert (arguments["channels"], arguments["seed"], model.dtype) == (4, 5, torch.float64)


def test_a_model_without_average_neighbors_takes_scale_and_shift(config: Make) -> None:
    model, data = prepare(config(model=TINY_TENSORNET))
    found, arguments = statistics(data.train, ISOLATED), model.arguments()
    assert type(model) is POTENTIALS["TensorNet"] and arguments["channels"] == 6
    assert (arguments["scale"], arguments["shift"]) == (found.scale, found.shift)


def test_what_is_given_is_taken(config: Make) -> None:
    energies = {"H": -1.0, "C": -2.0, "O": -3.0}
    run = config(
        model={**TINY, "elements": ["O", "H", "C"], "scale": 3.0, "shift": 0.0},
        isolated_atom_energies=energies,
    )
    arguments = prepare(run)[0].arguments()
    assert arguments["elements"] == [1, 6, 8]
    assert arguments["isolated_atom_energies"] == [-1.0, -2.0, -3.0]
    assert (arguments["scale"], arguments["shift"]) == (3.0, 0.0)


def test_an_element_that_the_model_is_not_to_know_is_named(config: Make) -> None:
    with pytest.raises(DataError, match=r"molecules\.h5: frame 0 has C, but the model knows only H"):
        prepare(config(model={**TINY, "elements": [1]}))


def test_fine_tuning_starts_from_the_same_energies_on_fewer_elements(config: Make, earlier: Path) -> None:
    run = config(model={}, initial_model=earlier, isolated_atom_energies="initial", dtype="float64")
    model, data = prepare(run)
    assert model.elements == (1, 6)
    assert all(parameter.requires_grad for parameter in model.parameters())
    structures = [frame.to_ase() for frame in data.train.structures()]
    before = load_potential(earlier).evaluate(structures)
    for ours, theirs in zip(model.evaluate(structures), before, strict=True):
        assert ours["energy"] == pytest.approx(theirs["energy"], abs=1e-9)
        np.testing.assert_allclose(ours["forces"], theirs["forces"], atol=1e-9)


def test_fine_tuning_takes_isolated_atoms_of_the_new_data(config: Make, earlier: Path, carbon: Path) -> None:
    run = config(model={}, initial_model=earlier, train_file=carbon)
    model, _ = prepare(run)
    assert model.elements == (6,)
    assert model.isolated_atom_energies.tolist() == [ISOLATED[6]]


def test_fine_tuning_fits_isolated_atoms_to_what_the_model_leaves(
    config: Make, earlier: Path, carbon: Path
) -> None:
    run = config(
        model={},
        initial_model=earlier,
        train_file=carbon,
        isolated_atom_energies="fit",
        valid_fraction=0,
        dtype="float64",
    )
    model, _ = prepare(run)
    dataset = AtomsDataset(carbon)
    frames: list[Structure] = dataset[dataset.frames]
    residuals = [
        (frame.energy - result["energy"]) / len(frame)
        for frame, result in zip(frames, model.evaluate([f.to_ase() for f in frames]), strict=True)
    ]
    assert np.mean(residuals) == pytest.approx(0, abs=1e-9)


def test_fine_tuning_refuses_an_element_the_model_never_saw(
    config: Make, earlier: Path, tmp_path: Path
) -> None:
    frames = [Structure(np.eye(3)[:2] * 2, np.array([1, 14]), energy=0.0, forces=np.zeros((2, 3)))] * 3
    write_structures(tmp_path / "silicon.h5", frames)
    with pytest.raises(DataError, match=r"silicon\.h5: frame \d has Si, but the model knows only H, C, O"):
        prepare(config(model={}, initial_model=earlier, train_file=tmp_path / "silicon.h5"))
