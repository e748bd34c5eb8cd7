"""Checks that only a sciten potential allows: another precision, and a round trip through its file."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ase import Atoms

from sciten.integrations.ase import open_potentials
from sciten.potentials.base import Potential
from sciten.simulation.verify.result import CheckResult, judged, not_applicable
from sciten.simulation.verify.subject import Subject


def single_precision(
    subject: Subject, structures: Sequence[Atoms], rng: np.random.Generator
) -> list[CheckResult]:
    """The potential in float32 against the same potential in float64."""
    if subject.potential is None:
        return [not_applicable("float32 against float64", "only for a single sciten potential")]
    (single,) = open_potentials(subject.potential, dtype=torch.float32)
    (double,) = open_potentials(subject.potential, dtype=torch.float64)
    energy, forces = _differences(single, double, structures)
    explanation = f"largest difference over {len(structures)} structures"
    return [
        judged("float32: energy", energy, 1e-5, "eV/atom", explanation),
        judged("float32: forces", forces, 1e-3, "eV/Å", explanation),
    ]


def round_trip(subject: Subject, structures: Sequence[Atoms], rng: np.random.Generator) -> list[CheckResult]:
    """The potential saved and loaded again against the potential itself."""
    potential = subject.potential
    name = "save and load"
    if potential is None or not type(potential).__module__.startswith("sciten."):
        return [not_applicable(name, "only for a single potential of sciten's own")]
    from sciten.potentials import load_potential, save_potential

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        save_potential(potential, path)
        loaded = load_potential(path, device=str(potential.device), dtype=potential.dtype)
    energy, forces = _differences(loaded, potential, structures)
    exact = potential.dtype == torch.float64
    explanation = f"{potential.dtype}, largest difference over {len(structures)} structures"
    return [
        judged(f"{name}: energy", energy, 1e-10 if exact else 1e-6, "eV/atom", explanation),
        judged(f"{name}: forces", forces, 1e-9 if exact else 1e-5, "eV/Å", explanation),
    ]


def _differences(first: Potential, second: Potential, structures: Sequence[Atoms]) -> tuple[float, float]:
    energies, forces = [], []
    for atoms in structures:
        one = first.forward_batch(first.prepare([atoms]))
        two = second.forward_batch(second.prepare([atoms]))
        energies.append(float((one.energy - two.energy).abs().max()) / len(atoms))
        if one.forces is not None and two.forces is not None:
            forces.append(float((one.forces.double() - two.forces.double()).abs().max()))
    return float(np.max(energies)), float(np.max(forces))
