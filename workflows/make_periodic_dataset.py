"""Disordered rock salt in a periodic cell of 64 atoms, labelled with GFN1-xTB energies, forces and stress.

Training and test frames are drawn alike, from different seeds; the test set also holds cells that are
compressed further than any in training. Every task labels a few frames, on any executor; a run that is
stopped and started again skips the finished ones.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workflows import script, xtb
from workflows.executors import ExecutorKind, open_executor
from workflows.tasks import Arrays

if TYPE_CHECKING:
    from ase import Atoms

METHOD = "GFN1-xTB"
LATTICE_CONSTANT = 5.463  # Å, where GFN1-xTB's stress vanishes in this cell
SAMPLING = f"random strains and displacements of rock salt, lattice constant {LATTICE_CONSTANT} Å, at Gamma"


@dataclass(frozen=True)
class Disorder:
    """How far the frames of one configuration type are from the crystal.

    Attributes:
        rattle: the range of the atoms' displacements (standard deviation along each axis), Å.
        strain: the standard deviation of the strain's six components.
        compression: the range of a uniform relative shortening of the cell's edges.
    """

    rattle: tuple[float, float]
    strain: float = 0.0
    compression: tuple[float, float] = (0.0, 0.0)


DISORDER = {
    "NaCl_rattled": Disorder(rattle=(0.02, 0.20)),
    "NaCl_strained": Disorder(rattle=(0.02, 0.15), strain=0.02, compression=(-0.03, 0.03)),
    "NaCl_compressed": Disorder(rattle=(0.02, 0.15), compression=(0.04, 0.06)),
}
FRAMES = {
    "train": {"NaCl_rattled": 30, "NaCl_strained": 50},
    "test": {"NaCl_rattled": 10, "NaCl_strained": 10, "NaCl_compressed": 10},
}
FRAMES_PER_TASK = 5


@dataclass(frozen=True)
class Cells:
    """One task: a few disordered cells of one configuration type."""

    config_type: str
    split: str
    frames: int
    disorder: Disorder
    repeats: int  #: conventional cells along each axis
    seed: int
    # Constants of this script, but they too decide the result, which is kept under a hash of all this.
    lattice_constant: float = LATTICE_CONSTANT
    method: str = METHOD

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers of each frame."""
        return tuple(self.crystal().numbers.tolist())

    def crystal(self) -> "Atoms":
        """The crystal before it is disordered."""
        from ase.build import bulk

        return bulk("NaCl", "rocksalt", self.lattice_constant, cubic=True).repeat(self.repeats)


def label_cells(cells: Cells) -> Arrays:
    """Draw and label the frames of one task, as `xtb.label` gives them."""
    generator = np.random.default_rng(cells.seed)
    frames = [disorder(cells.crystal(), cells.disorder, generator) for _ in range(cells.frames)]
    return xtb.label(frames, cells.method)


def disorder(crystal: "Atoms", amount: Disorder, generator: np.random.Generator) -> "Atoms":
    """A strained, compressed and rattled copy of a crystal."""
    strain = generator.normal(scale=amount.strain, size=(3, 3))
    deformation = np.eye(3) + (strain + strain.T) / 2 - np.eye(3) * generator.uniform(*amount.compression)
    atoms = crystal.copy()
    atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    displacements = generator.normal(scale=generator.uniform(*amount.rattle), size=(len(atoms), 3))
    atoms.positions += displacements - displacements.mean(axis=0)
    return atoms


def plan(seed: int, *, small: bool = False) -> list[Cells]:
    """The tasks of a dataset, in order; a small one has cells of 8 atoms, and two frames of each kind."""
    tasks = []
    for split, counts in FRAMES.items():
        for config_type, count in counts.items():
            count = 2 if small else count
            for start in range(0, count, FRAMES_PER_TASK):
                tasks.append(
                    Cells(
                        config_type=config_type,
                        split=split,
                        frames=min(FRAMES_PER_TASK, count - start),
                        disorder=DISORDER[config_type],
                        repeats=1 if small else 2,
                        seed=zlib.crc32(f"{seed} {config_type} {split} {start}".encode()),
                    )
                )
    return tasks


def main(
    output: script.Output = Path("data"),
    work: script.Work = Path("runs/make_periodic_dataset"),
    seed: script.Seed = 1,
    small: script.Small = False,
    overwrite: script.Overwrite = False,
    executor: script.Kind = ExecutorKind.PROCESS,
    workers: script.Workers = None,
    slurm_option: script.SlurmOptions = [],  # noqa: B006 (typer reads it, nobody changes it)
) -> None:
    """Make crystal_train.h5 and crystal_test.h5: disordered rock salt with stress, from GFN1-xTB."""
    command = script.recorded_command("make_periodic_dataset.py", seed=seed, small=small)
    with open_executor(executor, workers=workers, folder=work, slurm_options=slurm_option) as pool:
        files = xtb.make_datasets(
            "crystal",
            label_cells,
            plan(seed, small=small),
            output,
            method=METHOD,
            sampling=SAMPLING,
            executor=pool,
            work=work / "tasks",
            command=command,
            overwrite=overwrite,
        )
    for file in files:
        print(f"wrote {file}")


if __name__ == "__main__":
    # Under its full name, so that workers on other machines can import the functions that they are sent.
    from workflows.make_periodic_dataset import main as importable_main

    script.run(importable_main)
