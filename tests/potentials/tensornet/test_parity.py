"""TensorNet equals torchmd-net 3.1 on the same weights (see make_fixtures.py for what the fixtures are)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from safetensors.torch import load_file

from sciten.datasets.graphs import batch_from_ase
from sciten.potentials import Potential, TensorNet, load_potential
from tests.potentials.tensornet.make_fixtures import CASES, TRAINING, converter, recipe, targets

FIXTURES = Path(__file__).parent / "fixtures"


def read(name: str) -> tuple[dict, list[Atoms]]:
    """A fixture and its structures."""
    document = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    keys = ("numbers", "positions", "cell", "pbc", "info")
    return document, [Atoms(**{key: entry[key] for key in keys}) for entry in document["structures"]]


def from_recipe(document: dict, folder: Path, dtype: torch.dtype = torch.float64) -> Potential:
    """The model of a fixture, by the way that a converted one goes."""
    shapes = dict(TensorNet(**document["arguments"]).named_parameters())
    weights = {name: torch.from_numpy(recipe(name, value.shape)) for name, value in shapes.items()}
    buffers = {name: torch.tensor(value, dtype=torch.float64) for name, value in document["buffers"].items()}
    tool = converter()
    converted = tool.Converted(document["arguments"], weights, buffers)
    tool.write_folder(folder / "model", converted, torch.float64, {})
    return load_potential(folder / "model", dtype=dtype)


@pytest.mark.parametrize("name", list(CASES))
def test_energies_and_forces(name: str, tmp_path: Path) -> None:
    document, structures = read(name)
    model = from_recipe(document, tmp_path)
    fast = model.evaluate(structures)
    for atoms, expected, quick in zip(structures, document["structures"], fast, strict=True):
        full = model(batch_from_ase([atoms], model.cutoff))
        for energy, forces in (
            (quick["energy"], quick["forces"]),
            (full.energy.item(), full.forces.detach()),
        ):
            assert energy == pytest.approx(expected["energy"], rel=0, abs=1e-10)
            np.testing.assert_allclose(forces, expected["forces"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", list(CASES))
def test_energies_and_forces_in_single_precision(name: str, tmp_path: Path) -> None:
    document, structures = read(name)
    model = from_recipe(document, tmp_path, torch.float32)
    fast = model.evaluate(structures)
    for atoms, expected, quick in zip(structures, document["structures"], fast, strict=True):
        full = model(batch_from_ase([atoms], model.cutoff))
        for energy, forces in (
            (quick["energy"], quick["forces"]),
            (full.energy.item(), full.forces.detach()),
        ):
            assert energy == pytest.approx(expected["energy"], rel=0, abs=1e-5 * len(atoms))
            np.testing.assert_allclose(forces, expected["forces"], rtol=0, atol=2e-5)


def test_parameter_gradients(tmp_path: Path) -> None:
    document, structures = read(TRAINING)
    model = from_recipe(document, tmp_path).requires_grad_(True)
    prediction = model(batch_from_ase(structures, model.cutoff))
    energies, forces = zip(*targets(structures), strict=True)
    isolated = [
        sum(model.isolated_atom_energies[model.elements.index(z)] for z in a.numbers) for a in structures
    ]
    wanted = torch.tensor(energies, dtype=torch.float64) + torch.stack(isolated)
    loss = (prediction.energy - wanted).square().sum() + (
        prediction.forces - torch.cat(forces)
    ).square().sum()
    loss.backward()
    expected = load_file(FIXTURES / "training" / "gradients.safetensors")
    assert set(expected) == set(dict(model.named_parameters()))
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name], rtol=1e-8, atol=1e-8, msg=f"{name} differs"
        )
