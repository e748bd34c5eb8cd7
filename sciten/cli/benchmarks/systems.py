"""Structures that potentials are timed on."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from sciten.cli.benchmarks.machine import checkout
from sciten.errors import ConfigError


@dataclass(frozen=True)
class System:
    """Structures and where they come from."""

    structures: Sequence[Atoms]
    source: str

    @property
    def elements(self) -> list[int]:
        """Atomic numbers, ascending."""
        return sorted({int(z) for atoms in self.structures for z in atoms.numbers})

    def write(self, path: Path) -> None:
        """Write the structures as JSON: every program is to read the very same numbers."""
        path.write_text(json.dumps([_arguments(atoms) for atoms in self.structures]), encoding="utf-8")


def molecules(count: int) -> System:
    """The first `count` frames of AcAc from the reference data or, without them, of the dataset in `data/`.

    Raises:
        ConfigError: neither is there.
    """
    if reference := os.environ.get("SCITEN_REFERENCE_DATA"):
        import ase.io

        path = Path(reference) / "acac" / "train_300K.xyz"
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such file; mend or unset SCITEN_REFERENCE_DATA")
        return System(list(ase.io.iread(path, f":{count}")), f"acac/{path.name}, first {count} frames")
    root = checkout()
    if root is None:
        raise ConfigError(
            "sciten benchmark mace: expected molecules in acac/ of SCITEN_REFERENCE_DATA or in data/ of "
            "a checkout, found neither; set the variable or run in a checkout"
        )
    from sciten.datasets import AtomsDataset

    with AtomsDataset(root / "data" / "molecules_train.h5") as dataset:
        frames = [dataset[int(i)].to_ase() for i in dataset.frames[:count]]
    source = f"not AcAc (SCITEN_REFERENCE_DATA is unset): data/molecules_train.h5, first {count} frames"
    return System(frames, source)


def silicon(repeats: int) -> System:
    """Diamond silicon, `repeats` cubic cells along each axis, with random displacements."""
    from ase.build import bulk

    atoms = bulk("Si", cubic=True).repeat(repeats)
    atoms.rattle(0.05, seed=0)
    return System([atoms], f"{len(atoms)} atoms of silicon, periodic, displaced by 0.05 Å")


def _arguments(atoms: Atoms) -> dict[str, object]:
    cell = atoms.cell.tolist() if atoms.pbc.any() else [[0.0] * 3] * 3  # the box of a molecule means nothing
    return {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": cell,
        "pbc": atoms.pbc.tolist(),
    }
