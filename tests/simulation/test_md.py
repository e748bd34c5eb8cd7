import json

import h5py
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms

from sciten.errors import ConfigError, DataError, DivergenceError
from sciten.integrations.ase import SciTenCalculator
from sciten.simulation import NPT, NVE, Langevin, NoseHoover, Trajectory, run_md
from tests.toys import ToyPotential

POTENTIAL = ToyPotential((29,), length=2.4, width=2.0, cutoff=4.5)
ENSEMBLES = [NVE(), Langevin(300.0), NoseHoover(300.0), NPT(300.0, pressure=1.0)]


def copper(repeat: int = 1) -> Atoms:
    return bulk("Cu", a=3.3, cubic=True).repeat(repeat)


def test_velocity_verlet_conserves_energy_to_second_order():
    deviations = []
    for timestep, steps in ((4.0, 60), (2.0, 120)):
        calculator = SciTenCalculator(POTENTIAL)
        energies = []
        result = run_md(
            copper(), calculator, NVE(), steps=1, timestep=timestep, initial_temperature=300, seed=3
        )
        atoms = result.atoms
        for _ in range(steps):
            atoms = run_md(atoms, calculator, NVE(), steps=1, timestep=timestep).atoms
            energies.append(atoms.get_total_energy())
        deviations.append(np.ptp(energies))
    assert deviations[0] / deviations[1] == pytest.approx(4.0, rel=0.3)


@pytest.mark.parametrize("ensemble", [Langevin(500.0, friction=0.05), NoseHoover(500.0, time_constant=20.0)])
def test_thermostats_reach_their_temperature(ensemble, tmp_path):
    output = tmp_path / "run.h5"
    atoms = copper(2)
    calculator = Einstein(atoms.positions, stiffness=np.linspace(2.0, 6.0, len(atoms)))
    run_md(atoms, calculator, ensemble, steps=3000, timestep=2.0, initial_temperature=100, output=output)
    with Trajectory(output) as trajectory:
        temperatures = trajectory.observable("temperature")[100:]
    # 96 degrees of freedom over some ten correlation times: about two per cent of uncertainty.
    assert temperatures.mean() == pytest.approx(500.0, rel=0.08)


def test_the_barostat_lets_a_compressed_crystal_expand():
    atoms = bulk("Cu", a=3.2, cubic=True).repeat(2)
    free = run_md(atoms, POTENTIAL, NPT(100.0, pressure_time_constant=100.0), steps=150, timestep=2.0).atoms
    pressed = run_md(
        atoms, POTENTIAL, NPT(100.0, pressure=20.0, pressure_time_constant=100.0), steps=150, timestep=2.0
    ).atoms
    assert free.get_volume() > pressed.get_volume()
    assert free.get_volume() > 1.02 * atoms.get_volume()


@pytest.mark.parametrize("ensemble", ENSEMBLES, ids=lambda ensemble: type(ensemble).__name__)
def test_resumed_equals_uninterrupted_bit_for_bit(ensemble, tmp_path):
    options = {"timestep": 1.0, "initial_temperature": 300.0, "interval": 5, "seed": 7}
    whole = run_md(copper(), POTENTIAL, ensemble, steps=60, output=tmp_path / "whole.h5", **options)
    # Killed in the middle of an interval: what came after the last stored frame is done again.
    run_md(copper(), POTENTIAL, ensemble, steps=33, output=tmp_path / "parts.h5", **options)
    resumed = run_md(
        copper(), POTENTIAL, ensemble, steps=60, output=tmp_path / "parts.h5", resume=True, **options
    )
    np.testing.assert_array_equal(resumed.atoms.positions, whole.atoms.positions)
    np.testing.assert_array_equal(resumed.atoms.get_momenta(), whole.atoms.get_momenta())
    np.testing.assert_array_equal(resumed.atoms.cell.array, whole.atoms.cell.array)
    with Trajectory(tmp_path / "whole.h5") as one, Trajectory(tmp_path / "parts.h5") as other:
        assert list(one.steps) == list(other.steps) == list(range(0, 61, 5))
        for name in ("potential_energy", "kinetic_energy", "stress"):
            np.testing.assert_array_equal(one.observable(name), other.observable(name))
        for index in range(len(one)):
            np.testing.assert_array_equal(one[index].positions, other[index].positions)


def test_a_finished_run_can_be_made_longer(tmp_path):
    output = tmp_path / "run.h5"
    run_md(copper(), POTENTIAL, Langevin(300.0), steps=20, output=output, resume=True)
    result = run_md(copper(), POTENTIAL, Langevin(300.0), steps=40, output=output, resume=True)
    assert result.steps == 40
    with Trajectory(output) as trajectory:
        assert list(trajectory.steps) == [0, 10, 20, 30, 40]


def test_the_seed_decides_the_run():
    runs = [
        run_md(copper(), POTENTIAL, Langevin(300.0), steps=10, seed=seed).atoms.positions
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 1e-3


def test_given_velocities_are_kept_and_the_given_structure_is_not_changed():
    atoms = copper()
    atoms.set_velocities(np.full((4, 3), 0.01))
    before = atoms.copy()
    moved = run_md(atoms, POTENTIAL, NVE(), steps=10, initial_temperature=300).atoms
    np.testing.assert_allclose(moved.get_velocities().mean(axis=0), 0.01)
    np.testing.assert_allclose(
        moved.positions.mean(axis=0), before.positions.mean(axis=0) + 0.05 * units.fs, rtol=1e-9
    )
    assert atoms == before


def test_fixed_atoms_stay_with_langevin_and_are_refused_by_the_chains():
    atoms = copper(2)
    atoms.set_constraint(FixAtoms([0, 1]))
    moved = run_md(atoms, POTENTIAL, Langevin(300.0), steps=20).atoms
    np.testing.assert_array_equal(moved.positions[:2], atoms.positions[:2])
    for ensemble in (NoseHoover(300.0), NPT(300.0)):
        with pytest.raises(ConfigError, match="constraints"):
            run_md(atoms, POTENTIAL, ensemble, steps=1)


def test_a_trajectory_is_not_overwritten_by_accident(tmp_path):
    output = tmp_path / "run.h5"
    run_md(copper(), POTENTIAL, NVE(), steps=10, output=output)
    content = output.read_bytes()
    with pytest.raises(ConfigError, match="exists"):
        run_md(copper(), POTENTIAL, NVE(), steps=10, output=output)
    assert output.read_bytes() == content
    run_md(copper(), POTENTIAL, NVE(), steps=20, output=output, overwrite=True)
    with Trajectory(output) as trajectory:
        assert len(trajectory) == 3


def test_another_run_is_not_resumed(tmp_path):
    output = tmp_path / "run.h5"
    run_md(copper(), POTENTIAL, Langevin(300.0), steps=10, output=output)
    with pytest.raises(ConfigError, match="ensemble"):
        run_md(copper(), POTENTIAL, Langevin(310.0), steps=20, output=output, resume=True)
    with pytest.raises(ConfigError, match="timestep_fs"):
        run_md(copper(), POTENTIAL, Langevin(300.0), steps=20, timestep=1.0, output=output, resume=True)
    with pytest.raises(ConfigError, match="the model that began the run"):
        run_md(copper(), ToyPotential((29,)), Langevin(300.0), steps=20, output=output, resume=True)
    with pytest.raises(DataError, match="expected a trajectory of Cu32, got one of Cu4"):
        run_md(copper(2), POTENTIAL, Langevin(300.0), steps=20, output=output, resume=True)


class Einstein(Calculator):
    """Every atom on a spring of its own."""

    implemented_properties = ("energy", "forces")

    def __init__(self, anchors: np.ndarray, stiffness: np.ndarray):
        super().__init__()
        self.anchors = anchors
        self.stiffness = stiffness[:, None]

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, list(properties), list(system_changes))
        stretch = self.atoms.positions - self.anchors
        self.results = {
            "energy": 0.5 * float((self.stiffness * stretch**2).sum()),
            "forces": -self.stiffness * stretch,
        }


class Exploding(Calculator):
    """Pushes every atom away ever harder, until numbers end."""

    implemented_properties = ("energy", "forces")

    def __init__(self, energy: float = 0.0):
        super().__init__()
        self.energy = energy

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, list(properties), list(system_changes))
        self.results = {"energy": self.energy, "forces": 2.0 * self.atoms.positions}


def test_another_initial_structure_is_not_resumed(tmp_path):
    start = copper()
    run_md(start, POTENTIAL, NVE(), steps=4, output=tmp_path / "run.h5", interval=2)
    start.positions[0, 0] += 0.1
    with pytest.raises(ConfigError, match="initial_structure_sha256"):
        run_md(start, POTENTIAL, NVE(), steps=8, output=tmp_path / "run.h5", interval=2, resume=True)


def test_an_explosion_ends_the_run_and_keeps_what_was_stored(tmp_path):
    output = tmp_path / "run.h5"
    with pytest.raises(DivergenceError, match=r"step \d+ .*of H2O: expected at most 10000 K"):
        run_md(molecule("H2O"), Exploding(), NVE(), steps=10_000, interval=1, output=output)
    with Trajectory(output) as trajectory:
        assert len(trajectory) > 2
        assert np.isfinite(trajectory.observable("kinetic_energy")).all()


def test_an_energy_that_is_no_number_ends_the_run():
    with pytest.raises(DivergenceError, match="got nan eV"):
        run_md(molecule("H2O"), Exploding(np.nan), NVE(), steps=10)


@pytest.mark.filterwarnings("ignore:overflow|invalid:RuntimeWarning")
def test_a_collapsing_cell_ends_the_run():
    with pytest.raises(DivergenceError, match="volume"):
        run_md(copper(), POTENTIAL, NPT(50.0, pressure=-2000.0, pressure_time_constant=30.0), steps=2000)


def test_senseless_parameters_are_refused():
    for change in ({"steps": 0}, {"interval": 0}, {"timestep": -1.0}):
        with pytest.raises(ConfigError, match=next(iter(change))):
            run_md(copper(), POTENTIAL, NVE(), **{"steps": 1, **change})
    for build in (lambda: Langevin(-1.0), lambda: NoseHoover(300.0, 0.0), lambda: NPT(300.0, np.nan)):
        with pytest.raises(ConfigError):
            build()
    with pytest.raises(DataError, match="no atoms"):
        run_md(Atoms(), POTENTIAL, NVE(), steps=1)
    with pytest.raises(ConfigError, match="periodic along all three axes"):
        run_md(molecule("H2"), ToyPotential(), NPT(300.0), steps=1)


def test_the_run_is_described_in_the_file(tmp_path):
    output = tmp_path / "run.h5"
    run_md(copper(), POTENTIAL, NoseHoover(250.0), steps=1, output=output, seed=5)
    with h5py.File(output) as file:
        run = json.loads(file["parameters/sciten"].attrs["run"])
    assert run == {
        "ensemble": {"name": "NoseHoover", "temperature": 250.0, "time_constant": 50.0},
        "timestep_fs": 0.5,
        "interval": 10,
        "seed": 5,
        "initial_structure_sha256": run["initial_structure_sha256"],
    }
