"""Conservation of energy in molecular dynamics."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from ase import Atoms, units

from sciten.simulation.ensembles import NVE
from sciten.simulation.velocities import draw_velocities
from sciten.simulation.verify.result import CheckResult, Status, judged, not_applicable
from sciten.simulation.verify.subject import Subject

_TIMESTEP = 0.5  # fs
_TEMPERATURE = 300.0  # K
_TOLERANCE = 0.05  # meV per atom and ps
_EQUILIBRATION = 200  # steps
_LENGTHS = (2000, 4000, 8000, 16000)  # steps
_BLOCKS = 20
_HOTTEST = 5000.0  # K


@dataclass(frozen=True)
class Drift:
    """A linear fit of energy against time: slope and its standard error, meV per atom and ps."""

    slope: float
    error: float


def nve_drift(subject: Subject, structures: Sequence[Atoms], rng: np.random.Generator) -> list[CheckResult]:
    """Drift of the energy at constant energy, at 300 K with steps of 0.5 fs.

    Velocity Verlet conserves not the energy but a nearby "shadow" energy (Hairer, Lubich and Wanner, Acta
    Numerica 12, 399 (2003)), about which the energy oscillates. A drift is the same in both, but in the
    shadow energy it is not hidden by the oscillation, so the shadow energy, to second order in the time
    step, is what is fitted. The run is doubled, up to 8 ps, as long as two standard errors of the slope
    leave the verdict open.
    """
    name = "NVE drift"
    several = [atoms for atoms in structures if len(atoms) > 1]
    if not several:
        return [not_applicable(name, "a single atom has no dynamics")]
    atoms = min(several, key=lambda structure: (bool(structure.pbc.any()), len(structure)))
    atoms = _relaxed(subject, atoms)
    energies = _shadow_energies(subject, atoms, rng)
    shadow: list[float] = []
    temperatures: list[float] = []
    for length in _LENGTHS:
        for energy, temperature in islice(energies, length - len(shadow)):
            shadow.append(energy)
            temperatures.append(temperature)
            if not (np.isfinite(energy) and temperature < _HOTTEST):
                reason = f"{atoms.get_chemical_formula()} exploded after {len(shadow) * _TIMESTEP:g} fs"
                return [CheckResult(name, Status.FAILED, None, _TOLERANCE, "meV/atom/ps", reason)]
        drift = linear_drift(np.array(shadow) / len(atoms) * 1e3, _TIMESTEP * 1e-3)
        if abs(abs(drift.slope) - _TOLERANCE) > 2 * drift.error:
            break
    explanation = (
        f"{atoms.get_chemical_formula()}, {len(shadow) * _TIMESTEP * 1e-3:g} ps at {np.mean(temperatures):.0f} K, "
        f"slope {drift.slope:.1g} ± {2 * drift.error:.1g}"
    )
    return [judged(name, abs(drift.slope), _TOLERANCE, "meV/atom/ps", explanation)]


def linear_drift(values: np.ndarray, spacing: float) -> Drift:
    """Slope of a correlated series by a fit to block means, whose scatter gives the standard error.

    Args:
        values: `[n]`, equally spaced.
        spacing: between two of them; the slope is per unit of it.
    """
    blocks = values[: len(values) // _BLOCKS * _BLOCKS].reshape(_BLOCKS, -1)
    times = (np.arange(_BLOCKS) + 0.5) * blocks.shape[1] * spacing
    centred = times - times.mean()
    means = blocks.mean(axis=1)
    slope = float(centred @ means / (centred @ centred))
    residuals = means - means.mean() - slope * centred
    error = float(np.sqrt((residuals @ residuals) / (_BLOCKS - 2) / (centred @ centred)))
    return Drift(slope, error)


def _relaxed(subject: Subject, atoms: Atoms) -> Atoms:
    from ase.optimize import FIRE

    relaxed = atoms.copy()
    relaxed.calc = subject.calculator
    FIRE(relaxed, logfile=None).run(fmax=0.05, steps=300)
    return relaxed


def _shadow_energies(
    subject: Subject, atoms: Atoms, rng: np.random.Generator
) -> Iterator[tuple[float, float]]:
    """The shadow energy (eV) and temperature (K), step after step.

    They begin after 0.1 ps in which the velocities are scaled to 300 K now and then. To second order in the
    step h it is E - h²/12 v·dF/dt - h²/24 Σ F²/m, with dF/dt from the forces one step before and after; so
    each value comes one step late.
    """
    from ase.md.velocitydistribution import Stationary, ZeroRotation

    draw_velocities(atoms, _TEMPERATURE, rng)
    integrator = NVE().integrator(atoms, _TIMESTEP, rng)
    step = _TIMESTEP * units.fs
    masses = atoms.get_masses()[:, None]
    for number in range(_EQUILIBRATION):
        if number % 20 == 0:
            Stationary(atoms)
            if not atoms.pbc.any():
                ZeroRotation(atoms)
            atoms.set_momenta(atoms.get_momenta() * np.sqrt(_TEMPERATURE / atoms.get_temperature()))
        integrator.step()
    before = atoms.get_forces()
    integrator.step()
    forces, velocities, energy = atoms.get_forces(), atoms.get_velocities(), atoms.get_total_energy()
    while True:
        temperature = atoms.get_temperature()
        integrator.step()
        after = atoms.get_forces()
        change = (after - before) / (2 * step)
        correction = float((velocities * change).sum()) / 12 + float((forces**2 / masses).sum()) / 24
        yield energy - step**2 * correction, temperature
        before, forces = forces, after
        velocities, energy = atoms.get_velocities(), atoms.get_total_energy()
