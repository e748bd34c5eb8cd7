"""Where the tasks of a workflow run: a pool of processes here, SLURM through submitit, or Parsl."""

import contextlib
import enum
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from sciten.errors import ConfigError, MissingExtraError


class ExecutorKind(enum.StrEnum):
    """What a workflow's command line offers; from Python, any `concurrent.futures.Executor` will do."""

    PROCESS = "process"
    SLURM = "slurm"
    PARSL = "parsl"


@contextlib.contextmanager
def open_executor(
    kind: ExecutorKind, *, workers: int | None, folder: Path, slurm_options: Sequence[str] = ()
) -> Iterator[Executor]:
    """Yield an executor whose workers run one thread each; after an error, tasks not yet begun are dropped.

    Args:
        kind: which executor.
        workers: processes on this machine, for `process` and `parsl`; None for one on each core. SLURM gets
            one job for each task.
        folder: where submitit and Parsl keep their files; SLURM's nodes must see it.
        slurm_options: `KEY=VALUE`, given to submitit as `slurm_KEY`, for instance `partition=cpu`.
    """
    workers = _cores() if workers is None else workers
    if workers < 1:
        raise ConfigError(f"workers: expected a positive number, got {workers}")
    if slurm_options and kind is not ExecutorKind.SLURM:
        raise ConfigError(f"slurm options mean nothing to the executor {kind}; ask for the executor slurm")
    with _workers_environment():
        executor: Executor
        if kind is ExecutorKind.SLURM:
            parameters = {"timeout_min": 60, **_slurm_parameters(slurm_options)}
            executor = SubmititExecutor(folder / "submitit", parameters=parameters)
        elif kind is ExecutorKind.PARSL:
            executor = parsl_executor(workers, folder / "parsl")
        else:
            executor = process_executor(workers)
        try:
            yield executor
        except BaseException:
            # Parsl cannot cancel, and warns when asked to.
            executor.shutdown(cancel_futures=kind is not ExecutorKind.PARSL)
            raise
        executor.shutdown()


def process_executor(workers: int) -> ProcessPoolExecutor:
    """A pool of freshly started (not forked) processes, which end with the process that started them."""
    return ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent
    )


def parsl_executor(workers: int, folder: Path) -> Executor:
    """Parsl's pool executor over local processes; for a cluster, make one from your own `parsl.Config`."""
    try:
        import parsl
        from parsl.concurrent import ParslPoolExecutor
        from parsl.executors import HighThroughputExecutor
    except ImportError as error:
        raise MissingExtraError("parsl is not installed; pip install 'sciten[parsl]'") from error
    pool = HighThroughputExecutor(max_workers_per_node=workers, address="127.0.0.1")
    return ParslPoolExecutor(parsl.Config(executors=[pool], run_dir=str(folder), strategy="none"))


class SubmititExecutor(Executor):
    """submitit as a `concurrent.futures.Executor`: one job for each call, all watched by one thread."""

    def __init__(
        self,
        folder: Path,
        *,
        cluster: str = "slurm",
        parameters: Mapping[str, Any] | None = None,
        poll_seconds: float = 2.0,
    ):
        """Prepare to submit.

        Args:
            folder: where submitit keeps scripts, logs and results; every node must see it.
            cluster: `slurm`, or `local` for subprocesses on this machine.
            parameters: submitit's, for instance `{"slurm_partition": "cpu", "timeout_min": 60}`.
            poll_seconds: how often the jobs are looked at.
        """
        try:
            import submitit
        except ImportError as error:
            raise MissingExtraError("submitit is not installed; pip install 'sciten[slurm]'") from error
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._submitit = submitit.AutoExecutor(folder, cluster=cluster)
            self._submitit.update_parameters(**{"cpus_per_task": 1, **(parameters or {})})
        except (NameError, RuntimeError, ValueError) as error:
            raise ConfigError(f"submitit cannot submit to {cluster}: {error}") from error
        self._poll_seconds = poll_seconds
        self._condition = threading.Condition()
        self._pending: list[tuple[Any, Future[Any]]] = []
        self._closed = False
        self._watcher = threading.Thread(target=self._watch, name="submitit watcher", daemon=True)
        self._watcher.start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Submit one job. Its future counts as pending, and can be cancelled, until the job has ended."""
        with self._condition:
            if self._closed:
                raise RuntimeError("this executor was shut down and takes no more jobs")
            future: Future[Any] = Future()
            self._pending.append((self._submitit.submit(function, *args, **kwargs), future))
            return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs; wait for those submitted, or cancel them."""
        with self._condition:
            self._closed = True
            for _, future in self._pending if cancel_futures else ():
                future.cancel()
            self._condition.notify()
        if wait:
            self._watcher.join()

    def _watch(self) -> None:
        while True:
            with self._condition:
                if self._closed and not self._pending:
                    return
                self._condition.wait(self._poll_seconds)
                looked_at = list(self._pending)
            # Outside the lock, so that asking SLURM does not hold up `submit`.
            ended = [future for job, future in looked_at if _settle(job, future)]
            with self._condition:
                self._pending = [pair for pair in self._pending if pair[1] not in ended]


def _settle(job: Any, future: "Future[Any]") -> bool:
    """Hand a finished job's result to its future; True once there is nothing left to wait for."""
    if future.cancelled():
        job.cancel(check=False)
        return True
    if not job.done():
        return False
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(job.result())
        except Exception as error:
            future.set_exception(error)
    return True


def _slurm_parameters(options: Sequence[str]) -> dict[str, Any]:
    parameters = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not (key and equals and value):
            raise ConfigError(f"slurm option {option!r}: expected KEY=VALUE, for instance partition=cpu")
        parameters[f"slurm_{key}"] = yaml.safe_load(value)
    return parameters


def _cores() -> int:
    # Those that this process may use; not every system tells.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _workers_environment() -> Iterator[None]:
    # Workers inherit these: one thread each, since numerical libraries read the number when they are loaded,
    # and the folder of this Python's programs, where Parsl looks for its own.
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    wanted = {"OMP_NUM_THREADS": "1", "PATH": programs}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end_with_parent() -> None:
    # A worker whose parent was killed would otherwise wait for its next task for ever.
    threading.Thread(target=_exit_after, args=[multiprocessing.parent_process()], daemon=True).start()


def _exit_after(process: Any) -> None:
    process.join()
    os._exit(1)
