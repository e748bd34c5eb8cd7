import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from sciten.integrations.ase import SciTenCalculator
from tests.potentials.models import small
from tests.toys import ToyPotential

torch_sim = pytest.importorskip(
    "torch_sim", reason="torch-sim is not installed: pip install 'sciten[torch-sim]'"
)

POTENTIAL = ToyPotential((14, 26), length=2.4, width=2.0, cutoff=4.5)


def crystals():
    silicon, iron = bulk("Si", cubic=True), bulk("Fe", cubic=True).repeat((2, 1, 1))
    for atoms in (silicon, iron):
        atoms.rattle(0.05, seed=3)
    return [silicon, iron]


def state_of(structures, dtype=torch.float64):
    return torch_sim.io.atoms_to_state(structures, torch.device("cpu"), dtype)


def test_a_batch_of_crystals_agrees_with_ase():
    from sciten.integrations.torch_sim import SciTenModel

    structures = crystals()
    results = SciTenModel(POTENTIAL)(state_of(structures))
    start = 0
    for i, atoms in enumerate(structures):
        atoms.calc = SciTenCalculator(POTENTIAL)
        assert float(results["energy"][i]) == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
        forces = results["forces"][start : start + len(atoms)]
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-12)
        np.testing.assert_allclose(results["stress"][i], atoms.get_stress(voigt=False), atol=1e-13)
        start += len(atoms)


def test_molecules_have_no_stress():
    from sciten.integrations.torch_sim import SciTenModel

    potential = ToyPotential((1, 8))
    water, hydrogen = molecule("H2O"), molecule("H2")
    for atoms in (water, hydrogen):
        atoms.center(vacuum=4.0)
        atoms.pbc = False
    results = SciTenModel(potential)(state_of([water, hydrogen], torch.float32))
    assert results["energy"].dtype == torch.float32
    expected = [entry["energy"] for entry in potential.evaluate([water, hydrogen])]
    np.testing.assert_allclose(results["energy"], expected, rtol=1e-5)
    assert not results["stress"].any()


def test_charge_and_spin_are_those_of_the_state():
    from sciten.integrations.torch_sim import SciTenModel

    potential = small("TensorNet", charge_coupling=5.0, spin_coupling=3.0, dtype=torch.float64)
    structures = [molecule("H2O"), molecule("OH")]
    state = state_of(structures)
    neutral = SciTenModel(potential)(state)["energy"]
    np.testing.assert_allclose(neutral, [r["energy"] for r in potential.evaluate(structures)], rtol=1e-12)
    # Versions of torch-sim that know of a state's charge and spin have them as such tensors.
    object.__setattr__(state, "charge", torch.tensor([1.0, 0.0]))
    object.__setattr__(state, "spin", torch.tensor([0.0, 2.0]))
    structures[0].info, structures[1].info = {"charge": 1.0}, {"spin": 2.0}
    charged = SciTenModel(potential)(state)["energy"]
    np.testing.assert_allclose(charged, [r["energy"] for r in potential.evaluate(structures)], rtol=1e-12)
    assert ((charged - neutral).abs() > 1e-6).all()


def test_torch_sim_accepts_the_model():
    from torch_sim.models.interface import validate_model_outputs

    from sciten.integrations.torch_sim import SciTenModel

    validate_model_outputs(SciTenModel(POTENTIAL), torch.device("cpu"), torch.float64)


def test_torch_sim_relaxes_with_it():
    from sciten.integrations.torch_sim import SciTenModel

    structures = crystals()
    final = torch_sim.optimize(
        system=structures,
        model=SciTenModel(POTENTIAL),
        optimizer=torch_sim.Optimizer.fire if hasattr(torch_sim, "Optimizer") else torch_sim.optimizers.fire,
        max_steps=300,
    )
    before = SciTenModel(POTENTIAL)(state_of(structures))
    after = SciTenModel(POTENTIAL)(final)
    assert (after["energy"] < before["energy"]).all()
    assert float(after["forces"].abs().max()) < 0.3 * float(before["forces"].abs().max())
