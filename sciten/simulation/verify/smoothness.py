"""Smoothness: energy and forces must not jump when a neighbour crosses the cutoff, or anywhere on the way."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii

from sciten.simulation.verify.result import CheckResult, Deviation, judged, worst
from sciten.simulation.verify.subject import Subject

_MOST_PAIRS = 6
_FARTHEST = 12.0  # Å, searched where the cutoff is not known
_POINTS = 16
_CANDIDATES = 2


@dataclass(frozen=True)
class Path:
    """One atom drawn away from others along a line.

    Attributes:
        label: in words.
        others: the atoms that stay.
        number: atomic number of the atom that moves.
        origin: `[3]`, Å, from where the distance counts.
        axis: `[3]`, unit vector.
        start, end: distances, Å.
    """

    label: str
    others: Atoms
    number: int
    origin: np.ndarray
    axis: np.ndarray
    start: float
    end: float

    def at(self, distance: float) -> Atoms:
        """The structure with the moving atom, its last, at a distance (Å)."""
        return self.others + Atoms([self.number], positions=[self.origin + distance * self.axis])


@dataclass(frozen=True)
class Point:
    """Energy (eV) and forces `[n, 3]` (eV/Å) at one distance (Å)."""

    distance: float
    energy: float
    forces: np.ndarray


def smoothness(subject: Subject, structures: Sequence[Atoms], rng: np.random.Generator) -> list[CheckResult]:
    """Scan atoms across the cutoff, then halve the most suspicious intervals down to a vanishing width.

    A change that is left over between two points that nearly coincide is a jump. Pairs of atoms are moved
    apart, and a probe atom is drawn away from each structure. Where the cutoff is unknown, all distances to
    12 Å are searched.
    """
    width = 1e-5 if subject.single else 1e-8
    scale = max(abs(subject.evaluate(atoms).energy) for atoms in structures)
    energy_tolerance = max(5e-3, 8 * subject.epsilon * scale) if subject.single else 1e-6
    force_tolerance = 5e-2 if subject.single else 1e-4
    energies, forces = [], []
    for path in _paths(subject, structures, rng):
        for start, end in _windows(path):
            points = [_point(subject, path, float(x)) for x in np.linspace(start, end, _POINTS)]
            energies += _jumps(subject, path, points, _energy_change, energy_tolerance, width)
            forces += _jumps(subject, path, points, _force_change, force_tolerance, width)
    energy, force = worst(energies), worst(forces)
    return [
        judged("smoothness: energy", energy.size, energy_tolerance, "eV", f"largest jump: {energy.where}"),
        judged("smoothness: forces", force.size, force_tolerance, "eV/Å", f"largest jump: {force.where}"),
    ]


def _paths(subject: Subject, structures: Sequence[Atoms], rng: np.random.Generator) -> Iterator[Path]:
    present = sorted({int(number) for atoms in structures for number in atoms.numbers})
    far = _FARTHEST if subject.cutoff is None else subject.cutoff
    for first, second in list(combinations_with_replacement(present, 2))[:_MOST_PAIRS]:
        bond = float(covalent_radii[first] + covalent_radii[second])
        label = f"{chemical_symbols[first]}-{chemical_symbols[second]}"
        other = Atoms([first], positions=np.zeros((1, 3)))
        yield Path(label, other, second, np.zeros(3), _unit(rng), min(1.1 * bond, far - 1.0), far + 0.1)
    for atoms in structures:
        if not atoms.pbc.any():
            # Drawn outwards from the outermost atom, the probe passes the cutoff of one atom after the other.
            axis = _unit(rng)
            origin = atoms.positions[int(np.argmax(atoms.positions @ axis))]
            label = f"a probe beside {atoms.get_chemical_formula()}"
            number = int(rng.choice(atoms.numbers))
            yield Path(label, atoms, number, origin, axis, max(far - 1.0, 1.5), far + 0.1)


def _unit(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def _windows(path: Path) -> list[tuple[float, float]]:
    # The last stretch, where a cutoff is crossed, is searched apart from the steep ones before it.
    edges = np.linspace(path.end - 0.6, path.start, max(2, int((path.end - path.start) // 1.5) + 1))
    windows = [(float(low), float(high)) for high, low in pairwise(edges) if high > low]
    return [(path.end - 0.6, path.end), *windows]


def _point(subject: Subject, path: Path, distance: float) -> Point:
    said = subject.evaluate(path.at(distance))
    return Point(distance, said.energy, said.forces)


def _jumps(
    subject: Subject,
    path: Path,
    points: Sequence[Point],
    change: Callable[[Path, Point, Point], float],
    tolerance: float,
    width: float,
) -> list[Deviation]:
    # An interval with a jump changes unlike its neighbours. What is left when it has been halved often enough
    # is the jump; once the change is well below the tolerance, there is none worth looking for.
    changes = np.array([change(path, a, b) for a, b in pairwise(points)])
    padded = np.pad(changes, 1, mode="edge")
    outlying = np.abs(changes - 0.5 * (padded[:-2] + padded[2:]))
    jumps = []
    for index in np.argsort(outlying)[::-1][:_CANDIDATES]:
        a, b = points[index], points[index + 1]
        while b.distance - a.distance > width and change(path, a, b) > 0.1 * tolerance:
            middle = _point(subject, path, 0.5 * (a.distance + b.distance))
            a, b = (a, middle) if change(path, a, middle) > change(path, middle, b) else (middle, b)
        jumps.append(Deviation(change(path, a, b), f"{path.label} at {a.distance:.4f} Å"))
    return jumps


def _energy_change(path: Path, a: Point, b: Point) -> float:
    # Less the work of the force on the moving atom: at a steep wall, that is not a jump.
    work = 0.5 * (b.distance - a.distance) * float((a.forces[-1] + b.forces[-1]) @ path.axis)
    return abs(b.energy - a.energy + work)


def _force_change(path: Path, a: Point, b: Point) -> float:
    return float(np.abs(b.forces - a.forces).max())
