"""Small molecules sampled by molecular dynamics at 300 K and 600 K, labelled with GFN2-xTB.

Training frames come from 300 K alone. Test frames come from other trajectories, at 300 K and at 600 K. Every
trajectory is one task, on any executor; a run that is stopped and started again skips the finished ones.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from sciten.errors import ConfigError
from workflows import script, xtb
from workflows.executors import ExecutorKind, open_executor
from workflows.tasks import Arrays

if TYPE_CHECKING:
    from ase import Atoms

METHOD = "GFN2-xTB"
MOLECULES = {
    "ethanol": "CH3CH2OH",
    "acetamide": "CH3CONH2",
    "pyrrole": "C4H4NH",
}  # their names in ASE's G2 set
TRAIN_TEMPERATURES = (300.0,)  # K
TEST_TEMPERATURES = (300.0, 600.0)  # K
TIME_STEP = 0.5  # fs
FRICTION = 0.02  # 1/fs: velocities are forgotten within 50 fs
SAMPLING = f"Langevin dynamics on {METHOD}, time step {TIME_STEP} fs, friction {FRICTION}/fs"


@dataclass(frozen=True)
class Sampling:
    """How many trajectories there are for each molecule and temperature, and how long they are."""

    train_trajectories: int = 8
    train_frames: int = 25  #: in each trajectory
    test_trajectories: int = 4
    test_frames: int = 15
    stride: int = 100  #: steps from one frame to the next
    equilibration: int = 2000  #: steps before the first frame


SMALL = Sampling(2, train_frames=3, test_trajectories=1, test_frames=2, stride=5, equilibration=10)


@dataclass(frozen=True)
class Trajectory:
    """One task: a molecule's dynamics from a starting geometry (Å), at one temperature (K), with one seed."""

    molecule: str
    split: str
    temperature: float
    numbers: tuple[int, ...] = field(repr=False)
    positions: tuple[tuple[float, ...], ...] = field(repr=False)
    frames: int
    stride: int
    equilibration: int
    seed: int
    # Constants of this script, but they too decide the result, which is kept under a hash of all this.
    method: str = METHOD
    time_step: float = TIME_STEP
    friction: float = FRICTION

    @property
    def config_type(self) -> str:
        """Molecule and temperature, as `ethanol_300K`."""
        return f"{self.molecule}_{self.temperature:g}K"


def sample(trajectory: Trajectory) -> Arrays:
    """Run one trajectory; its frames with their labels, as `xtb.label` gives them."""
    from ase import Atoms, units
    from ase.md.langevin import Langevin

    atoms = Atoms(numbers=trajectory.numbers, positions=trajectory.positions)
    atoms.calc = xtb.calculator(trajectory.method)
    # It starts at rest: the thermostat brings it to temperature within a tenth of the equilibration.
    dynamics = Langevin(
        atoms,
        trajectory.time_step * units.fs,
        temperature_K=trajectory.temperature,
        friction=trajectory.friction / units.fs,
        fixcm=False,  # the exact ensemble; the drift is taken out of the frames below
        rng=np.random.default_rng(trajectory.seed),
    )
    dynamics.run(trajectory.equilibration)
    frames = []
    for _ in range(trajectory.frames):
        dynamics.run(trajectory.stride)
        frame = atoms.copy()
        frame.positions -= frame.get_center_of_mass()
        frames.append(frame)
    return xtb.label(frames, trajectory.method)


def plan(molecules: Sequence[str], sampling: Sampling, seed: int) -> list[Trajectory]:
    """The trajectories of a dataset: for each molecule those for training, then those for testing."""
    groups = [
        *(("train", t, sampling.train_trajectories, sampling.train_frames) for t in TRAIN_TEMPERATURES),
        *(("test", t, sampling.test_trajectories, sampling.test_frames) for t in TEST_TEMPERATURES),
    ]
    return [
        Trajectory(
            molecule=name,
            split=split,
            temperature=temperature,
            numbers=tuple(atoms.numbers.tolist()),
            positions=tuple(map(tuple, atoms.positions.tolist())),
            frames=frames,
            stride=sampling.stride,
            equilibration=sampling.equilibration,
            # From the trajectory's own name: another molecule or more trajectories leave this one as it is.
            seed=zlib.crc32(f"{seed} {name} {split} {temperature:g} {index}".encode()),
        )
        for name, atoms in map(starting_geometry, molecules)
        for split, temperature, count, frames in groups
        for index in range(count)
    ]


def starting_geometry(molecule: str) -> "tuple[str, Atoms]":
    """Name and geometry of a molecule, given as one of `MOLECULES` or as a structure file that ASE reads."""
    import ase.build
    import ase.io

    if molecule in MOLECULES:
        return molecule, ase.build.molecule(MOLECULES[molecule])
    if Path(molecule).is_file():
        return Path(molecule).stem, ase.io.read(molecule, index=0)  # type: ignore[return-value]
    raise ConfigError(f"molecule {molecule!r}: expected {', '.join(MOLECULES)} or a file that ASE reads")


def main(
    molecules: Annotated[
        list[str], typer.Argument(help="Names that this script knows (the defaults), or structure files.")
    ] = list(MOLECULES),  # noqa: B006 (typer reads it, nobody changes it)
    output: script.Output = Path("data"),
    work: script.Work = Path("runs/make_xtb_dataset"),
    seed: script.Seed = 1,
    small: script.Small = False,
    overwrite: script.Overwrite = False,
    executor: script.Kind = ExecutorKind.PROCESS,
    workers: script.Workers = None,
    slurm_option: script.SlurmOptions = [],  # noqa: B006 (typer reads it, nobody changes it)
) -> None:
    """Make molecules_train.h5 (300 K) and molecules_test.h5 (300 K and 600 K) with GFN2-xTB labels."""
    command = script.recorded_command("make_xtb_dataset.py", *molecules, seed=seed, small=small)
    trajectories = plan(molecules, SMALL if small else Sampling(), seed)
    with open_executor(executor, workers=workers, folder=work, slurm_options=slurm_option) as pool:
        files = xtb.make_datasets(
            "molecules",
            sample,
            trajectories,
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
    from workflows.make_xtb_dataset import main as importable_main

    script.run(importable_main)
