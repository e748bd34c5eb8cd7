"""A training step and a forward pass beside neuraloperator's, with the same architecture and weights."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

import sciten
from sciten.cli.benchmarks.parts import Settings
from sciten.cli.benchmarks.processes import SCRIPTS, Worker, WorkerError, interleaved
from sciten.cli.benchmarks.summary import at_most, spread, target

#: What is measured: name, neuraloperator's format, whether there are two ways of running it.
_FORMATS = (("dense", None), ("CP", "CP"), ("Tucker", "Tucker"), ("TT", "TT"))
_OURS, _THEIRS = "sciten", "neuraloperator"


def measure(settings: Settings, bar: tqdm) -> list[dict[str, Any]]:
    """A row for each format and task; without a peer none, since it gives the weights."""
    if settings.peer_python is None:
        return []
    size = {"grid": [64, 64], "batch": 8, "hidden_channels": 32, "modes": [16, 16]}
    if settings.small:
        size = {"grid": [8, 8], "batch": 2, "hidden_channels": 4, "modes": [4, 4]}
    rows = []
    for name, kind in _FORMATS[2:3] if settings.small else _FORMATS:
        request = {**size, "format": kind, "rank": 0.1}
        with tempfile.TemporaryDirectory() as folder:
            paths = {dtype: f"{folder}/{dtype}.pt" for dtype in ("float32", "float64")}
            request["weights"] = paths
            bar.set_description(f"{name} weights")
            errors = _compared(settings.peer_python, request)
            for task in ("step", "forward"):
                bar.set_description(f"{name} weights, {task}")
                rows.append(_row(name, {**request, "task": task}, settings, errors))
    return rows


def _compared(python: str, request: dict[str, Any]) -> dict[str, Any]:
    """The peer writes its weights and outputs; how far ours differ."""
    options = {"options": {"implementation": "factorized"}, "task": "forward"}
    with _worker("export", python, threads=1) as peer:
        peer.ask("prepare", {**request, **options})
        peer.ask("check")
    with _worker("compare", None, threads=1) as ours:
        ours.ask("prepare", {**request, **options})
        return ours.ask("check")


def _row(name: str, request: dict[str, Any], settings: Settings, errors: dict[str, Any]) -> dict[str, Any]:
    ways = ["reconstructed"] if request["format"] is None else ["factorized", "reconstructed"]
    programs: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        workers = []
        for title, python, threads, options in _programs(settings.peer_python, ways):
            worker = stack.enter_context(_worker(title, python, threads=threads))
            programs[title] = worker.ask("prepare", {**request, "options": options}, limit=settings.limit)
            workers.append(worker)
        seconds = interleaved(workers, settings.rounds, repeats={w.name: 3 for w in workers})
        for worker in workers:
            found = worker.ask("memory")
            programs[worker.name] |= {
                "ms": spread([1e-3 * s for s in seconds[worker.name]], 1.0),
                "memory_mb": _difference(found),
            }
    programs[_best(programs, _OURS)] |= errors
    batch, grid = request["batch"], "×".join(map(str, request["grid"]))
    row: dict[str, Any] = {
        "part": "step",
        "title": f"{name} weights, {'training step' if request['task'] == 'step' else 'forward'}, {batch}×1×{grid}",
        "programs": programs,
    }
    ours, theirs = (programs[_best(programs, who)] for who in (_OURS, _THEIRS))
    ratio = round(theirs["ms"]["median"] / ours["ms"]["median"], 2)
    row["ratios"] = {_THEIRS: ratio}
    row["targets"] = [at_most("difference of the outputs in float64", errors["error_float64"], 1e-6)]
    if request["task"] == "step":
        row["targets"].append(target("neuraloperator / sciten", ratio, 1.5))
        if None not in (ours["memory_mb"], theirs["memory_mb"]):
            row["targets"].append(
                at_most("memory / neuraloperator's", ours["memory_mb"] / theirs["memory_mb"], 1.0)
            )
    return row


def _programs(python: str | None, ways: list[str]) -> Iterator[tuple[str, str | None, int, dict[str, Any]]]:
    """Name, Python (None for ours), threads and options of everything that takes part."""
    for threads in (1, 2):
        plural = "s" if threads > 1 else ""
        yield f"{_OURS}, {threads} thread{plural}", None, threads, {}
        for way in ways:
            yield f"{_THEIRS}, {way}, {threads} thread{plural}", python, threads, {"implementation": way}


def _worker(name: str, python: str | None, *, threads: int) -> Worker:
    # For all alike: otherwise glibc gives freed memory back and faults it in again, at times for a third of a step.
    environment: dict[str, str | None] = {
        "PYTHONPATH": None,
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_TRIM_THRESHOLD_": f"{1 << 31}",
        "MALLOC_MMAP_THRESHOLD_": f"{1 << 31}",
    }
    if python is not None:
        return Worker(
            name, [python, SCRIPTS / "neuraloperator_fno.py"], threads=threads, environment=environment
        )
    path = [str(Path(sciten.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(path)
    command = [sys.executable, "-m", "sciten.cli.benchmarks.workers.neural_operators"]
    return Worker(name, command, threads=threads, environment=environment)


def _best(programs: dict[str, dict[str, Any]], who: str) -> str:
    names = [name for name in programs if name.split(",")[0] == who]
    if not names:
        raise WorkerError(f"{who}: nothing was measured")
    return min(names, key=lambda name: programs[name]["ms"]["median"])


def _difference(memory: dict[str, Any]) -> float | None:
    if memory["peak_mb"] is None:
        return None
    return round(memory["peak_mb"] - memory["before_mb"], 1)
