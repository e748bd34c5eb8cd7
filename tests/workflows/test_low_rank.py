import json
from pathlib import Path

import pytest
import torch

from sciten.datasets import read_tensor, tensor_attributes, tensor_names
from sciten.tensor import TensorTrain
from workflows import electrostatics, henon_heiles

ROOT = Path(__file__).parents[2]


def test_the_potential_of_charges_is_that_of_the_closed_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"points": 31, "margin": 4.0, "tolerance": 1e-6, "output": tmp_path}
    electrostatics.main(ROOT / "data/molecules_test.h5", 0, **options)
    assert (tmp_path / "potential.png").stat().st_size > 10_000
    file = tmp_path / "potential.h5"
    assert set(tensor_names(file)) == {"density", "potential"}
    potential = read_tensor(file, "potential")
    assert isinstance(potential, TensorTrain) and potential.shape == (31, 31, 31)
    charges = electrostatics.read_charges(ROOT / "data/molecules_test.h5", 0)
    assert float(charges.values.sum().abs()) < 1e-12
    assert tensor_attributes(file, "potential")["residual"] <= 1e-6
    errors = [line for line in capsys.readouterr().out.splitlines() if "largest error" in line]
    # Second order: the spacing is half a width of the Gaussians, of about 5 V at their centres.
    assert float(errors[0].split()[-2]) < 0.3
    electrostatics.main(ROOT / "data/molecules_test.h5", 0, **options)
    assert "holds this potential already" in capsys.readouterr().out


def test_the_potential_of_one_charge_is_finite_at_its_centre() -> None:
    charges = electrostatics.Charges(
        torch.zeros(1, 3, dtype=torch.float64), torch.ones(1, dtype=torch.float64), 0.5
    )
    places = torch.tensor([[0.0, 0.0, 0.0], [1e-4, 0.0, 0.0], [3.0, 0.0, 0.0]], dtype=torch.float64)
    found = charges.potential(places)
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=0)
    torch.testing.assert_close(
        found[2], torch.tensor(electrostatics.COULOMB / 3, dtype=torch.float64), rtol=1e-6, atol=0
    )


def test_ground_states_are_stored_and_found_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    henon_heiles.main([2, 3], points=24, tolerance=1e-5, output=tmp_path)
    rows = json.loads((tmp_path / "energies.json").read_text())
    assert [row["f"] for row in rows] == [2, 3] and all(row["converged"] for row in rows)
    assert rows[0]["energy"] == pytest.approx(0.9985947828, abs=1e-6)  # 32 points, dense diagonalisation
    assert set(tensor_names(tmp_path / "states.h5")) == {"f=2", "f=3"}
    before = (tmp_path / "states.h5").stat().st_mtime_ns
    henon_heiles.main([2, 3], points=24, tolerance=1e-5, output=tmp_path)
    assert (tmp_path / "states.h5").stat().st_mtime_ns == before
    assert "energies.png" in capsys.readouterr().out
