"""Datasets of fields from our own solvers: what the workflows that make them share."""

import hashlib
import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import typer

import sciten
from sciten.datasets.fields import Axis, Field, FieldWriter
from sciten.datasets.fields.layout import read_layout
from sciten.errors import ConfigError, DataError
from workflows.executors import ExecutorKind, open_executor
from workflows.script import require_replaceable
from workflows.tasks import Arrays, load_result, run_tasks, task_keys

LICENCE = "CC0-1.0"
SMALL_COUNTS = {"train": 4, "test": 2}

Name = Annotated[str, typer.Option(help="How the names of the two files begin.")]
TrainSamples = Annotated[int, typer.Option(min=0, help="Samples for training.")]
TestSamples = Annotated[int, typer.Option(min=0, help="Samples for testing, from another seed.")]
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


def sample_counts(train: int, test: int, *, small: bool) -> dict[str, int]:
    """How many samples each split has; raises `ConfigError` where there are none at all."""
    if not (small or train or test):
        raise ConfigError("samples: expected some for training or for testing, got none")
    return SMALL_COUNTS if small else {"train": train, "test": test}


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
    if coarse < 4:
        raise ConfigError(f"resolution: expected at least {5 if ends else 4} points, got {resolution}")
    if fine < 1 or fine % coarse:
        nearest = max(1, round(fine / coarse)) * coarse + (1 if ends else 0)
        raise ConfigError(
            f"solver resolution: expected {'one more than ' if ends else ''}a multiple of {coarse}, for {resolution} "
            f"points, got {solver_resolution}; the nearest is {nearest}"
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
    overwrite: bool = False,
    progress: bool = True,
) -> dict[Path, bool]:
    """Run tasks that give fields, and write `NAME_train.h5` and `NAME_test.h5` in the order of the tasks.

    A file that was made from the same tasks, with the same description and command, is left as it is; what its tasks
    gave is not even looked at.

    Args:
        name: how the files' names begin.
        function: runs one task; its arrays are `[n_samples, ...]` for each field of the description.
        tasks: what to sample and solve; a split without tasks has no file.
        output: the folder of the datasets.
        description: of the fields.
        executor: where the tasks run.
        work: the folder where finished tasks are kept.
        command: what the datasets say they were made with.
        overwrite: whether to replace files that were not made with this command.
        progress: show a progress bar.

    Returns:
        For each file whether it was written.

    Raises:
        ConfigError: a file stands there that was made otherwise.
        TaskError: tasks failed; the results of the others are kept.
    """
    version = f"sciten {sciten.__version__}"
    files, stale = {}, []
    for split in dict.fromkeys(task.batch.split for task in tasks):
        own = [task for task in tasks if task.batch.split == split]
        path = output / f"{name}_{split}.h5"
        made_from = _digest(command, description, task_keys(function, own, version))
        files[path] = not _is_current(path, made_from)
        if files[path]:
            require_replaceable(path, command, overwrite=overwrite)
            stale.append((path, made_from, own))
    missing = [task for _, _, own in stale for task in own]
    results = iter(
        run_tasks(
            function,
            missing,
            executor=executor,
            folder=work,
            version=version,
            progress=progress,
            description=name,
        )
    )
    for path, made_from, own in stale:
        with FieldWriter(
            path,
            name=path.stem,
            axes=description.axes,
            fields=description.fields,
            times=description.times,
            parameters=description.parameters,
            command=command,
            licence=LICENCE,
            made_from=made_from,
        ) as writer:
            for task in own:
                _append(writer, load_result(next(results)), task.batch.count)
    return files


def _append(writer: FieldWriter, arrays: Arrays, count: int) -> None:
    for index in range(count):
        writer.append({field: values[index] for field, values in arrays.items()})


def _digest(command: str, description: Description, keys: Sequence[str]) -> str:
    axes = [(axis.name, axis.coordinates.tolist(), axis.lower, axis.upper) for axis in description.axes]
    times = None if description.times is None else list(description.times)
    what = [axes, repr(description.fields), dict(description.parameters), times]
    return hashlib.sha256(json.dumps([command, what, *keys]).encode()).hexdigest()


def _is_current(path: Path, made_from: str) -> bool:
    try:
        return read_layout(path).record.get("made_from") == made_from
    except DataError:  # missing, or damaged
        return False


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
    overwrite: bool,
) -> None:
    """How the command of each dataset ends: `make_datasets` on the executor that its options ask for.

    Args:
        name, function, tasks, output, description, command, overwrite: see `make_datasets`.
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
            overwrite=overwrite,
        )
    for file, is_new in files.items():
        print(f"wrote {file}" if is_new else f"kept {file}, which the same command made")
