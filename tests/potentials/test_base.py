import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from sciten.errors import ConfigError, DataError, ModelError
from tests.toys import ToyPotential


def crystal() -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=0)
    return atoms


def energy(model: ToyPotential, atoms: Atoms) -> float:
    return float(model.evaluate([atoms])[0]["energy"])


def test_forces_are_minus_the_gradient_of_the_energy() -> None:
    model, atoms, step = ToyPotential(), crystal(), 1e-4
    forces = model.evaluate([atoms])[0]["forces"]
    for axis in range(3):
        shifted = [atoms.copy() for _ in range(2)]
        for copy, sign in zip(shifted, (1, -1), strict=True):
            copy.positions[3, axis] += sign * step
        slope = (energy(model, shifted[0]) - energy(model, shifted[1])) / (2 * step)
        assert forces[3, axis] == pytest.approx(-slope, abs=1e-7)


def test_stress_is_the_strain_derivative_of_the_energy_per_volume() -> None:
    model, atoms, step = ToyPotential(), crystal(), 1e-5
    stress = model.evaluate([atoms])[0]["stress"]
    for position, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energies = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
            energies.append(energy(model, strained))
        slope = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
        assert stress[position] == pytest.approx(slope, abs=1e-8)


def test_molecules_and_crystals_in_one_call_keep_their_order() -> None:
    model = ToyPotential()
    structures = [molecule("H2O"), crystal(), molecule("CH4")]
    together = model.evaluate(structures)
    for atoms, result in zip(structures, together, strict=True):
        (alone,) = model.evaluate([atoms])
        assert result["energy"] == pytest.approx(alone["energy"], abs=1e-12)
        np.testing.assert_allclose(result["forces"], alone["forces"], atol=1e-12)
        assert ("stress" in result) == bool(atoms.pbc.all())
    assert model.evaluate([]) == []


def test_batches_of_any_size_give_the_same() -> None:
    model = ToyPotential()
    structures = [molecule("H2O"), crystal(), molecule("CH4"), crystal(), molecule("CO")]
    expected = model.evaluate(structures)
    for result, other in zip(model.evaluate(structures, batch_size=1), expected, strict=True):
        assert result.keys() == other.keys()
        for key in result:
            np.testing.assert_allclose(result[key], other[key], atol=1e-12)
    with pytest.raises(ConfigError, match="batch_size of at least 1, got 0"):
        model.evaluate(structures, batch_size=0)


def test_a_slab_has_the_stress_of_its_cell() -> None:
    slab = crystal()
    slab.pbc = (True, True, False)
    slab.cell[2, 2] += 10.0
    filled = slab.copy()
    filled.pbc = True  # its images along z are out of reach
    model = ToyPotential()
    np.testing.assert_allclose(
        model.evaluate([slab])[0]["stress"], model.evaluate([filled])[0]["stress"], atol=1e-12
    )


def test_unknown_element_is_named() -> None:
    with pytest.raises(ModelError, match=r"has Au, the model knows only H, C, O, Si, Cu"):
        ToyPotential().evaluate([Atoms("AuH", positions=[[0, 0, 0], [0, 0, 1.6]])])


def test_stress_of_a_molecule_is_refused() -> None:
    model = ToyPotential()
    with pytest.raises(DataError, match="stress was asked of frame 1, a molecule"):
        model(model.prepare([crystal(), molecule("H2O")]), stress=True)


def test_training_can_differentiate_forces() -> None:
    model = ToyPotential()
    prediction = model(model.prepare([molecule("H2O")]))
    (prediction.forces**2).sum().backward()
    assert model.depth.grad is not None and model.depth.grad.abs().sum() > 0


def test_inference_leaves_nothing_to_differentiate() -> None:
    model = ToyPotential()
    prediction = model.forward_batch(model.prepare([molecule("H2O")]))
    assert not prediction.energy.requires_grad and not prediction.forces.requires_grad


def test_works_under_no_grad() -> None:
    model = ToyPotential()
    batch = model.prepare([molecule("H2O")])
    with torch.no_grad():
        inside = model(batch, inference=True).forces
    torch.testing.assert_close(inside, model.forward_batch(batch).forces)
