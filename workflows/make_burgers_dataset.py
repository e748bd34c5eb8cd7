"""Burgers' equation u_t + u u_x = ν u_xx on the periodic unit interval, from random starts to t = 1.

The start is a Gaussian field N(0, 625 (−Δ + 25)^(−2)). It is solved for on finer points, of which every k-th is kept.
With the same `--modes` a seed gives the same starts at every resolution.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sciten.datasets.fields import Axis, Field
from sciten.pde.spectral import INITIAL_VELOCITY, Burgers
from sciten.pde.spectral.torus import highest_kept, require_positive
from workflows import field_datasets, script
from workflows.executors import ExecutorKind
from workflows.field_datasets import Batched, Description, as_options
from workflows.tasks import Arrays


@dataclass(frozen=True)
class Samples:
    """One task.

    Args:
        batch: which samples.
        solver: the equation, and how it is integrated.
        final_time: when the solution is taken.
        solver_resolution: points that are solved on.
        step: every how many of them one is kept.
        modes: highest wavenumber of the start.
    """

    batch: Batched
    solver: Burgers
    final_time: float
    solver_resolution: int
    step: int
    modes: int
    # A constant of this script, but it too decides the result, which is kept under a hash of all this.
    field: str = repr(INITIAL_VELOCITY)


def solve(samples: Samples) -> Arrays:
    """`initial` and `final`, `[n_samples, n]`."""
    starts = INITIAL_VELOCITY.sample(
        samples.solver_resolution,
        seed=samples.batch.seed,
        samples=samples.batch.numbers,
        modes=samples.modes,
    )
    found = samples.solver.solve(starts, [0.0, samples.final_time])[..., :: samples.step]
    values = found.numpy().astype(np.float32)
    return {"initial": values[:, 0], "final": values[:, 1]}


def main(
    output: script.Output = Path("data"),
    work: script.Work = Path("runs/make_burgers_dataset"),
    name: field_datasets.Name = "burgers",
    viscosity: Annotated[float, typer.Option(help="ν")] = 0.1,
    final_time: Annotated[float, typer.Option(help="When the solution is taken.")] = 1.0,
    resolution: Annotated[int, typer.Option(help="Points of the period.")] = 256,
    solver_resolution: Annotated[
        int | None, typer.Option(help="Points that are solved on.", show_default="4 times as many")
    ] = None,
    modes: Annotated[
        int | None,
        typer.Option(
            min=1, help="Highest wavenumber of the start.", show_default="all that the solver keeps"
        ),
    ] = None,
    train_samples: field_datasets.TrainSamples = 64,
    test_samples: field_datasets.TestSamples = 32,
    batch: field_datasets.Batch = 16,
    seed: script.Seed = 1,
    small: script.Small = False,
    overwrite: script.Overwrite = False,
    executor: script.Kind = ExecutorKind.PROCESS,
    workers: script.Workers = None,
    slurm_option: script.SlurmOptions = [],  # noqa: B006 (typer reads it, nobody changes it)
) -> None:
    """Make burgers_train.h5 and burgers_test.h5: random starts of Burgers' equation, and what becomes of them."""
    require_positive("burgers", final_time=final_time)
    solver_resolution = solver_resolution or 4 * resolution
    modes = modes or highest_kept(solver_resolution)
    step = field_datasets.every(solver_resolution, resolution, ends=False)
    counts = field_datasets.sample_counts(train_samples, test_samples, small=small)
    solver = Burgers(viscosity)
    tasks = [
        Samples(one, solver, final_time, solver_resolution, step, modes)
        for one in field_datasets.batches("burgers", seed, counts, batch)
    ]
    options = {
        "viscosity": viscosity,
        "final_time": final_time,
        "resolution": resolution,
        "solver_resolution": solver_resolution,
        "modes": modes,
        "train_samples": train_samples,
        "test_samples": test_samples,
        "batch": batch,
    }
    command = script.recorded_command("make_burgers_dataset.py", *as_options(options), seed=seed, small=small)
    description = Description(
        axes=[Axis.periodic("x", resolution)],
        fields=[Field("initial", time_varying=False), Field("final", time_varying=False)],
        parameters={"viscosity": viscosity, "final_time": final_time},
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
    from workflows.make_burgers_dataset import main as importable_main

    script.run(importable_main)
