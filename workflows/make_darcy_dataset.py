"""Darcy's equation −∇·(a∇u) = 1 on the unit square, u = 0 on its boundary, for random coefficients a.

The coefficient follows from a Gaussian field N(0, (−Δ + 9)^(−2)) with zero Neumann conditions: 12 where it is zero or
more and 3 elsewhere, or its exponential. Fields lie on n points of each axis from 0 to 1, ends included; they are
solved for on finer points, of which every k-th is kept. A seed gives the same coefficients at every resolution.
"""

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sciten.datasets.fields import Axis, Field
from sciten.pde.darcy import every_nth, log_normal, piecewise, solve_darcy
from sciten.pde.spectral import PERMEABILITY
from workflows import field_datasets, script
from workflows.executors import ExecutorKind
from workflows.field_datasets import Batched, Description, as_options
from workflows.tasks import Arrays


class Coefficient(enum.StrEnum):
    """How a coefficient is made from a field."""

    PIECEWISE = "piecewise"
    LOG_NORMAL = "log-normal"


@dataclass(frozen=True)
class Samples:
    """One task.

    Args:
        batch: which samples.
        coefficient: how they are made.
        resolution: points of each axis, ends included.
        step: every how many of the solver's points that is.
        modes: highest wavenumber of the random field.
    """

    batch: Batched
    coefficient: Coefficient
    resolution: int
    step: int
    modes: int
    # A constant of this script, but it too decides the result, which is kept under a hash of all this.
    field: str = repr(PERMEABILITY)


def solve(samples: Samples) -> Arrays:
    """`coefficient` and `solution`, `[n_samples, n, n]`."""
    points = samples.step * (samples.resolution - 1) + 1
    batch = samples.batch
    fields = PERMEABILITY.sample(points, seed=batch.seed, samples=batch.numbers, modes=samples.modes)
    make = piecewise if samples.coefficient is Coefficient.PIECEWISE else log_normal
    coefficient = make(fields)
    found = {"coefficient": coefficient, "solution": solve_darcy(coefficient)}
    return {name: every_nth(field, samples.step).numpy().astype(np.float32) for name, field in found.items()}


def main(
    output: script.Output = Path("data"),
    work: script.Work = Path("runs/make_darcy_dataset"),
    name: field_datasets.Name = "darcy",
    coefficient: Annotated[Coefficient, typer.Option(help="How it is made.")] = Coefficient.PIECEWISE,
    resolution: Annotated[int, typer.Option(help="Points of each axis, ends included.")] = 32,
    solver_resolution: Annotated[
        int | None, typer.Option(help="Points that are solved on.", show_default="4 (resolution - 1) + 1")
    ] = None,
    modes: Annotated[int, typer.Option(min=1, help="Highest wavenumber of the random field.")] = 128,
    train_samples: field_datasets.TrainSamples = 64,
    test_samples: field_datasets.TestSamples = 32,
    batch: field_datasets.Batch = 8,
    seed: script.Seed = 1,
    small: script.Small = False,
    overwrite: script.Overwrite = False,
    executor: script.Kind = ExecutorKind.PROCESS,
    workers: script.Workers = None,
    slurm_option: script.SlurmOptions = [],  # noqa: B006 (typer reads it, nobody changes it)
) -> None:
    """Make darcy_train.h5 and darcy_test.h5: random coefficients and the solutions of Darcy's equation."""
    solver_resolution = solver_resolution or 4 * (resolution - 1) + 1
    step = field_datasets.every(solver_resolution, resolution, ends=True)
    counts = field_datasets.sample_counts(train_samples, test_samples, small=small)
    tasks = [
        Samples(one, coefficient, resolution, step, modes)
        for one in field_datasets.batches("darcy", seed, counts, batch)
    ]
    options = {
        "coefficient": coefficient.value,
        "resolution": resolution,
        "solver_resolution": solver_resolution,
        "modes": modes,
        "train_samples": train_samples,
        "test_samples": test_samples,
    }
    command = script.recorded_command("make_darcy_dataset.py", *as_options(options), seed=seed, small=small)
    description = Description(
        axes=[Axis.bounded(axis, resolution) for axis in ("x", "y")],
        fields=[Field("coefficient", time_varying=False), Field("solution", time_varying=False)],
        parameters={},
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
    from workflows.make_darcy_dataset import main as importable_main

    script.run(importable_main)
