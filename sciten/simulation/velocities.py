"""Initial velocities."""

import numpy as np
from ase import Atoms, units


def draw_velocities(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Give atoms velocities of the Maxwell-Boltzmann distribution, then bring the centre of mass to rest.

    Args:
        atoms: changed in place.
        temperature: K.
        rng: source of the random numbers.
    """
    masses = atoms.get_masses()[:, None]
    velocities = rng.normal(size=(len(atoms), 3)) * np.sqrt(units.kB * temperature / masses)
    velocities -= (masses * velocities).sum(axis=0) / masses.sum()
    atoms.set_velocities(velocities)
