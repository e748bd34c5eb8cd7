"""SO(2) products beside fairchem's `SO2_Convolution`: the same shapes, weights and edges, rotations included."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sciten
from sciten.cli.benchmarks.processes import SCRIPTS, Worker, interleaved
from sciten.cli.benchmarks.summary import compare, spread, target
from sciten.equivariant.products.so2 import SO2Product

OURS, FAIRCHEM = "sciten", "fairchem"
#: How many times faster than fairchem we mean to be, at least, and seconds of our first call, compiling included.
RATIO_TARGET = 1.0
FIRST_CALL_TARGET = 10.0


@dataclass(frozen=True)
class So2Case:
    """What is timed: messages along edges, in float32, with shared weights and radial factors of each edge.

    Attributes:
        task: "evaluate" (messages) or "train" (messages and gradients with respect to all inputs and weights).
        lmax: highest degree of features and messages.
        mmax: highest order.
        channels: of features and messages.
        edges: how many.
    """

    task: str = "evaluate"
    lmax: int = 6
    mmax: int = 6
    channels: int = 64
    edges: int = 5000

    @property
    def title(self) -> str:
        """For people."""
        task = {"evaluate": "messages", "train": "messages and gradients"}[self.task]
        return f"SO(2) product, {task}, lmax = {self.lmax}, mmax = {self.mmax}, {self.channels} channels"


#: The first is the one that we have a target for.
CASES = (So2Case(), So2Case(task="train"), So2Case(mmax=2), So2Case(lmax=3, mmax=3, channels=128))


def measure_so2(
    case: So2Case,
    *,
    peer_python: str | None = None,
    rounds: int = 11,
    warm_up: int = 3,
    threads: int = 2,
    after_round: Callable[[], object] | None = None,
) -> dict[str, Any]:
    """One row of results: programs are prepared, compared with ours, and timed in turn.

    Args:
        case: what to measure.
        peer_python: Python of an environment with fairchem-core; None to measure sciten alone.
        rounds: timed calls of each program.
        warm_up: calls before, at least one; the first of them is reported apart.
        threads: of each program.
        after_round: called after each round.

    Raises:
        WorkerError: a program fails, or does not agree with ours.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        request = {**asdict(case), "inputs": str(write_inputs(case, Path(folder)))}
        programs: dict[str, dict[str, Any]] = {}
        answers: dict[str, dict[str, Any]] = {}
        workers = [stack.enter_context(w) for w in _workers(peer_python, threads, Path(folder))]
        for worker in workers:
            programs[worker.name] = worker.ask("prepare", request)
            programs[worker.name]["first_call_s"] = worker.ask("call")["seconds"]
            for _ in range(warm_up - 1):
                worker.ask("call")
            answers[worker.name] = worker.ask("check")
            if worker.name != OURS:
                difference = compare(f"{case.title}: {worker.name}", answers[worker.name], answers[OURS])
                programs[worker.name]["difference"] = difference
        seconds = interleaved(workers, rounds, after_round=after_round)
        for worker in workers:
            programs[worker.name]["us_per_edge"] = spread(seconds[worker.name], case.edges)
            programs[worker.name] |= worker.ask("memory")
    return {"product": "so2", **asdict(case), "programs": programs, "targets": _targets(case, programs)}


def write_inputs(case: So2Case, folder: Path) -> Path:
    """Random features, edges, radial factors and weights, the same for all programs; weights are as applied."""
    generator = torch.Generator().manual_seed(0)
    product = SO2Product(
        case.lmax, case.lmax, case.channels, case.channels, mmax=case.mmax, generator=generator
    )
    arrays = {
        "features": torch.randn(case.edges, (case.lmax + 1) ** 2, case.channels, generator=generator),
        "vectors": torch.randn(case.edges, 3, generator=generator),
        "radial": torch.randn(case.edges, product.radial_numel, generator=generator),
        **product.state_dict(),
    }
    path = folder / "inputs.npz"
    np.savez(path, **{name: array.numpy() for name, array in arrays.items()})
    return path


def _workers(peer_python: str | None, threads: int, folder: Path) -> Sequence[Worker]:
    # An empty cache of kernels: the first call is to be what a new user meets.
    path = [str(Path(sciten.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"SCITEN_CACHE": str(folder / "kernels"), "PYTHONPATH": os.pathsep.join(path)}
    command: list[str | Path] = [sys.executable, "-m", "sciten.cli.benchmarks.workers.so2_ours"]
    workers = [Worker(OURS, command, threads=threads, environment=environment)]
    if peer_python is not None:
        theirs: list[str | Path] = [peer_python, SCRIPTS / "so2_fairchem.py"]
        alone: dict[str, str | None] = {"PYTHONPATH": None, "PYTHONDONTWRITEBYTECODE": "1"}
        workers.append(Worker(FAIRCHEM, theirs, threads=threads, environment=alone))
    return workers


def _targets(case: So2Case, programs: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    found = [target("first call, s", programs[OURS]["first_call_s"], FIRST_CALL_TARGET, at_most=True)]
    if FAIRCHEM in programs and case == CASES[0]:
        ours, theirs = (programs[name]["us_per_edge"]["median"] for name in (OURS, FAIRCHEM))
        found.append(target("fairchem / sciten", theirs / ours, RATIO_TARGET))
    return found
