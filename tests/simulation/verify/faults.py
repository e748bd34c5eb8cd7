"""Potentials and calculators with one fault each, otherwise sound."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from torch import Tensor

from sciten.datasets.batch import AtomsBatch
from sciten.integrations.ase import SciTenCalculator
from tests.toys import ToyPotential, smooth_step


class Altered(Calculator):
    """The results of a sound calculator, altered by a function `(atoms, results) -> None`."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, sound: Calculator, alter: Callable[[Atoms, dict[str, Any]], None]) -> None:
        super().__init__()
        self.sound = sound
        self.alter = alter

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, list(properties), list(system_changes))
        self.sound.calculate(self.atoms, list(properties), list(system_changes))
        self.results = dict(self.sound.results)
        self.alter(self.atoms, self.results)
        self.results["free_energy"] = self.results["energy"]


def altered(alter: Callable[[Atoms, dict[str, Any]], None]) -> Altered:
    return Altered(SciTenCalculator(ToyPotential((1, 6, 8)), skin=0.0), alter)


def non_conservative(atoms: Atoms, results: dict[str, Any]) -> None:
    results["forces"] = np.where(atoms.numbers[:, None] == 6, 1.05, 1.0) * results["forces"]


def swirling(atoms: Atoms, results: dict[str, Any]) -> None:
    results["forces"] = results["forces"] + 1e-2 * np.cross(
        [0.0, 0.0, 1.0], atoms.positions - atoms.positions.mean(axis=0)
    )


def wrong_stress_sign(atoms: Atoms, results: dict[str, Any]) -> None:
    if "stress" in results:
        results["stress"] = -results["stress"]


def non_extensive(atoms: Atoms, results: dict[str, Any]) -> None:
    results["energy"] += 1e-5 * len(atoms) ** 2


def order_dependent(atoms: Atoms, results: dict[str, Any]) -> None:
    results["energy"] += 1e-5 * float(np.arange(len(atoms)) @ atoms.numbers)


def single_precision(atoms: Atoms, results: dict[str, Any]) -> None:
    for name in ("energy", "forces", "stress"):
        if name in results:
            results[name] = np.asarray(np.float32(results[name]), dtype=np.float64)
    results["energy"] = float(results["energy"])


class Anisotropic(ToyPotential):
    """A layer that is not equivariant: lengths along z count two per mille more."""

    def interaction_energies(self, batch: AtomsBatch, vectors: Tensor) -> Tensor:
        return super().interaction_energies(batch, vectors * vectors.new_tensor([1.0, 1.0, 1.002]))


class Chiral(ToyPotential):
    """Tells left from right: a triple product of three weighted sums over the neighbours of each atom."""

    def interaction_energies(self, batch: AtomsBatch, vectors: Tensor) -> Tensor:
        distances = vectors.norm(dim=1)
        moments = []
        for power in (1, 2, 3):
            weights = smooth_step(distances, self.cutoff) ** power * batch.numbers[batch.senders] ** (
                power - 1
            )
            zero = vectors.new_zeros(batch.n_atoms, 3)
            moments.append(zero.index_add(0, batch.receivers, weights[:, None] * vectors))
        triple = (moments[0] * torch.linalg.cross(moments[1], moments[2])).sum(dim=1)
        return super().interaction_energies(batch, vectors) + 1e-3 * triple


class HardCutoff(ToyPotential):
    """Interacts up to the cutoff at full strength."""

    def interaction_energies(self, batch: AtomsBatch, vectors: Tensor) -> Tensor:
        distances = vectors.norm(dim=1)
        pairs = torch.where(distances < self.cutoff, -0.5 / distances**6, 0.0)
        return super().interaction_energies(batch, vectors).index_add(0, batch.receivers, pairs)


class Cancelling(ToyPotential):
    """Loses digits in single precision."""

    def interaction_energies(self, batch: AtomsBatch, vectors: Tensor) -> Tensor:
        return (super().interaction_energies(batch, vectors).to(self.dtype) + 1e4).double() - 1e4
