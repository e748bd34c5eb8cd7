"""Guesses that a dataset is in other units than Å, eV, eV/Å and eV/Å³, from what atoms are like.

Each check compares a number that hardly depends on the material (a bond length in covalent radii, the force
on a stretched bond, the total energy of all electrons, ...) with its usual range. They are warnings, never
errors: an unusual material may set one off. They look at a sample, the first frames of each configuration
type.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from sciten.datasets.graphs import neighbor_list
from sciten.datasets.structure import Structure

_FRAMES_PER_TYPE = 32
_SAMPLE_ATOMS = 50_000
_HARTREE = 27.211386
_BOND_SEARCH = 8.0  # Å; more than any first neighbour distance, even when Bohr are taken for Å

# For each frame, by its identity: the distances of `_first_neighbors`.
_Bonds = dict[int, tuple[np.ndarray, np.ndarray]]


@dataclass
class UnitSample:
    """The frames that the checks look at."""

    groups: dict[tuple[str, bytes, bytes], list[Structure]] = field(default_factory=dict)
    _taken: dict[str, int] = field(default_factory=dict)
    _atoms: int = 0

    def add(self, structure: Structure) -> None:
        """Take the frame if the sample still needs it."""
        taken = self._taken.get(structure.config_type, 0)
        if taken >= _FRAMES_PER_TYPE or self._atoms + len(structure) > _SAMPLE_ATOMS:
            return
        self._taken[structure.config_type] = taken + 1
        self._atoms += len(structure)
        key = (structure.config_type, structure.numbers.tobytes(), structure.cell.tobytes())
        self.groups.setdefault(key, []).append(structure)

    def frames(self) -> list[Structure]:
        """All sampled frames."""
        return [frame for group in self.groups.values() for frame in group]


def unit_warnings(sample: UnitSample, isolated: Mapping[int, float]) -> list[str]:
    """One sentence for each suspicion; `isolated` are isolated-atom energies (eV) by atomic number."""
    frames = sample.frames()
    bonds = {id(frame): _first_neighbors(frame) for frame in frames}
    checks = (
        _check_lone_atoms(frames),
        _check_positions(frames, bonds),
        _check_total_energy(frames),
        _check_hydrogen(isolated),
        _check_cohesion(frames, isolated),
        _check_stiffness(sample, bonds),
        _check_energy_against_forces(sample, bonds),
        _check_stress(frames),
    )
    return [text for text in checks if text]


def _first_neighbors(frame: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each atom to its nearest neighbour, in Å and in covalent bond lengths; infinite if none."""
    from ase.data import covalent_radii

    senders, receivers, shifts = neighbor_list(frame.positions, frame.cell, frame.pbc, _BOND_SEARCH)
    vectors = frame.positions[receivers] - frame.positions[senders] + shifts @ frame.cell
    lengths = np.linalg.norm(vectors, axis=1)
    radii = covalent_radii[frame.numbers]
    nearest, relative = np.full(len(frame), np.inf), np.full(len(frame), np.inf)
    np.minimum.at(nearest, receivers, lengths)
    np.minimum.at(relative, receivers, lengths / (radii[senders] + radii[receivers]))
    return nearest, relative


def _check_lone_atoms(frames: list[Structure]) -> str | None:
    if any(len(frame) == 1 and not frame.pbc.any() for frame in frames):
        return (
            "some frames hold a single atom but are not named isolated atoms: give their file as "
            "--isolated-atoms FILE, or the configuration type IsolatedAtom"
        )
    return None


def _check_positions(frames: list[Structure], bonds: _Bonds) -> str | None:
    relative = np.concatenate([bonds[id(frame)][1] for frame in frames]) if frames else np.zeros(0)
    relative = relative[np.isfinite(relative)]
    if len(relative) == 0:
        return None
    typical = float(np.median(relative))
    if 0.6 <= typical <= 1.6:
        return None
    unit = "Bohr" if typical > 1 else "nm"
    return (
        f"positions may be in {unit}: neighbours are typically {typical:.2f} covalent bond lengths apart, "
        "usual is about 1"
    )


def _all_electron_energy(numbers: np.ndarray) -> float:
    """Total energy of neutral atoms, Hartree: Thomas-Fermi with the corrections of Scott and Schwinger."""
    z = numbers.astype(np.float64)
    return float(-(0.7687 * z ** (7 / 3) - 0.5 * z**2 + 0.2699 * z ** (5 / 3)).sum())


def _check_total_energy(frames: list[Structure]) -> str | None:
    ratios = [
        frame.energy / _all_electron_energy(frame.numbers) for frame in frames if frame.energy is not None
    ]
    if not ratios:
        return None
    typical = float(np.median(ratios))
    for unit, value in (("Hartree", 1.0), ("kcal/mol", 627.5095), ("kJ/mol", 2625.4996)):
        if abs(typical / value - 1) < 0.06:
            return f"energies may be in {unit}: in that unit they are what all electrons of these atoms have"
    if typical > 1.5 * _HARTREE:
        return (
            f"energies may be in kcal/mol or kJ/mol: they are {typical / _HARTREE:.3g} times what all "
            "electrons of these atoms have in eV"
        )
    return None


def _check_hydrogen(isolated: Mapping[int, float]) -> str | None:
    energy = isolated.get(1)
    if energy is None:
        return None
    for unit, value in (("Hartree", -0.5), ("Rydberg", -1.0), ("kcal/mol", -313.75), ("kJ/mol", -1312.7)):
        if abs(energy / value - 1) < 0.05:
            return f"isolated-atom energies may be in {unit}: hydrogen has {energy:.4g}, -13.6 eV is usual"
    return None


def _check_cohesion(frames: list[Structure], isolated: Mapping[int, float]) -> str | None:
    values = [
        (frame.energy - sum(isolated[z] for z in frame.numbers.tolist())) / len(frame)
        for frame in frames
        if frame.energy is not None and all(z in isolated for z in frame.numbers.tolist())
    ]
    if values and abs(typical := float(np.median(values))) > 15:
        return (
            f"energies and isolated-atom energies may differ in units or level of theory: the frames lie "
            f"{typical:.4g} eV per atom from their isolated atoms, usual is -1 to -10"
        )
    return None


def _check_stiffness(sample: UnitSample, bonds: _Bonds) -> str | None:
    """Force over bond-length fluctuation is a stiffness, 2 to 100 eV/Å² from metals to multiple bonds."""
    values = [
        _force_rms(group) / fluctuation
        for group in sample.groups.values()
        if (fluctuation := _bond_fluctuation(group, bonds))
        and all(frame.forces is not None for frame in group)
    ]
    if not values:
        return None
    typical = float(np.median(values))
    if 0 < typical < 1:
        unit = "Hartree/Bohr"
    elif typical > 150:
        unit = "kcal/mol/Å or kJ/mol/Å"
    else:
        return None
    return f"forces may be in {unit}: bonds would have a stiffness of {typical:.3g} eV/Å², usual is 2 to 100"


def _force_rms(group: list[Structure]) -> float:
    return float(
        np.sqrt(np.mean([np.square(frame.forces).mean() for frame in group if frame.forces is not None]))
    )


def _bond_fluctuation(group: list[Structure], bonds: _Bonds) -> float:
    """Typical standard deviation (Å) of an atom's nearest-neighbour distance over frames; 0 if unknown."""
    if len(group) < 4 or len(group[0]) < 2:
        return 0.0
    nearest = np.stack([bonds[id(frame)][0] for frame in group])
    if not np.isfinite(nearest).all():
        return 0.0
    fluctuation = float(np.median(nearest.std(axis=0)))
    return fluctuation if fluctuation > 0.01 else 0.0


def _check_energy_against_forces(sample: UnitSample, bonds: _Bonds) -> str | None:
    text = "energies and forces may be in different units: {}"
    for group in sample.groups.values():
        known = [frame for frame in group if frame.energy is not None and frame.forces is not None]
        slope = _work_slope(known)
        if slope is not None and slope < 0:
            return "forces may have the wrong sign: between frames the energy rises where they do work"
        if slope is not None and not 0.4 < slope < 2.5:
            return text.format(
                f"between frames the energy changes {slope:.3g} times as much as the forces do work"
            )
        fluctuation = _bond_fluctuation(known, bonds)
        if fluctuation:
            # In a harmonic solid force x displacement is kT, and the energy has the spread kT sqrt(3N/2).
            spread = float(np.std([frame.energy for frame in known if frame.energy is not None]))
            ratio = _force_rms(known) * fluctuation * np.sqrt(1.5 * len(known[0])) / max(spread, 1e-12)
            if ratio > 4:
                return text.format(
                    f"the energy varies {ratio:.3g} times less than forces and displacements suggest"
                )
    return None


def _work_slope(group: list[Structure]) -> float | None:
    """Regression of energy changes on the work of the mean force; None if frames are too far apart for it."""
    if len(group) < 3:
        return None
    changes, works = [], []
    for a, b in combinations(group[:16], 2):
        if a.energy is None or b.energy is None or a.forces is None or b.forces is None:
            continue
        step = b.positions - a.positions
        if a.pbc.all():
            fractional = step @ np.linalg.inv(a.cell)
            step = (fractional - np.round(fractional)) @ a.cell
        changes.append(b.energy - a.energy)
        works.append(-0.5 * float(((a.forces + b.forces) * step).sum()))
    change, work = np.array(changes), np.array(works)
    norms = float(np.linalg.norm(change) * np.linalg.norm(work))
    if len(change) < 10 or norms == 0 or abs(change @ work) / norms < 0.9:
        return None
    return float(change @ work / (work @ work))


def _check_stress(frames: list[Structure]) -> str | None:
    values = [np.abs(frame.stress).max() for frame in frames if frame.stress is not None]
    if values and (typical := float(np.median(values))) > 0.4:
        return (
            f"stress may be in GPa or kBar: its largest component is typically {typical:.3g} eV/Å³, "
            f"that would be {typical * 160.21766:.4g} GPa"
        )
    return None
