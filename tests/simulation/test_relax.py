import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.optimize import FIRE

from sciten.errors import ConfigError, DataError
from sciten.simulation import relax
from tests.toys import ToyPotential


def test_a_dimer_relaxes_to_the_minimum_of_the_pair_potential():
    # So far out, the cutoff bends nothing.
    potential = ToyPotential((29,), length=1.5, width=3.0, cutoff=40.0)
    start = Atoms("Cu2", positions=[[0, 0, 0], [1.65, 0, 0]])
    outcome = relax(start, potential, fmax=1e-4)
    assert outcome.converged
    assert outcome.atoms.get_distance(0, 1) == pytest.approx(1.5, abs=1e-3)
    assert start.get_distance(0, 1) == pytest.approx(1.65)


def test_the_cell_relaxes_to_zero_stress_or_to_the_pressure():
    start = bulk("Cu", a=3.8, cubic=True)
    free = relax(start, EMT(), cell=True, fmax=1e-4, optimizer=FIRE)
    assert free.converged
    np.testing.assert_allclose(free.atoms.get_stress(), 0, atol=1e-4)
    pressed = relax(start, EMT(), cell=True, fmax=1e-4, pressure=10.0, optimizer=FIRE)
    np.testing.assert_allclose(pressed.atoms.get_stress()[:3] * 160.21766, -10.0, rtol=1e-2)


def test_not_converging_is_an_outcome():
    outcome = relax(molecule("C2H6"), ToyPotential(), fmax=1e-6, max_steps=3)
    assert not outcome.converged
    assert outcome.steps == 3
    assert outcome.fmax > 1e-6


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="cell"):
        relax(molecule("H2O"), ToyPotential(), cell=True)
    with pytest.raises(ConfigError, match="fmax"):
        relax(molecule("H2O"), ToyPotential(), fmax=0.0)
    with pytest.raises(DataError, match="no atoms"):
        relax(Atoms(), ToyPotential())
