"""Running a workflow's tasks on an executor, and skipping those that an earlier run has finished."""

import dataclasses
import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from sciten.errors import SciTenError
from sciten.files import atomic_path

Arrays = Mapping[str, np.ndarray]
Task = TypeVar("Task")


class TaskError(SciTenError, RuntimeError):
    """Tasks of a workflow failed; the message names the first, and the results of the others are kept."""


def run_tasks(
    function: Callable[[Task], Arrays],
    tasks: Sequence[Task],
    *,
    executor: Executor,
    folder: Path,
    version: str,
    progress: bool = True,
    description: str = "tasks",
) -> list[Path]:
    """Run `function` on each task; the files of the results, for `load_result`, in the order of `tasks`.

    Each result is written to one file in `folder` as soon as it is there, so a run that is stopped and
    started again computes only what is missing. No result stays in memory.

    Args:
        function: a pure function, importable by the workers, from a task to named arrays.
        tasks: frozen dataclasses of plain values, all different: they alone decide the result.
        executor: any `concurrent.futures.Executor`.
        folder: where the results are kept, one `.npz` file for each task.
        version: what else the results depend on, for instance the version of a quantum-chemistry program.
        progress: show a progress bar.
        description: what the progress bar says.

    Raises:
        TaskError: tasks failed; the results of the others are kept.
        StorageError: a result cannot be written.
    """
    files = [folder / f"{key}.npz" for key in task_keys(function, tasks, version)]
    missing = [i for i, file in enumerate(files) if not _is_complete(file)]
    with tqdm(
        total=len(tasks),
        initial=len(tasks) - len(missing),
        desc=description,
        disable=None if progress else True,
    ) as bar:
        futures: dict[Future[Arrays], int] = {executor.submit(function, tasks[i]): i for i in missing}
        failures: list[tuple[int, BaseException]] = []
        for future in as_completed(futures):
            i = futures.pop(future)  # which holds the result
            error = future.exception()
            if error is None:
                _save(files[i], future.result())
            else:
                failures.append((i, error))
            bar.update()
    if failures:
        i, error = min(failures, key=lambda failure: failure[0])
        others = f"; {len(failures) - 1} more failed" if len(failures) > 1 else ""
        reason = str(error) if isinstance(error, SciTenError) else f"{type(error).__name__}: {error}"
        raise TaskError(f"{reason} (task {i + 1} of {len(tasks)}: {tasks[i]}{others})") from error
    return files


def load_result(file: Path) -> dict[str, np.ndarray]:
    """The arrays that a task gave."""
    with np.load(file, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


def task_keys(function: Callable[[Task], Arrays], tasks: Iterable[Task], version: str) -> list[str]:
    """A hash for each task of all that decides its result."""
    return [_key(function, task, version) for task in tasks]


def _key(function: Callable[[Any], Arrays], task: Any, version: str) -> str:
    content = {
        "function": f"{function.__module__}.{function.__qualname__}",
        "task": dataclasses.asdict(task),
        "version": version,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def _is_complete(file: Path) -> bool:
    # Written atomically, so a file that is there is whole unless somebody else has damaged it.
    if not (file.exists() and zipfile.is_zipfile(file)):
        return False
    try:
        with zipfile.ZipFile(file) as content:
            return content.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError):  # whatever was damaged
        return False


def _save(file: Path, arrays: Arrays) -> None:
    with atomic_path(file) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **dict(arrays))  # type: ignore[arg-type]
