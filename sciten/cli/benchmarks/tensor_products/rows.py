"""One row of the results: programs, each in its own process, prepared, compared and timed in turn."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

from tqdm import tqdm

import sciten
from sciten.cli.benchmarks.processes import SCRIPTS, Worker, WorkerError, interleaved
from sciten.cli.benchmarks.summary import compare, spread
from sciten.cli.benchmarks.tensor_products.settings import Settings

#: What a worker measures in one round, at least, if one call takes less.
_ROUND_SECONDS, _MOST_REPEATS = 0.05, 50
_LEAST_ROUNDS = 3
_MODULES = "sciten.cli.benchmarks.workers"


@dataclass(frozen=True)
class Program:
    """A program to measure.

    Attributes:
        name: in the results.
        module: of the package of workers; or, with `python`, a script in its folder.
        request: what it is asked to prepare.
        python: of an environment that has it; None for this one.
        like: the program whose results it is to agree with.
        limit: seconds for preparing and the first call; a program with a limit is left out where it fails.
        cached: whether to start it once more for the last variant, to see what its first call takes with the kernels on
            disk.
    """

    name: str
    module: str
    request: Mapping[str, Any] = field(default_factory=dict)
    python: str | None = None
    like: str | None = None
    limit: float | None = None
    cached: bool = False


class Measurer:
    """Measures rows. A context manager, whose folder is there for files.

    Args:
        settings: rounds, warm-up and threads.
        bar: shows what happens and counts the rows.
    """

    def __init__(self, settings: Settings, bar: tqdm) -> None:
        self.settings = settings
        self.versions: dict[str, str] = {}
        self.bar = bar
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name)

    def __enter__(self) -> "Measurer":
        return self

    def __exit__(self, *_: object) -> None:
        self._temporary.cleanup()

    def worker(self, program: Program) -> Worker:
        """Start a program's process."""
        environment: dict[str, str | None]
        if program.python is not None:
            environment = {"PYTHONPATH": None, "PYTHONDONTWRITEBYTECODE": "1"}
            command: list[str | Path] = [program.python, SCRIPTS / f"{program.module}.py"]
            return Worker(program.name, command, threads=self.settings.threads, environment=environment)
        # Empty caches of kernels: the first call is to be what a new user meets.
        path = [str(Path(sciten.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            "PYTHONPATH": os.pathsep.join(path),
            **dict.fromkeys(("SCITEN_CACHE", "TORCHINDUCTOR_CACHE_DIR"), str(self._cache(program))),
        }
        command = [sys.executable, "-m", f"{_MODULES}.{program.module}"]
        return Worker(program.name, command, threads=self.settings.threads, environment=environment)

    def _cache(self, program: Program) -> Path:
        # One for each program and request: later processes for the same find what the first one compiled.
        words = [program.name, *(f"{value}" for value in program.request.values())]
        return self.folder / "kernels" / "".join(c if c.isalnum() else "_" for c in "_".join(words))[:200]

    def rows(
        self,
        title: str,
        programs: Sequence[Program],
        variants: Mapping[str, Mapping[str, Any]],
        quantity: str,
        units: float,
    ) -> dict[str, dict[str, Any]]:
        """A row for each variant, measured one after the other with the same processes.

        Args:
            title: for the bar.
            programs: those compared.
            variants: by name, what is added to their requests.
            quantity: the name of what is measured, per unit: "us_per_edge".
            units: how many of them a call works on.

        Raises:
            WorkerError: a program without a limit fails.
        """
        found = {}
        with contextlib.ExitStack() as stack:
            left_out: dict[str, str] = {}
            workers: dict[str, Worker] = {}
            for program in programs:
                try:
                    workers[program.name] = stack.enter_context(self.worker(program))
                except WorkerError as error:
                    if program.limit is None:
                        raise
                    left_out[program.name] = str(error)
            for name, details in variants.items():
                again = name == list(variants)[-1]
                found[name] = self._row(title, programs, workers, left_out, details, quantity, units, again)
        # A process has done the earlier variants when it comes to a later one.
        for earlier, later in pairwise(found.values()):
            for name, facts in later["programs"].items():
                facts["first_s"] = round(facts["first_s"] + earlier["programs"][name]["first_s"], 3)
        return found

    def _row(
        self,
        title: str,
        programs: Sequence[Program],
        workers: Mapping[str, Worker],
        left_out: dict[str, str],
        details: Mapping[str, Any],
        quantity: str,
        units: float,
        again: bool,
    ) -> dict[str, Any]:
        facts: dict[str, dict[str, Any]] = {}
        answers: dict[str, dict[str, Any]] = {}
        calls: dict[str, float] = {}
        for program in programs:
            name = program.name
            if name in left_out:
                continue
            self.bar.set_description(f"{title}: {name} prepares")
            try:
                facts[name], calls[name], answers[name] = self._prepare(
                    program, workers[name], details, again
                )
                if program.like is not None:
                    facts[name]["difference"] = compare(name, answers[name], answers[program.like])
            except WorkerError as error:
                if program.limit is None:
                    raise
                facts.pop(name, None)
                calls.pop(name, None)
                left_out[name] = str(error)
        self.bar.set_description(title)
        ready = [workers[name] for name in facts]
        repeats = {name: repeats_of(seconds) for name, seconds in calls.items()}
        rounds = self._rounds(sum(calls[name] * (n + (n > 1)) for name, n in repeats.items()))
        seconds = interleaved(ready, rounds, repeats=repeats)
        for worker in ready:
            facts[worker.name] |= {
                quantity: spread(seconds[worker.name], units),
                "repeats": repeats[worker.name],
                **worker.ask("memory"),
            }
        self.bar.update()
        return {"rounds": rounds, "programs": facts, "left_out": dict(left_out)}

    def _rounds(self, round_seconds: float) -> int:
        affordable = int(self.settings.row_seconds / max(round_seconds, 1e-9))
        return min(self.settings.rounds, max(_LEAST_ROUNDS, affordable))

    def _prepare(
        self, program: Program, worker: Worker, details: Mapping[str, Any], again: bool
    ) -> tuple[dict[str, Any], float, dict[str, Any]]:
        """What is known of a program before it is timed, seconds of a call, and its results."""
        request = {**program.request, **details}
        facts = first_call(worker, request, program.limit)
        self.versions |= facts.pop("versions", {})
        if program.cached and again:
            with self.worker(program) as another:
                facts["cached_first_s"] = first_call(another, request, program.limit)["first_s"]
        last = 0.0
        for _ in range(max(1, self.settings.warm_up - 1)):
            last = worker.ask("call", limit=program.limit)["seconds"]
        return facts, last, worker.ask("check", limit=program.limit)


def first_call(worker: Worker, request: Mapping[str, Any], limit: float | None) -> dict[str, Any]:
    """Prepare a job and call it: seconds to build it, to call it, and of both together (`first_s`)."""
    facts = worker.ask("prepare", request, limit=limit)
    remaining = None if limit is None else max(1.0, limit - facts["load_s"])
    facts["first_call_s"] = round(worker.ask("call", limit=remaining)["seconds"], 3)
    facts["load_s"] = round(facts["load_s"], 3)
    facts["first_s"] = round(facts["load_s"] + facts["first_call_s"], 3)
    return facts


def repeats_of(seconds: float) -> int:
    """How many calls of a length make up one timing."""
    return max(1, min(_MOST_REPEATS, ceil(_ROUND_SECONDS / max(seconds, 1e-9))))
