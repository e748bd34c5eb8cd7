"""One measurement of MACE: models on disk, and a row for every case."""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import sciten
from sciten.cli.benchmarks.cases import FIRST_RESULT_TARGET, TARGETS, Case, Settings
from sciten.cli.benchmarks.machine import checkout
from sciten.cli.benchmarks.processes import SCRIPTS, Worker, WorkerError, interleaved
from sciten.cli.benchmarks.summary import compare, ratios, spread, target
from sciten.cli.benchmarks.systems import System
from sciten.datasets import batch_from_ase
from sciten.errors import ConfigError
from sciten.potentials import MACE, save_potential

OURS, MACE_TORCH, SYMMETRIX = "sciten", "mace-torch", "symmetrix-xl"
CUTOFF = 5.0  # Å
_PEERS = {MACE_TORCH: "mace_torch.py", SYMMETRIX: "symmetrix_xl.py"}


class Measurement:
    """Models, made once, and the cases measured with them.

    Args:
        settings: what to measure.
        systems: structures by name.
        folder: for files; the caller removes it.
        bar: counts the rounds.
    """

    def __init__(self, settings: Settings, systems: Mapping[str, System], folder: Path, bar: tqdm) -> None:
        self.settings = settings
        self.systems = systems
        self.versions: dict[str, Any] = {"sciten": sciten.__version__, "torch": torch.__version__}
        self._folder = folder
        self._bar = bar
        self._symmetrix_left = settings.symmetrix_limit

    def make_models(self) -> None:
        """Structures and, for each system and L, a model: mace-torch's, converted, or else our own."""
        for name, system in self.systems.items():
            system.write(self._folder / f"{name}.json")
        self._bar.set_description("making models")
        with contextlib.ExitStack() as stack:
            peer = stack.enter_context(self._worker(MACE_TORCH)) if self.settings.peer_python else None
            for name, system in self.systems.items():
                batch = batch_from_ase(system.structures, CUTOFF)
                for degree in self.settings.degrees:
                    arguments = {
                        "elements": system.elements,
                        "channels": self.settings.channels,
                        "hidden_lmax": degree,
                        "cutoff": CUTOFF,
                        "average_neighbors": batch.n_edges / batch.n_atoms,
                    }
                    self._make_model(arguments, self._folder / f"{name}_{degree}", peer)

    def _make_model(self, arguments: dict[str, Any], folder: Path, peer: Worker | None) -> None:
        if peer is None:
            # mace_run_train's choice of blocks, as in the peer's worker.
            save_potential(MACE(**arguments, residual=[False, True]), folder)
            return
        files = {"model": f"{folder}.model", "converted": str(folder), "converter": str(_converter())}
        self.versions["peers"] = peer.ask("make", {"arguments": arguments, **files})["versions"]

    def case(self, case: Case) -> dict[str, Any]:
        """One row of the results: programs are prepared, compared with ours, and timed in turn."""
        programs: dict[str, dict[str, Any]] = {}
        answers: dict[str, dict[str, Any]] = {}
        with contextlib.ExitStack() as stack:
            workers = []
            for name in self._programs(case):
                self._bar.set_description(f"{case.title}: {name} prepares")
                worker = stack.enter_context(self._worker(name))
                try:
                    programs[name], answers[name] = self._warm_up(worker, case)
                    if name != OURS:
                        found = compare(f"{case.title}: {name}", answers[name], answers[OURS])
                        programs[name]["difference"] = found
                    workers.append(worker)
                except WorkerError as error:
                    if name != SYMMETRIX:
                        raise
                    programs[name] = {"absent": str(error)}
            self._bar.set_description(case.title)
            seconds = interleaved(workers, self.settings.rounds, after_round=self._bar.update)
            atoms, edges = programs[OURS]["atoms"], programs[OURS]["edges"]
            for worker in workers:
                programs[worker.name] |= {
                    "us_per_atom": spread(seconds[worker.name], atoms),
                    **worker.ask("memory"),
                }
        for program in programs.values():
            for fact in ("atoms", "edges"):
                program.pop(fact, None)
        return {
            "task": case.task,
            "system": case.system,
            "hidden_lmax": case.degree,
            "atoms": atoms,
            "edges": edges,
            "programs": programs,
            "ratios": ratios(programs, OURS),
            "targets": _targets(case, programs),
        }

    def _programs(self, case: Case) -> list[str]:
        names = [OURS]
        if self.settings.peer_python:
            names.append(MACE_TORCH)
            if self.settings.symmetrix and case.task == "evaluate" and SYMMETRIX in self.versions["peers"]:
                names.append(SYMMETRIX)
        return names

    def _worker(self, name: str) -> Worker:
        threads = self.settings.threads
        if name == OURS:
            # An empty cache of kernels: the first call is to be what a new user meets.
            cache = tempfile.mkdtemp(dir=self._folder, prefix="kernels_")
            path = [str(Path(sciten.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment: dict[str, str | None] = {"SCITEN_CACHE": cache, "PYTHONPATH": os.pathsep.join(path)}
            command = [sys.executable, "-m", "sciten.cli.benchmarks.workers.ours"]
            return Worker(name, command, threads=threads, environment=environment)
        environment = {
            "PYTHONPATH": None,
            "PYTHONDONTWRITEBYTECODE": "1",
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",  # e3nn 0.4 needs it with a newer torch
            # Its cache is as empty at first, but shared between the cases: generating code takes minutes.
            "SYMMETRIX_JIT_CACHE": str(self._folder / "symmetrix"),
        }
        command = [str(self.settings.peer_python), str(SCRIPTS / _PEERS[name])]
        return Worker(name, command, threads=threads, environment=environment)

    def _warm_up(self, worker: Worker, case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is known of a program before it is timed, and its results."""
        limit = None
        if worker.name == SYMMETRIX:
            limit = self._symmetrix_left
            if limit <= 0:
                total = self.settings.symmetrix_limit
                raise WorkerError(f"not tried: the {total:.0f} s for generating code were used up")
        start = time.monotonic()
        try:
            files = self._folder / f"{case.system}_{case.degree}", self._folder / f"{case.system}.json"
            model = f"{files[0]}" if worker.name == OURS else f"{files[0]}.model"
            request = {"task": case.task, "model": model, "structures": str(files[1])}
            program = worker.ask("prepare", request, limit=limit)
            program["first_call_s"] = worker.ask("call", limit=limit)["seconds"]
        finally:
            if worker.name == SYMMETRIX:
                self._symmetrix_left -= time.monotonic() - start
        for _ in range(self.settings.warm_up - 1):
            worker.ask("call")
        return program, worker.ask("check")


def _converter() -> Path:
    root = checkout()
    if root is None:
        raise ConfigError(
            "sciten benchmark mace: comparing with mace-torch needs workflows/convert_mace.py, found "
            "none; run it in a checkout of sciten, or without --peer-python"
        )
    return root / "workflows" / "convert_mace.py"


def _targets(case: Case, programs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    ours = programs[OURS]
    first = ours["load_s"] + ours["first_call_s"]
    found = [target("first result, s", first, FIRST_RESULT_TARGET, at_most=True)]
    if MACE_TORCH in programs:
        goal = TARGETS[case.task, case.system].get(case.degree)
        if goal is not None:
            found.append(target("mace-torch / sciten", ratios(programs, OURS)[MACE_TORCH], goal))
        if case.task == "train" and ours["peak_mb"] is not None:
            peak = programs[MACE_TORCH]["peak_mb"]
            found.append(target("peak memory, MB", ours["peak_mb"], peak, at_most=True))
    return found
