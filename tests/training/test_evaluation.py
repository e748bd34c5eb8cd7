import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from sciten.datasets import AtomsDataset, Structure
from sciten.errors import DataError
from sciten.training import evaluate
from tests.toys import ToyPotential
from tests.training.conftest import ISOLATED, teacher


def student() -> ToyPotential:
    return ToyPotential(
        tuple(ISOLATED), isolated_atom_energies=list(ISOLATED.values()), cutoff=3.0, depth=0.5
    )


def test_errors_are_those_of_ase_and_numpy(mixed: Path) -> None:
    dataset = AtomsDataset(mixed)
    evaluation = evaluate(student(), dataset, batch_size=5)
    frames = [frame for frame in dataset[dataset.frames] if frame.config_type == "crystal"]
    ours = student().evaluate([frame.to_ase() for frame in frames])
    energy = np.array([a["energy"] - f.energy for a, f in zip(ours, frames, strict=True)])
    forces = np.concatenate([a["forces"] - f.forces for a, f in zip(ours, frames, strict=True)])
    stress = np.concatenate([a["stress"] - f.stress for a, f in zip(ours, frames, strict=True)])
    row = next(row for row in evaluation.errors() if row.config_type == "crystal")
    assert (row.frames, row.atoms) == (6, 12)
    assert row.energy_mae == pytest.approx(1e3 * np.abs(energy).mean(), rel=1e-9)
    assert row.energy_rmse == pytest.approx(1e3 * np.sqrt((energy**2).mean()), rel=1e-9)
    assert row.energy_per_atom_rmse == pytest.approx(1e3 * np.sqrt((energy**2).mean()) / 2, rel=1e-9)
    assert row.forces_rmse == pytest.approx(1e3 * np.sqrt((forces**2).mean()), rel=1e-9)
    assert row.stress_mae == pytest.approx(1e3 * np.abs(stress).mean(), rel=1e-9)


def test_one_row_per_type_then_all_and_missing_labels_are_dashes(mixed: Path) -> None:
    evaluation = evaluate(student(), mixed)
    rows = evaluation.rows()
    assert [row[0] for row in rows] == ["configuration type", "crystal", "dimer", "all"]
    assert [row[1] for row in rows[1:]] == ["6", "6", "12"]
    assert rows[2][-1] == "-"  # dimers have no stress
    lines = evaluation.table().splitlines()
    assert len(lines) == 5
    assert "E/atom RMSE (meV/atom)" in lines[0]
    crystal, dimer, everything = evaluation.errors()
    assert everything.energy_mae == pytest.approx((crystal.energy_mae + dimer.energy_mae) / 2, rel=1e-12)


def test_the_model_that_made_the_labels_has_no_error(molecules: Path) -> None:
    overall = evaluate(teacher(), molecules).overall()
    assert overall.energy_rmse < 1e-8
    assert overall.forces_rmse < 1e-8
    assert overall.stress_rmse is None


def test_writes_json_table_and_figures(mixed: Path, tmp_path: Path) -> None:
    backend = matplotlib.get_backend()
    figures = evaluate(student(), mixed, model_name="student").write(tmp_path)
    document = json.loads((tmp_path / "evaluation.json").read_text())
    assert document["model"] == "student"
    assert document["units"]["energy_per_atom"] == "meV/atom"
    assert [row["config_type"] for row in document["errors"]] == ["crystal", "dimer", "all"]
    names = ["parity_energy.png", "parity_force.png", "parity_stress.png", "error_by_config_type.png"]
    assert [path.name for path in figures] == names
    for path in figures:
        with Image.open(path) as image:
            assert min(image.size) > 150
            assert len(set(image.convert("L").tobytes())) > 20  # not a blank page
    assert matplotlib.get_backend() == backend


def test_no_frames_and_unknown_elements_are_named(molecules: Path) -> None:
    with pytest.raises(DataError, match="0 structures: expected frames"):
        evaluate(student(), [])
    carbon_only = ToyPotential((6,), isolated_atom_energies=[0.0])
    with pytest.raises(DataError, match=r"molecules\.h5: frame 0 has H, but the model knows only C"):
        evaluate(carbon_only, molecules)


def test_structures_without_labels_are_refused() -> None:
    with pytest.raises(DataError, match="expected labels to compare with, found none in 1 frames"):
        evaluate(student(), [Structure(np.eye(3)[:2], np.array([1, 6]))])


def test_a_prediction_that_is_no_number_shows_in_the_errors(molecules: Path) -> None:
    broken = student()
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    assert np.isnan(evaluate(broken, molecules).overall().forces_rmse)
