"""Datasets of fields from our own solvers: what the workflows that make them share."""

import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import typer

import sciten
from sciten.datasets.fields import Axis, Field, FieldWriter
from sciten.errors import ConfigError
from workflows.executors import ExecutorKind, open_executor
from workflows.tasks import Arrays, run_tasks

LICENCE = "CC0-1.0"
SMALL_COUNTS = {"train": 4, "test": 2}

Name = Annotated[str, typer.Option(help="How the names of the two files begin.")]
TrainSamples = Annotated[int, typer.Option(min=1, help="Samples for training.")]
TestSamples = Annotated[int, typer.Option(min=1, help="Samples for testing, from another seed.")]
Batch = Annotated[int, typer.Option(min=1, help="Samples that are solved for together, in one task.")]


@dataclass(frozen=True)
class Batched:
    """Samples of one split that a task makes together.

    Args:
        split: `train` or `test`.
        seed: of the random fields of the split.
        first: number of the first sample.
        count: how many.
    """

    split: str
    seed: int
    first: int
    count: int

    @property
    def numbers(self) -> range:
        """Of the samples."""
        return range(self.first, self.first + self.count)


class Task(Protocol):
    """What a dataset needs to know of a task."""

    @property
    def batch(self) -> Batched:
        """The samples that it makes."""


AnyTask = TypeVar("AnyTask", bound=Task)


@dataclass(frozen=True, eq=False)
class Description:
    """What a file says about its fields, as `FieldWriter` takes it."""

    axes: Sequence[Axis]
    fields: Sequence[Field]
    parameters: Mapping[str, float]
    times: Sequence[float] | None = None


def batches(equation: str, seed: int, counts: Mapping[str, int], size: int) -> Iterator[Batched]:
    """The samples of each split in batches; a seed gives each equation and split fields of their own."""
    for split, count in counts.items():
        own = zlib.crc32(f"{seed} {equation} {split}".encode())
        for first in range(0, count, size):
            yield Batched(split, own, first, min(size, count - first))


def as_options(values: Mapping[str, float | str | None]) -> list[str]:
    """Values of a command's options as arguments, for the record; those that are None are left out."""
    pairs = (
        (f"--{name.replace('_', '-')}", str(value)) for name, value in values.items() if value is not None
    )
    return list(itertools.chain.from_iterable(pairs))


def every(solver_resolution: int, resolution: int, *, ends: bool) -> int:
    """Every how many points of the solver's grid one is kept.

    Args:
        solver_resolution: number of points that are solved on.
        resolution: number of points that are kept.
        ends: whether both ends of the axis are points, as they are not on periodic axes.

    Raises:
        ConfigError: the points that are kept are none of the solver's.
    """
    fine, coarse = (n - 1 if ends else n for n in (solver_resolution, resolution))
    if coarse < 4 or fine % coarse:
        nearest = max(1, round(fine / max(coarse, 4))) * max(coarse, 4) + (1 if ends else 0)
        raise ConfigError(
            f"solver resolution: expected {'one more than ' if ends else ''}a multiple of {max(coarse, 4)}, for "
            f"{resolution} points, got {solver_resolution}; the nearest is {nearest}"
        )
    return fine // coarse


def make_datasets(
    name: str,
    function: Callable[[AnyTask], Arrays],
    tasks: Sequence[AnyTask],
    output: Path,
    *,
    description: Description,
    executor: Executor,
    work: Path,
    command: str = "",
    progress: bool = True,
) -> list[Path]:
    """Run tasks that give fields, and write `NAME_train.h5` and `NAME_test.h5` in the order of the tasks.

    Args:
        name: how the files' names begin.
        function: runs one task; its arrays are `[n_samples, ...]` for each field of the description.
        tasks: what to sample and solve.
        output: the folder of the datasets.
        description: of the fields.
        executor: where the tasks run.
        work: the folder where finished tasks are kept.
        command: what the datasets say they were made with.
        progress: show a progress bar.

    Raises:
        TaskError: tasks failed; the results of the others are kept.
    """
    version = f"sciten {sciten.__version__}"
    results = run_tasks(
        function, tasks, executor=executor, folder=work, version=version, progress=progress, description=name
    )
    files = []
    for split in dict.fromkeys(task.batch.split for task in tasks):
        files.append(output / f"{name}_{split}.h5")
        with FieldWriter(
            files[-1],
            name=f"{name}_{split}",
            axes=description.axes,
            fields=description.fields,
            times=description.times,
            parameters=description.parameters,
            command=command,
            licence=LICENCE,
        ) as writer:
            for task, arrays in zip(tasks, results, strict=True):
                for index in range(task.batch.count if task.batch.split == split else 0):
                    writer.append({field: values[index] for field, values in arrays.items()})
    return files


def write_datasets(
    name: str,
    function: Callable[[AnyTask], Arrays],
    tasks: Sequence[AnyTask],
    output: Path,
    *,
    description: Description,
    executor: ExecutorKind,
    workers: int | None,
    slurm_options: Sequence[str],
    work: Path,
    command: str,
) -> None:
    """How the command of each dataset ends: `make_datasets` on the executor that its options ask for.

    Args:
        name, function, tasks, output, description, command: see `make_datasets`.
        executor, workers, slurm_options: see `open_executor`.
        work: the folder of finished tasks, `tasks/`, and of the executor's own files.
    """
    with open_executor(executor, workers=workers, folder=work, slurm_options=slurm_options) as pool:
        files = make_datasets(
            name,
            function,
            tasks,
            output,
            description=description,
            executor=pool,
            work=work / "tasks",
            command=command,
        )
    for file in files:
        print(f"wrote {file}")
