"""Programs that do the same with tensor trains, each in a process of its own, timed in turn."""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import sciten
from sciten.cli.benchmarks.processes import SCRIPTS, Worker, WorkerError, interleaved
from sciten.cli.benchmarks.summary import spread
from sciten.tensor import TensorTrain

OURS = "sciten"
#: Calls that take longer, in seconds, are timed once.
_LONG = 20.0


@dataclass(frozen=True)
class Program:
    """What takes part.

    Args:
        name: of the program, and of what is special about it.
        python: to run a peer's worker with; None for our own.
        options: for the worker.
        threads: that it may use.
    """

    name: str
    python: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1

    @property
    def title(self) -> str:
        """Name with its threads."""
        return f"{self.name}, {self.threads} thread{'s' if self.threads > 1 else ''}"

    def worker(self) -> Worker:
        """Its process."""
        environment: dict[str, str | None] = {"PYTHONPATH": None, "PYTHONDONTWRITEBYTECODE": "1"}
        if self.python is not None:
            command: list[str | Path] = [self.python, SCRIPTS / "torch_tt.py"]
        else:
            command = [sys.executable, "-m", "sciten.cli.benchmarks.workers.low_rank"]
            path = [str(Path(sciten.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment["PYTHONPATH"] = os.pathsep.join(path)
        return Worker(self.title, command, threads=self.threads, environment=environment)


def contest(
    title: str,
    programs: Sequence[Program],
    trains: Mapping[str, Sequence[torch.Tensor]],
    request: Mapping[str, Any],
    *,
    tolerances: Sequence[float] = (0.0,),
    good: Callable[[Mapping[str, Any], TensorTrain | None], tuple[bool, dict[str, Any]]],
    rounds: int,
    limit: float,
    bar: tqdm,
) -> dict[str, Any]:
    """One row: every program at the largest tolerance that gives a good answer, timed in turn.

    Args:
        title: of the row.
        programs: ours first.
        trains: tensors by name, for all of them.
        request: the task.
        tolerances: descending, to be tried in this order.
        good: from the reply of a check and the train it wrote, whether it serves, and facts about it.
        rounds: of timing.
        limit: seconds for a call of a peer; one that takes longer is stopped.
        bar: to say what is going on.
    """
    facts: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        files = {"trains": f"{folder}/trains.npz", "answer": f"{folder}/answer.npz"}
        arrays = {f"{name}_{k}": t.numpy() for name, cores in trains.items() for k, t in enumerate(cores)}
        np.savez(files["trains"], **arrays)  # type: ignore[arg-type]
        ready = []
        for program in programs:
            bar.set_description(f"{title}: {program.title}")
            worker = stack.enter_context(program.worker())
            try:
                facts[program.title] = _calibrated(
                    worker,
                    {**request, **files, "options": dict(program.options)},
                    tolerances,
                    good,
                    None if program.name == OURS else limit,
                )
                ready.append(worker)
            except WorkerError as error:
                if program.name == OURS:
                    raise
                stopped = {"stopped_s": limit} if "took longer" in str(error) else {}
                facts[program.title] = {"absent": str(error), **stopped}
        bar.set_description(title)
        slowest = max(fact["checked_s"] for fact in facts.values() if "checked_s" in fact)
        seconds = interleaved(ready, rounds if slowest < _LONG else 1)
    for worker in ready:
        facts[worker.name]["ms"] = spread([1e-3 * s for s in seconds[worker.name]], 1.0)
    return {"title": title, "programs": facts, "ratios": _ratios(programs, facts)}


def _calibrated(
    worker: Worker,
    request: dict[str, Any],
    tolerances: Sequence[float],
    good: Callable[[Mapping[str, Any], TensorTrain | None], tuple[bool, dict[str, Any]]],
    limit: float | None,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tolerance in tolerances:
        facts = worker.ask("prepare", {**request, "tolerance": tolerance}, limit=limit)
        Path(request["answer"]).unlink(missing_ok=True)
        start = time.perf_counter()
        reply = worker.ask("check", limit=limit)
        facts["checked_s"] = round(time.perf_counter() - start, 3)
        answer = None
        if Path(request["answer"]).exists():
            with np.load(request["answer"]) as file:
                answer = TensorTrain(tuple(torch.from_numpy(file[name]) for name in file.files))
        enough, about = good(reply, answer)
        found = {**facts, "tolerance": tolerance, **about}
        if enough:
            return found
    raise WorkerError(f"{worker.name}: no tolerance gave a good answer; the last gave {found}")


def _ratios(programs: Sequence[Program], facts: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The best median of each peer over the best of ours."""
    best: dict[str, float] = {}
    for program in programs:
        if "ms" in facts[program.title]:
            median = facts[program.title]["ms"]["median"]
            best[program.name] = min(median, best.get(program.name, median))
    return {name: round(value / best[OURS], 2) for name, value in best.items() if name != OURS}
