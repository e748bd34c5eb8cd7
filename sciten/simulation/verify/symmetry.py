"""Rotation, reflection, translation, permutation: the energy must stay, forces and stress must follow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from sciten.simulation.verify.result import CheckResult, judged, not_applicable
from sciten.simulation.verify.subject import Subject


@dataclass(frozen=True)
class Image:
    """A structure moved by a symmetry.

    Attributes:
        atoms: the moved structure.
        matrix: `[3, 3]`, by which vectors turn: `v' = matrix v`.
        order: `[n]`, which atom of the original each atom of the image is.
    """

    atoms: Atoms
    matrix: np.ndarray
    order: np.ndarray


Symmetry = Callable[[Atoms, np.random.Generator], Image]


def rotation(subject: Subject, structures: Sequence[Atoms], rng: np.random.Generator) -> list[CheckResult]:
    """A random rotation of atoms and cell."""
    return _invariance("rotation", _rotated, subject, structures, rng)


def reflection(subject: Subject, structures: Sequence[Atoms], rng: np.random.Generator) -> list[CheckResult]:
    """A reflection at a random plane: unless made for it, the potential must not tell left from right."""
    if subject.chiral:
        return [not_applicable("reflection", "the potential is made to tell mirror images apart")]
    return _invariance("reflection", _reflected, subject, structures, rng)


def translation(subject: Subject, structures: Sequence[Atoms], rng: np.random.Generator) -> list[CheckResult]:
    """A random shift of all atoms, and of single atoms by lattice vectors."""
    return _invariance("translation", _translated, subject, structures, rng)


def permutation(subject: Subject, structures: Sequence[Atoms], rng: np.random.Generator) -> list[CheckResult]:
    """The atoms in another order."""
    return _invariance("permutation", _permuted, subject, structures, rng)


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """A proper rotation matrix `[3, 3]`, uniformly distributed."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def _rotated(atoms: Atoms, rng: np.random.Generator) -> Image:
    return _turned(atoms, random_rotation(rng))


def _reflected(atoms: Atoms, rng: np.random.Generator) -> Image:
    normal = rng.normal(size=3)
    normal /= np.linalg.norm(normal)
    return _turned(atoms, np.eye(3) - 2 * np.outer(normal, normal))


def _turned(atoms: Atoms, matrix: np.ndarray) -> Image:
    image = atoms.copy()
    image.set_cell(atoms.cell.array @ matrix.T)
    image.positions = atoms.positions @ matrix.T
    return Image(image, matrix, np.arange(len(atoms)))


def _translated(atoms: Atoms, rng: np.random.Generator) -> Image:
    image = atoms.copy()
    jumps = rng.integers(-1, 2, size=(len(atoms), 3)) * atoms.pbc
    image.positions = atoms.positions + rng.uniform(-5, 5, size=3) + jumps @ atoms.cell.array
    return Image(image, np.eye(3), np.arange(len(atoms)))


def _permuted(atoms: Atoms, rng: np.random.Generator) -> Image:
    order = rng.permutation(len(atoms))
    return Image(atoms[order], np.eye(3), order)


def _invariance(
    name: str, symmetry: Symmetry, subject: Subject, structures: Sequence[Atoms], rng: np.random.Generator
) -> list[CheckResult]:
    deviations: dict[str, list[float]] = {"energy": [], "forces": [], "stress": []}
    largest_energy = 0.0
    for atoms in structures:
        image = symmetry(atoms, rng)
        before, after = subject.evaluate(atoms), subject.evaluate(image.atoms)
        largest_energy = max(largest_energy, abs(before.energy) / len(atoms))
        deviations["energy"].append(abs(after.energy - before.energy) / len(atoms))
        expected = before.forces[image.order] @ image.matrix.T
        deviations["forces"].append(float(np.abs(after.forces - expected).max()))
        if before.stress is not None and after.stress is not None:
            turned = image.matrix @ before.stress @ image.matrix.T
            deviations["stress"].append(float(np.abs(after.stress - turned).max()))
    explanation = f"largest change over {len(structures)} structures"
    tolerances = {
        "energy": (max(1e-5, 8 * subject.epsilon * largest_energy) if subject.single else 1e-8, "eV/atom"),
        "forces": (1e-3 if subject.single else 1e-7, "eV/Å"),
        "stress": (1e-4 if subject.single else 1e-8, "eV/Å³"),
    }
    return [
        judged(f"{name}: {quantity}", _worst(values), *tolerances[quantity], explanation)
        if values
        else not_applicable(f"{name}: {quantity}", "no structure has a stress")
        for quantity, values in deviations.items()
    ]


def _worst(values: Sequence[float]) -> float:
    # np.max, unlike max, lets a NaN through.
    return float(np.max(values))
