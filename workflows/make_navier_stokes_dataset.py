"""Vorticity of two-dimensional flow on the torus [0, 1]², from random starts under a steady forcing.

The start is a Gaussian field N(0, scale (−Δ + 49)^(−5/2)), the forcing 0.1 [sin 2π(x + y) + cos 2π(x + y)]. Flows are
solved on finer points where need be, of which every k-th is kept; one that the points do not resolve is refused. With
the same `--modes` a seed gives the same starts at every resolution.

With the scale 7^(3/2) the starts are weak beside the forcing: at ν = 1e-3 trajectories differ by a twentieth of
themselves at t = 10. Programs that put the factor on the field make starts of `--initial-scale 343`, which differ more.
"""

from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from torch import Tensor

from sciten.datasets.fields import Axis, Field
from sciten.errors import ConfigError
from sciten.pde.spectral import INITIAL_VORTICITY, GaussianField, NavierStokes
from sciten.pde.spectral.torus import highest_kept
from workflows import field_datasets, script
from workflows.executors import ExecutorKind
from workflows.field_datasets import Batched, Description, as_options
from workflows.tasks import Arrays


@dataclass(frozen=True)
class Trajectories:
    """One task.

    Args:
        batch: which trajectories.
        viscosity: ν.
        initial_scale: of the covariance of the start.
        times: that are kept.
        solver_resolution: points of each axis that are solved on.
        step: every how many of them one is kept.
        modes: highest wavenumber of the start.
        largest_tail: see `NavierStokes`.
    """

    batch: Batched
    viscosity: float
    initial_scale: float
    times: tuple[float, ...]
    solver_resolution: int
    step: int
    modes: int
    largest_tail: float
    # Constants of the solver, but they too decide the result, which is kept under a hash of all this.
    courant: float = NavierStokes.courant
    longest_step: float = NavierStokes.longest_step
    field: str = repr(INITIAL_VORTICITY)

    def flow(self) -> NavierStokes:
        """The equation, and how it is integrated."""
        return NavierStokes(
            self.viscosity,
            courant=self.courant,
            longest_step=self.longest_step,
            largest_tail=self.largest_tail,
        )

    def start_field(self) -> GaussianField:
        """What the vorticity begins as."""
        return replace(INITIAL_VORTICITY, scale=self.initial_scale)

    def start(self) -> Tensor:
        """The vorticity at t = 0, `[n_samples, n, n]` on the solver's points."""
        return self.start_field().sample(
            self.solver_resolution, seed=self.batch.seed, samples=self.batch.numbers, modes=self.modes
        )


def solve(task: Trajectories) -> Arrays:
    """`vorticity`, `[n_samples, n_times, n, n]`."""
    found = task.flow().solve(task.start(), task.times)[..., :: task.step, :: task.step]
    return {"vorticity": found.numpy().astype(np.float32)}


def snapshots_until(final_time: float, count: int) -> tuple[float, ...]:
    """Zero, and `count` equally spaced times after it."""
    if not (isfinite(final_time) and final_time > 0):
        raise ConfigError(f"final time: expected a positive number, got {final_time}")
    return tuple(np.linspace(0.0, final_time, count + 1).tolist())


def main(
    output: script.Output = Path("data"),
    work: script.Work = Path("runs/make_navier_stokes_dataset"),
    name: field_datasets.Name = "navier_stokes",
    viscosity: Annotated[float, typer.Option(help="ν")] = 1e-3,
    final_time: Annotated[float, typer.Option(help="Of the last snapshot.")] = 10.0,
    snapshots: Annotated[int, typer.Option(min=1, help="After t = 0, at equal distances.")] = 10,
    resolution: Annotated[int, typer.Option(help="Points of each axis.")] = 32,
    solver_resolution: Annotated[
        int | None, typer.Option(help="Points of each axis that are solved on.", show_default="twice as many")
    ] = None,
    initial_scale: Annotated[float, typer.Option(help="Of the covariance of the start.")] = 7.0**1.5,
    modes: Annotated[
        int | None,
        typer.Option(
            min=1, help="Highest wavenumber of the start.", show_default="all that the solver keeps"
        ),
    ] = None,
    largest_tail: Annotated[
        float, typer.Option(help="Share of the enstrophy in the shortest waves from which a flow is refused.")
    ] = NavierStokes.largest_tail,
    train_samples: field_datasets.TrainSamples = 8,
    test_samples: field_datasets.TestSamples = 4,
    batch: field_datasets.Batch = 4,
    seed: script.Seed = 1,
    small: script.Small = False,
    overwrite: script.Overwrite = False,
    executor: script.Kind = ExecutorKind.PROCESS,
    workers: script.Workers = None,
    slurm_option: script.SlurmOptions = [],  # noqa: B006 (typer reads it, nobody changes it)
) -> None:
    """Make navier_stokes_train.h5 and navier_stokes_test.h5: trajectories of the vorticity on the torus."""
    solver_resolution = solver_resolution or 2 * resolution
    modes = modes or highest_kept(solver_resolution)
    step = field_datasets.every(solver_resolution, resolution, ends=False)
    counts = field_datasets.sample_counts(train_samples, test_samples, small=small)
    times = snapshots_until(final_time, snapshots)
    tasks = [
        Trajectories(one, viscosity, initial_scale, times, solver_resolution, step, modes, largest_tail)
        for one in field_datasets.batches("navier-stokes", seed, counts, batch)
    ]
    # Both say what is wrong with the options, before a worker is started.
    tasks[0].flow()
    tasks[0].start_field()
    options = {
        "viscosity": viscosity,
        "final_time": final_time,
        "snapshots": snapshots,
        "resolution": resolution,
        "solver_resolution": solver_resolution,
        "initial_scale": initial_scale,
        "modes": modes,
        "largest_tail": largest_tail,
        "train_samples": train_samples,
        "test_samples": test_samples,
        "batch": batch,
    }
    command = script.recorded_command(
        "make_navier_stokes_dataset.py", *as_options(options), seed=seed, small=small
    )
    description = Description(
        axes=[Axis.periodic(axis, resolution) for axis in ("x", "y")],
        fields=[Field("vorticity")],
        times=times,
        parameters={"viscosity": viscosity},
    )
    field_datasets.write_datasets(
        name,
        solve,
        tasks,
        output,
        description=description,
        executor=executor,
        workers=workers,
        slurm_options=slurm_option,
        work=work,
        command=command,
        overwrite=overwrite,
    )


if __name__ == "__main__":
    # Under its full name, so that workers on other machines can import the functions that they are sent.
    from workflows.make_navier_stokes_dataset import main as importable_main

    script.run(importable_main)
