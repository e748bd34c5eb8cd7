"""The potential under test, seen through one door whatever it is."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError

from sciten.errors import ConfigError
from sciten.integrations.ase import ModelLike, SciTenCalculator, open_potentials
from sciten.potentials.base import Potential


@dataclass(frozen=True)
class Evaluation:
    """What the potential says about one structure.

    Attributes:
        energy: eV, the one that the forces derive from.
        forces: `[n, 3]`, eV/Å.
        stress: `[3, 3]`, eV/Å³, tension positive; None where there is none.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None


@dataclass(frozen=True)
class Subject:
    """A potential under test.

    Attributes:
        name: in words.
        calculator: what is evaluated; for a sciten potential, a float64 copy.
        single: whether it computes in single precision, so that tolerances must be wider.
        cutoff: Å, or None where it is not known.
        elements: atomic numbers that it knows; of a foreign calculator, those in the structures.
        chiral: whether a structure and its mirror image may have different energies.
        potential: the sciten potential as given, or None for anything else (a committee, a foreign
            calculator).
    """

    name: str
    calculator: BaseCalculator
    single: bool
    cutoff: float | None = None
    elements: tuple[int, ...] = ()
    chiral: bool = False
    potential: Potential | None = field(default=None, repr=False)

    @property
    def epsilon(self) -> float:
        """Relative rounding error of its numbers."""
        return float(np.finfo(np.float32 if self.single else np.float64).eps)

    def evaluate(self, atoms: Atoms) -> Evaluation:
        """Energy, forces and, where there is one, stress."""
        copied = atoms.copy()
        copied.calc = self.calculator
        implemented = getattr(self.calculator, "implemented_properties", ())
        consistent = "free_energy" in implemented
        energy = copied.get_potential_energy(force_consistent=consistent)
        forces = copied.get_forces(apply_constraint=False)
        stress = None
        if atoms.pbc.all() and "stress" in implemented:
            try:
                stress = copied.get_stress(voigt=False, apply_constraint=False)
            except PropertyNotImplementedError:
                stress = None
        return Evaluation(float(energy), np.asarray(forces, dtype=np.float64), stress)


def make_subject(
    target: BaseCalculator | ModelLike | Sequence[ModelLike],
    structures: Sequence[Atoms],
    device: str | None,
) -> Subject:
    """The subject for a model folder, a potential, a committee of them, or an ASE calculator.

    Of a calculator, elements and precision are learnt from the structures, on which no force may vanish by
    symmetry; raises `ConfigError` where there are none.
    """
    if isinstance(target, SciTenCalculator):
        return _of_potentials(target.potentials)
    if isinstance(target, BaseCalculator):
        return _of_calculator(target, structures)
    return _of_potentials(open_potentials(target, device))


def _of_potentials(potentials: Sequence[Potential]) -> Subject:
    elements = set.intersection(*(set(potential.elements) for potential in potentials))
    if not elements:
        raise ConfigError("verify: the members of the committee have no element in common; verify them apart")
    names = [f"{type(p).__name__} (stored in {_dtype(p)}, checked in float64)" for p in potentials]
    return Subject(
        name=", ".join(names),
        calculator=SciTenCalculator(potentials, dtype=torch.float64, skin=0.0),
        single=False,
        cutoff=max(potential.cutoff for potential in potentials),
        elements=tuple(sorted(elements)),
        chiral=any(potential.chiral for potential in potentials),
        potential=potentials[0] if len(potentials) == 1 else None,
    )


def _of_calculator(calculator: BaseCalculator, structures: Sequence[Atoms]) -> Subject:
    if not structures:
        raise ConfigError("verify: an ASE calculator does not say which elements it knows; give structures")
    subject = Subject(name=type(calculator).__name__, calculator=calculator, single=False)
    forces = np.concatenate([subject.evaluate(atoms).forces for atoms in structures])
    # Numbers that lose nothing by single precision have been through it.
    single = bool(forces.any() and (forces == forces.astype(np.float32)).all())
    elements = tuple(sorted({int(number) for atoms in structures for number in atoms.numbers}))
    return dataclasses.replace(subject, single=single, elements=elements)


def _dtype(potential: Potential) -> str:
    return str(potential.dtype).removeprefix("torch.")
