"""A model on disk for the verbs that use one."""

from pathlib import Path

import ase.io
import numpy as np
from ase.build import molecule

from sciten.potentials import MACE, save_potential


def write_model(folder: Path) -> Path:
    """A small MACE of hydrogen and oxygen, as a training output folder holds it."""
    model = MACE(
        (1, 8), channels=4, lmax=1, hidden_lmax=0, correlation=2, radial_mlp=(8,), cutoff=3.0, zbl=True
    )
    save_potential(model, folder / "model")
    return folder


def write_water(path: Path, *, periodic: bool = False) -> Path:
    """Two frames, of which the last one counts."""
    water = molecule("H2O")
    if periodic:
        water.cell = np.ptp(water.positions, axis=0) + 2.5
        water.pbc = True
    ase.io.write(path, [molecule("O2"), water], format="extxyz")
    return path
