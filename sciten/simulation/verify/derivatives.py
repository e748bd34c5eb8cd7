"""Forces and stress against finite differences of the energy."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from ase import Atoms

from sciten.simulation.verify.result import CheckResult, Deviation, judged, not_applicable, worst
from sciten.simulation.verify.subject import Subject

_ATOMS_TESTED = 6
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_AXES = "xyz"


def forces(subject: Subject, structures: Sequence[Atoms], rng: np.random.Generator) -> list[CheckResult]:
    """Every component on a few atoms, and one direction in which all atoms move."""
    scale = max(abs(subject.evaluate(atoms).energy) for atoms in structures)
    # In single precision, rounding (scale * epsilon / step) is weighed against truncation (of order step^4). In double,
    # the step is small because a neighbour may cross a cutoff within it: forces may have a kink there (TensorNet's
    # cosine cutoff), which leaves an error of first order.
    step = float(np.clip(0.25 * (subject.epsilon * scale) ** 0.2, 0.01, 0.05)) if subject.single else 5e-4
    deviations = []
    for atoms in structures:
        claimed = subject.evaluate(atoms)
        for label, direction in _directions(atoms, rng):
            slope = derivative(partial(_energy_moved, subject, atoms, direction), step)
            size = abs(slope + float((claimed.forces * direction).sum()))
            deviations.append(Deviation(size, f"{label} of {atoms.get_chemical_formula()}"))
    tolerance = max(5e-3, 8 * subject.epsilon * scale / step) if subject.single else 1e-5
    largest = worst(deviations)
    explanation = (
        f"five-point differences of the energy, step {step:.2g} Å; largest deviation: {largest.where}"
    )
    return [judged("forces against energy", largest.size, tolerance, "eV/Å", explanation)]


def stress(subject: Subject, structures: Sequence[Atoms], rng: np.random.Generator) -> list[CheckResult]:
    """All six components, on structures strained so that none vanishes by symmetry or relaxation."""
    name = "stress against energy"
    step = 5e-3 if subject.single else 5e-4
    deviations, noise = [], 0.0
    for atoms in structures:
        if not atoms.pbc.all():
            continue
        base = _strained(atoms, _symmetric(rng.uniform(-0.02, 0.02, size=6)))
        claimed = subject.evaluate(base)
        if claimed.stress is None:
            continue
        volume = base.get_volume()
        noise = max(noise, subject.epsilon * abs(claimed.energy) / (step * volume))
        for i, j in _VOIGT:
            strain = np.zeros((3, 3))
            strain[i, j] = strain[j, i] = 1.0
            slope = derivative(partial(_energy_strained, subject, base, strain), step)
            size = abs(slope / (strain.sum() * volume) - claimed.stress[i, j])
            deviations.append(Deviation(size, f"{_AXES[i]}{_AXES[j]} of {base.get_chemical_formula()}"))
    if not deviations:
        return [
            not_applicable(name, "no structure is periodic along all axes, or the calculator gives no stress")
        ]
    tolerance = max(1e-4, 8 * noise) if subject.single else 1e-6
    largest = worst(deviations)
    explanation = f"five-point differences of the energy, strain {step}; largest deviation: {largest.where}"
    return [judged(name, largest.size, tolerance, "eV/Å³", explanation)]


def derivative(function: Callable[[float], float], step: float) -> float:
    """The derivative at zero by the five-point stencil; its error is of fourth order in the step."""
    near = function(step) - function(-step)
    far = function(2 * step) - function(-2 * step)
    return (8 * near - far) / (12 * step)


def _directions(atoms: Atoms, rng: np.random.Generator) -> list[tuple[str, np.ndarray]]:
    count = len(atoms)
    collective = rng.normal(size=(count, 3))
    directions = [("all atoms", collective / np.linalg.norm(collective))]
    for atom in rng.choice(count, size=min(count, _ATOMS_TESTED), replace=False):
        for axis in range(3):
            single = np.zeros((count, 3))
            single[atom, axis] = 1.0
            directions.append((f"atom {atom}, {_AXES[axis]},", single))
    return directions


def _energy_moved(subject: Subject, atoms: Atoms, direction: np.ndarray, distance: float) -> float:
    moved = atoms.copy()
    moved.positions = atoms.positions + distance * direction
    return subject.evaluate(moved).energy


def _energy_strained(subject: Subject, atoms: Atoms, strain: np.ndarray, amount: float) -> float:
    return subject.evaluate(_strained(atoms, amount * strain)).energy


def _strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    strained = atoms.copy()
    stretch = np.eye(3) + strain
    strained.set_cell(atoms.cell.array @ stretch)
    strained.positions = atoms.positions @ stretch
    return strained


def _symmetric(voigt: np.ndarray) -> np.ndarray:
    matrix = np.zeros((3, 3))
    for (i, j), value in zip(_VOIGT, voigt, strict=True):
        matrix[i, j] = matrix[j, i] = value
    return matrix
