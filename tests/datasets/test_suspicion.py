"""Labels of a physical model in the right units raise no suspicion; in other units they do."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import read

from sciten.datasets import Structure
from sciten.datasets.census import CensusBuilder

KCAL = units.mol / units.kcal  # 23.06: from eV to kcal/mol
KJ = units.mol / units.kJ


def warnings_of(structures) -> str:
    builder = CensusBuilder()
    for structure in structures:
        builder.add(structure)
    return "\n".join(builder.census().warnings)


def scaled(structure: Structure, *, positions=1.0, energy=1.0, forces=1.0, stress=1.0) -> Structure:
    return replace(
        structure,
        positions=structure.positions * positions,
        cell=structure.cell * positions,
        energy=None if structure.energy is None else structure.energy * energy,
        forces=None if structure.forces is None else structure.forces * forces,
        stress=None if structure.stress is None else structure.stress * stress,
    )


def rattled(atoms: Atoms, amplitude: float, n: int = 20) -> list[Structure]:
    """Harmonic-like samples labelled by EMT, which is fitted to metals in eV."""
    frames = []
    for seed in range(n):
        moved = atoms.copy()
        moved.rattle(amplitude, seed=seed)
        moved.calc = EMT()
        moved.get_forces()
        if moved.pbc.all():
            moved.get_stress()
        frames.append(Structure.from_ase(moved))
    return frames


def copper() -> list[Structure]:
    return rattled(bulk("Cu", cubic=True) * 2, 0.08)


def organic() -> list[Structure]:
    """Ethanol with springs between bonded atoms, and the energy that all its electrons have in eV."""
    atoms = molecule("CH3CH2OH")
    rest = atoms.get_all_distances()
    bonded = np.triu((rest < 1.7) & (rest > 0))
    first, second = np.nonzero(bonded)
    frames = []
    for seed in range(20):
        moved = atoms.copy()
        moved.rattle(0.035, seed=seed)
        vectors = moved.positions[second] - moved.positions[first]
        lengths = np.linalg.norm(vectors, axis=1)
        stretch = lengths - rest[first, second]
        pull = 30.0 * (stretch / lengths)[:, None] * vectors
        forces = np.zeros((len(moved), 3))
        np.add.at(forces, first, pull)
        np.add.at(forces, second, -pull)
        energy = -155.03 * units.Ha + 15.0 * float((stretch**2).sum())
        frames.append(Structure(moved.positions, moved.numbers, energy=energy, forces=forces))
    return frames


def isolated_atom(number: int, energy: float) -> Structure:
    return Structure(np.zeros((1, 3)), np.array([number]), energy=energy, config_type="IsolatedAtom")


@pytest.mark.parametrize("make", [copper, organic])
def test_the_right_units_raise_no_suspicion(make):
    assert warnings_of(make()) == ""


WRONG = {
    "positions in Bohr": (organic, {"positions": 1 / units.Bohr}, "positions may be in Bohr"),
    "metal in Bohr": (copper, {"positions": 1 / units.Bohr}, "positions may be in Bohr"),
    "positions in 2 Å units": (organic, {"positions": 0.4}, "positions may be in nm"),
    "energy in Hartree": (organic, {"energy": 1 / units.Ha}, "energies may be in Hartree"),
    "energy in kcal": (organic, {"energy": KCAL}, "energies may be in kcal/mol"),
    "energy in kJ": (organic, {"energy": KJ}, "energies may be in kJ/mol"),
    "metal's energy in Hartree": (
        copper,
        {"energy": 1 / units.Ha},
        "energies and forces may be in different units",
    ),
    "metal's energy in kcal": (copper, {"energy": KCAL}, "energies and forces may be in different units"),
    "forces in atomic units": (organic, {"forces": units.Bohr / units.Ha}, "forces may be in Hartree/Bohr"),
    "metal's forces in atomic units": (
        copper,
        {"forces": units.Bohr / units.Ha},
        "forces may be in Hartree/Bohr",
    ),
    "forces in kcal": (organic, {"forces": KCAL}, "forces may be in kcal/mol/Å"),
    "forces in kJ": (organic, {"forces": KJ}, "forces may be in kcal/mol/Å or kJ/mol/Å"),
    "gradients for forces": (copper, {"forces": -1}, "forces may have the wrong sign"),
    "stress in GPa": (copper, {"stress": 1 / units.GPa}, "stress may be in GPa"),
    "stress in kBar": (copper, {"stress": 10 / units.GPa}, "stress may be in GPa or kBar"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_units_are_suspected(name):
    make, factors, message = WRONG[name]
    assert message in warnings_of([scaled(frame, **factors) for frame in make()])


@pytest.mark.parametrize(
    ("energy", "unit"),
    [(-0.4998, "Hartree"), (-0.9996, "Rydberg"), (-313.6, "kcal/mol"), (-1312.2, "kJ/mol")],
)
def test_hydrogen_tells_the_unit_of_isolated_atoms(energy, unit):
    assert f"isolated-atom energies may be in {unit}:" in warnings_of([isolated_atom(1, energy), *organic()])
    assert "isolated-atom energies may be" not in warnings_of([isolated_atom(1, -13.6), *organic()])


def test_isolated_atoms_of_another_scale():
    atoms = {1: -13.6, 6: -1028.0, 8: -2040.0}
    good = [isolated_atom(z, energy) for z, energy in atoms.items()]
    assert "differ in units" not in warnings_of([*good, *organic()])
    other = [isolated_atom(z, energy * 0.3) for z, energy in atoms.items()]
    assert "differ in units or level of theory" in warnings_of([*other, *organic()])


def test_single_atoms_without_a_name():
    frame = Structure(np.zeros((1, 3)), np.array([6]), energy=-1.0)
    assert "--isolated-atoms FILE" in warnings_of([frame])
    assert warnings_of([replace(frame, cell=2 * np.eye(3), pbc=np.ones(3, bool))]) == ""


PUBLIC = {
    "energy in Hartree": ("acac/train_300K.xyz", {"energy": 1 / units.Ha}, "energies may be in Hartree"),
    "energy in kcal": ("rmd17_aspirin/train_50.xyz", {"energy": KCAL}, "energies may be in kcal/mol"),
    "forces in kcal": ("3bpa/train_300K.xyz", {"forces": KCAL}, "forces may be in kcal"),
    "forces in atomic units": (
        "acac/train_300K.xyz",
        {"forces": units.Bohr / units.Ha},
        "forces may be in Hartree",
    ),
    "silicon energies": ("silicon/train.xyz", {"energy": 1 / units.Ha}, "in different units"),
    "silicon positions": ("silicon/train.xyz", {"positions": 1 / units.Bohr}, "positions may be in Bohr"),
    "silicon stress": ("silicon/train.xyz", {"stress": 10 / units.GPa}, "stress may be in"),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_data_in_wrong_units(reference_data, name):
    file, factors, message = PUBLIC[name]
    frames = [Structure.from_ase(atoms) for atoms in read(reference_data / file, "::3")]
    assert warnings_of(frames) == ""
    assert message in warnings_of([scaled(frame, **factors) for frame in frames])
