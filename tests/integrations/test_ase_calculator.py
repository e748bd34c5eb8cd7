import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.md.verlet import VelocityVerlet

from sciten.errors import ConfigError, DataError, ModelError
from sciten.integrations.ase import SciTenCalculator
from sciten.potentials import POTENTIALS, save_potential
from sciten.simulation.velocities import draw_velocities
from tests.potentials.models import small
from tests.toys import ToyPotential


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat((2, 2, 1))
    atoms.rattle(0.05, seed=1)
    return atoms


def copper_potential(**arguments) -> ToyPotential:
    return ToyPotential((29,), length=2.5, width=2.0, cutoff=4.5, **arguments)


def test_results_are_those_of_the_potential():
    potential = copper_potential()
    atoms = copper()
    (expected,) = potential.evaluate([atoms])
    atoms.calc = SciTenCalculator(potential)
    assert atoms.get_potential_energy() == pytest.approx(expected["energy"], rel=1e-14)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    assert atoms.get_potential_energies().sum() == pytest.approx(expected["energy"], rel=1e-14)
    np.testing.assert_allclose(atoms.get_forces(), expected["forces"], atol=1e-13)
    np.testing.assert_allclose(atoms.get_stress(), expected["stress"], atol=1e-15)


def test_stress_is_the_strain_derivative():
    atoms = copper()
    calculator = SciTenCalculator(copper_potential())
    atoms.calc = calculator
    for component, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        energies = []
        for amount in (1e-5, -1e-5):
            strain = np.eye(3)
            strain[i, j] += 0.5 * amount
            strain[j, i] += 0.5 * amount
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(calculator.get_potential_energy(strained))
        numerical = (energies[0] - energies[1]) / (2e-5 * atoms.get_volume())
        assert atoms.get_stress()[component] == pytest.approx(numerical, abs=1e-8)


def test_a_simulation_reuses_lists_and_gets_the_energies_of_fresh_ones():
    potential = copper_potential()
    calculator = SciTenCalculator(potential, skin=0.5)
    atoms = copper()
    atoms.calc = calculator
    draw_velocities(atoms, 900, np.random.default_rng(0))
    integrator = VelocityVerlet(atoms, 2.0 * units.fs)
    for _ in range(100):
        integrator.step()
        (fresh,) = potential.evaluate([atoms])
        assert atoms.get_potential_energy() == pytest.approx(fresh["energy"], rel=1e-14)
    assert 2 <= calculator.list_builds <= 25


def test_a_change_of_cell_or_elements_is_noticed():
    potential = ToyPotential((1, 6), cutoff=3.0)
    calculator = SciTenCalculator(potential)
    atoms = Atoms("C2H2", positions=np.diag([1.0, 1.2, 1.4, 0.0])[:, :3] * 1.3, cell=5 * np.eye(3), pbc=True)
    for change in (
        lambda: None,
        lambda: atoms.set_atomic_numbers([1, 6, 6, 1]),
        lambda: atoms.set_cell(3.2 * np.eye(3)),
        lambda: atoms.set_pbc([True, False, False]),
    ):
        change()
        assert calculator.get_potential_energy(atoms) == pytest.approx(
            potential.evaluate([atoms])[0]["energy"], rel=1e-14
        )


def test_a_committee_gives_mean_and_spread():
    members = [copper_potential(depth=depth) for depth in (0.4, 0.5, 0.9)]
    atoms = copper()
    each = [member.evaluate([atoms])[0] for member in members]
    atoms.calc = SciTenCalculator(members)
    for name, value in (
        ("energy", atoms.get_potential_energy()),
        ("forces", atoms.get_forces()),
        ("stress", atoms.get_stress()),
    ):
        values = np.stack([entry[name] for entry in each])
        np.testing.assert_allclose(value, values.mean(axis=0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(
            atoms.calc.results[f"{name}_std"], values.std(axis=0), rtol=1e-12, atol=1e-12
        )
    assert atoms.calc.list_builds == 1


def test_members_may_have_different_cutoffs():
    members = [ToyPotential(cutoff=3.0), ToyPotential(cutoff=4.0)]
    atoms = molecule("C2H6")
    expected = np.mean([member.evaluate([atoms])[0]["energy"] for member in members])
    assert SciTenCalculator(members).get_potential_energy(atoms) == pytest.approx(expected, rel=1e-14)


def test_another_precision_is_a_copy():
    potential = copper_potential()
    calculator = SciTenCalculator(potential, dtype=torch.float32)
    assert calculator.potentials[0].dtype == torch.float32
    assert calculator.potentials[0].isolated_atom_energies.dtype == torch.float64
    assert potential.dtype == torch.float64
    energy = calculator.get_potential_energy(copper())
    assert energy == pytest.approx(potential.evaluate([copper()])[0]["energy"], rel=1e-6)


@pytest.mark.parametrize("kind", POTENTIALS)
def test_a_folder_is_a_model_and_so_is_a_training_output(kind, tmp_path):
    model = small(kind, cutoff=3.0)
    save_potential(model, tmp_path / "model")
    atoms = molecule("H2O")
    energies = [SciTenCalculator(path).get_potential_energy(atoms) for path in (tmp_path, tmp_path / "model")]
    assert energies[0] == energies[1] == model.evaluate([atoms])[0]["energy"]


def test_charge_and_spin_are_those_of_the_structure():
    model = small("TensorNet", charge_coupling=5.0, spin_coupling=3.0, dtype=torch.float64)
    atoms = molecule("H2O")
    atoms.calc = SciTenCalculator(model)
    energies = set()
    for info in ({}, {"charge": 1}, {"charge": -1, "spin": 2}, {"spin": 3}):
        atoms.info = info  # the same positions: what ASE has kept of another state must not come back
        energies.add(atoms.get_potential_energy())
        assert atoms.get_potential_energy() == pytest.approx(model.evaluate([atoms])[0]["energy"], rel=1e-14)
    assert len(energies) == 4


def test_an_isolated_atom_has_its_own_energy():
    potential = ToyPotential((1, 6), isolated_atom_energies=[-13.0, -1000.0])
    atoms = Atoms("C", calculator=SciTenCalculator(potential))
    assert atoms.get_potential_energy() == -1000.0
    np.testing.assert_array_equal(atoms.get_forces(), np.zeros((1, 3)))


def test_stress_of_a_molecule_is_refused_and_read_by_ase_as_not_implemented():
    atoms = molecule("H2O")
    atoms.calc = SciTenCalculator(ToyPotential())
    with pytest.raises(DataError, match="stress was asked of H2O") as caught:
        atoms.get_stress()
    assert isinstance(caught.value, PropertyNotImplementedError)
    atoms.get_forces()


def test_mistakes_are_named():
    calculator = SciTenCalculator(ToyPotential((1, 6)))
    with pytest.raises(ModelError, match="has O, the model knows only H, C"):
        calculator.get_potential_energy(molecule("H2O"))
    with pytest.raises(DataError, match="no atoms"):
        calculator.get_potential_energy(Atoms())
    with pytest.raises(ConfigError, match="empty list"):
        SciTenCalculator([])
    with pytest.raises(DataError, match="without a cell"):
        calculator.get_potential_energy(Atoms("H", pbc=True))
