"""The structures that a potential is tested on where the user names none."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.data import chemical_symbols, covalent_radii, reference_states

_LARGEST = 12
_GAP = 2.0


def default_structures(elements: Sequence[int]) -> tuple[Atoms, Atoms]:
    """A molecule or cluster, and a small crystal, of the given elements.

    The molecule is the one of the G2 set (as in ASE) with the most of the elements and up to twelve atoms,
    the crystal its periodic repetition 2 Å apart. Elements that form no such molecule are looked for among
    the simple metals and semiconductors: the crystal is a cubic cell, and the cluster is cut from it. For
    the remaining ones, atoms stand on a jittered cubic lattice at 1.2 times their bond length.
    """
    found = _molecule(elements)
    if found is not None:
        return found, _boxed(found)
    crystal = _crystal(elements)
    cluster = crystal.copy()
    cluster.pbc = False
    cluster.cell = np.zeros((3, 3))
    return cluster, crystal


def _molecule(elements: Sequence[int]) -> Atoms | None:
    from ase.collections import g2

    candidates = []
    for name in g2.names:
        numbers = set(g2[name].numbers.tolist())
        if numbers <= set(elements) and 3 <= len(g2[name]) <= _LARGEST:
            candidates.append((len(numbers), len(g2[name]), name))
    if not candidates or max(candidates)[0] < min(2, len(elements)):
        return None
    return molecule(max(candidates)[2])


def _boxed(atoms: Atoms) -> Atoms:
    boxed = atoms.copy()
    extent = np.ptp(boxed.positions, axis=0) + _GAP
    boxed.cell = np.diag(extent)
    boxed.pbc = True
    return boxed


def _crystal(elements: Sequence[int]) -> Atoms:
    for number in elements:
        state = reference_states[number]
        if state is not None and state["symmetry"] in ("fcc", "bcc", "diamond"):
            crystal = bulk(chemical_symbols[number], cubic=True)
            return crystal if len(crystal) >= 4 else crystal.repeat((2, 1, 1))
    numbers = np.resize(np.array(elements), 8)
    spacing = 2.4 * float(np.mean(covalent_radii[numbers]))
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    jitter = np.random.default_rng(0).uniform(-0.05, 0.05, size=(8, 3))
    return Atoms(numbers=numbers, positions=spacing * (grid + jitter), cell=2 * spacing * np.eye(3), pbc=True)
