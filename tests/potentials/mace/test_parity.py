"""MACE equals mace-torch 0.3.16 on the same weights (see make_fixtures.py for what the fixtures are)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from safetensors.torch import load_file

from sciten.datasets.graphs import batch_from_ase
from sciten.potentials import MACE, Potential, load_potential
from sciten.potentials.base import has_stress
from tests.potentials.mace.make_fixtures import (
    CASES,
    LEARNING_RATE,
    STEPS,
    TRAINING,
    Case,
    converter,
    loss_of,
    recipe,
    targets,
)

FIXTURES = Path(__file__).parent / "fixtures"


def write_model(folder: Path, arguments: dict, convention: str, weights: dict[str, torch.Tensor]) -> Path:
    """A model folder as the converter writes it, with the given weights in the given sign convention."""
    tool = converter()
    model = MACE(**arguments, dtype=torch.float64)
    parameters = dict(model.named_parameters())
    assert set(weights) == set(parameters)
    buffers = {name: value for name, value in model.state_dict().items() if name not in parameters}
    tool.write_folder(folder, tool.Converted(arguments, weights, buffers, convention, ""), torch.float64, {})
    return folder


def from_recipe(document: dict, folder: Path) -> Potential:
    """The model of a fixture."""
    model = MACE(**document["arguments"], dtype=torch.float64)
    weights = {name: torch.from_numpy(recipe(name, value.shape)) for name, value in model.named_parameters()}
    return load_potential(write_model(folder, document["arguments"], document["clebsch_gordan"], weights))


def read(path: Path) -> tuple[dict, list[Atoms]]:
    """A fixture and its structures."""
    document = json.loads(path.read_text(encoding="utf-8"))
    keys = ("numbers", "positions", "cell", "pbc")
    return document, [Atoms(**{key: entry[key] for key in keys}) for entry in document["structures"]]


def assert_equal_predictions(model: Potential, document: dict, structures: list[Atoms]) -> None:
    """Energies within 1e-9 eV of mace-torch, forces 1e-9 eV/Å, stress 1e-10 eV/Å³, either way."""
    fast = model.evaluate(structures)
    for atoms, expected, quick in zip(structures, document["structures"], fast, strict=True):
        periodic = "stress" in expected
        full = model(batch_from_ase([atoms], model.cutoff), stress=periodic)
        found = {"energy": full.energy[0], "forces": full.forces}
        if periodic:
            found["stress"] = full.stress[0]
        assert ("stress" in quick) == has_stress(atoms)
        for key, value in found.items():
            tolerance = 1e-10 if key == "stress" else 1e-9
            for name, prediction in {"forward": value.detach().numpy(), "evaluate": quick[key]}.items():
                np.testing.assert_allclose(
                    prediction,
                    expected[key],
                    rtol=0,
                    atol=tolerance,
                    err_msg=f"{key} of {atoms} by {name}",
                )


@pytest.mark.parametrize("name", list(CASES))
def test_energies_forces_and_stress(name: str, tmp_path: Path) -> None:
    document, structures = read(FIXTURES / f"{name}.json")
    assert_equal_predictions(from_recipe(document, tmp_path / "model"), document, structures)


@pytest.mark.parametrize("name", ["training", "reduced", "training_reduced"])
def test_converted_folder(name: str) -> None:
    """Folders that the converter wrote; in "reduced" mace-torch's elements were not in order."""
    document, structures = read(FIXTURES / name / "predictions.json")
    assert_equal_predictions(load_potential(FIXTURES / name / "model"), document, structures)
    basis = json.loads((FIXTURES / name / "model" / "model.json").read_text())["provenance"]["product_basis"]
    assert ("reduced" in basis) == ("reduced" in name)


def training_loss(model: Potential, case: Case, structures: list[Atoms]) -> torch.Tensor:
    """The loss that mace-torch was trained on for the fixture."""
    prediction = model(batch_from_ase(structures, model.cutoff))
    sizes = torch.tensor([len(atoms) for atoms in structures], dtype=torch.float64)
    return loss_of(prediction.energy, prediction.forces, *targets(case), sizes)


def in_our_signs(name: str, tensors: dict[str, torch.Tensor], folder: Path) -> dict[str, torch.Tensor]:
    """mace-torch's weights or gradients in our sign convention, by the way every model goes: the loader."""
    document = json.loads((FIXTURES / name / "model" / "model.json").read_text())
    model = load_potential(write_model(folder, document["arguments"], document["clebsch_gordan"], tensors))
    return dict(model.named_parameters())


@pytest.mark.parametrize("name", ["training", "training_reduced"])
def test_parameter_gradients(name: str, tmp_path: Path) -> None:
    _, structures = read(FIXTURES / name / "predictions.json")
    gradients = load_file(FIXTURES / name / "gradients.safetensors")
    expected = in_our_signs(name, gradients, tmp_path / "gradients")
    model = load_potential(FIXTURES / name / "model").requires_grad_(True)
    training_loss(model, TRAINING, structures).backward()
    for key, parameter in model.named_parameters():
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, expected[key].detach(), rtol=1e-8, atol=1e-8, msg=f"{key} differs")


@pytest.mark.parametrize("name", ["training", "training_reduced"])
def test_twenty_steps_of_adam(name: str, tmp_path: Path) -> None:
    _, structures = read(FIXTURES / name / "predictions.json")
    expected = in_our_signs(name, load_file(FIXTURES / name / "final.safetensors"), tmp_path / "final")
    model = load_potential(FIXTURES / name / "model").requires_grad_(True)
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = training_loss(model, TRAINING, structures)
        loss.backward()
        losses.append(float(loss.detach()))
        optimiser.step()
    np.testing.assert_allclose(losses, json.loads((FIXTURES / name / "losses.json").read_text()), rtol=1e-8)
    for key, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter.detach(), expected[key].detach(), rtol=0, atol=1e-8, msg=f"{key} differs"
        )
