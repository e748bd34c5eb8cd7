"""Size extensivity: twice the system has twice the energy."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from sciten.simulation.verify.result import CheckResult, judged
from sciten.simulation.verify.subject import Subject

_SEPARATION = 100.0


def extensivity(subject: Subject, structures: Sequence[Atoms], rng: np.random.Generator) -> list[CheckResult]:
    """A molecule and its copy 100 Å away; a crystal and its supercell, doubled along one axis."""
    energies, forces, scale = [], [], 0.0
    for atoms in structures:
        doubled = _supercell(atoms, rng) if atoms.pbc.any() else _pair(atoms)
        one, two = subject.evaluate(atoms), subject.evaluate(doubled)
        scale = max(scale, abs(one.energy) / len(atoms))
        energies.append(abs(two.energy - 2 * one.energy) / len(doubled))
        forces.append(float(np.abs(two.forces - np.tile(one.forces, (2, 1))).max()))
    energy_tolerance = max(1e-5, 8 * subject.epsilon * scale) if subject.single else 1e-8
    explanation = f"two copies {_SEPARATION:g} Å apart, and supercells, of {len(structures)} structures"
    return [
        judged("extensivity: energy", float(np.max(energies)), energy_tolerance, "eV/atom", explanation),
        judged(
            "extensivity: forces",
            float(np.max(forces)),
            1e-3 if subject.single else 1e-7,
            "eV/Å",
            explanation,
        ),
    ]


def _pair(atoms: Atoms) -> Atoms:
    other = atoms.copy()
    other.positions = atoms.positions + np.array([np.ptp(atoms.positions[:, 0]) + _SEPARATION, 0.0, 0.0])
    return atoms + other


def _supercell(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    repeats = [1, 1, 1]
    repeats[int(rng.choice(np.flatnonzero(atoms.pbc)))] = 2
    return atoms.repeat(repeats)
