"""How accurate is an operator on public data of Darcy's equation, after a few minutes on a CPU?

The data are those of the neuraloperator repository: 1000 samples of 16² points to train on, 50 of 16² and 50 of 32² to
test on; a coefficient of two values, and the solution. They lie in the folder that SCITEN_REFERENCE_DATA names, and are
no part of sciten. Their points lie at i / n of a bounded domain; they are trained on as if it were periodic, which had
the smaller error on samples set aside (0.074 beside 0.077). neuraloperator trains on them in turn, on numbers of order
one, with settings that do well for it: AdamW at 0.008, a cosine to zero, its H1 loss, batches of 32.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from tqdm import tqdm

from sciten.cli.benchmarks.neural_operators import over_seeds
from sciten.cli.benchmarks.parts import Settings
from sciten.cli.benchmarks.processes import SCRIPTS, Worker
from sciten.cli.benchmarks.summary import at_most
from sciten.datasets import FieldDataset, import_fields
from sciten.training import OperatorConfig, evaluate_operator, train

PART = "darcy"
_GRIDS = (16, 32)
_GOALS = {"16²": 0.0851, "32²": 0.1204}
_PEER = "neuraloperator"
_PUBLISHED = "FNO 0.1009 / 0.1255, TFNO 0.0851 / 0.1241"


@dataclass(frozen=True)
class Case:
    """An operator of ours and one of neuraloperator's, with as many modes and channels.

    Args:
        model: arguments of ours; those of the TFNO were chosen by the error on a tenth of the training samples.
        peer_model: arguments of theirs.
        goals: for the errors, by grid.
    """

    model: dict[str, Any]
    peer_model: dict[str, Any]
    goals: dict[str, float]


_CASES = {
    "TFNO": Case(
        {
            "kind": "TFNO",
            "modes": [16, 16],
            "hidden_channels": 32,
            "factorization": {"kind": "TuckerFactors", "rank": 0.05},
        },
        {
            "n_modes": [16, 16],
            "hidden_channels": 32,
            "factorization": "Tucker",
            "rank": 0.2,
            "implementation": "factorized",
        },
        _GOALS,
    ),
    "FNO": Case(
        {"kind": "FNO", "modes": [12, 12], "hidden_channels": 16},
        {"n_modes": [12, 12], "hidden_channels": 16},
        {},
    ),
}
_EPOCHS = 40
#: Of neuraloperator's trainings.
_PEER_SETTINGS = {"learning_rate": 8e-3, "batch_size": 32}


def measure(settings: Settings, bar: tqdm) -> list[dict[str, Any]]:
    """A row for each model: mean relative L2 errors over seeds and test samples on both grids."""
    reference = os.environ.get("SCITEN_REFERENCE_DATA")
    folder = Path(reference or "", "darcy")
    if not reference or not folder.is_dir():
        bar.write("darcy: left out, since SCITEN_REFERENCE_DATA names no folder with darcy/ in it")
        return []
    with tempfile.TemporaryDirectory() as work:
        runs = _Runs(folder, Path(work), settings)
        return [
            _row(name, case, runs, bar)
            for name, case in list(_CASES.items())[: 1 if settings.small else None]
        ]


@dataclass(frozen=True)
class _Runs:
    """Trainings on the data of a folder, in another one."""

    folder: Path
    work: Path
    settings: Settings

    @property
    def seeds(self) -> tuple[int, ...]:
        return (0,) if self.settings.small else (0, 1, 2)

    @property
    def epochs(self) -> int:
        return 1 if self.settings.small else _EPOCHS

    def ours(self, case: Case, seed: int) -> tuple[float, int, list[np.ndarray]]:
        """Seconds, parameters, and the errors of the samples of each grid."""
        config = OperatorConfig(
            train_file=self._imported(f"train_{_GRIDS[0]}"),
            output=self.work / f"{case.model['kind']}_{seed}",
            inputs="x",  # type: ignore[arg-type]
            targets="y",  # type: ignore[arg-type]
            valid_fraction=0.0,
            model=case.model,
            seed=seed,
            epochs=self.epochs,
        )
        start = time.perf_counter()
        model = train(config, progress=False).model()
        seconds = time.perf_counter() - start
        errors = []
        for n in _GRIDS:
            with FieldDataset(self._imported(f"test_{n}"), inputs=["x"], targets=["y"]) as dataset:
                errors.append(evaluate_operator(model, dataset).errors["relative_l2"][:, 0])
        return seconds, sum(p.numel() for p in model.parameters()), errors

    def theirs(self, case: Case, seed: int) -> tuple[float, int, list[np.ndarray], str]:
        """The same of neuraloperator's, and its version."""
        request = {
            "data": str(self._tensors()),
            "model": case.peer_model,
            "epochs": self.epochs,
            "seed": seed,
            **_PEER_SETTINGS,
        }
        with self._peer() as worker:
            facts = worker.ask("prepare", request)
            seconds = worker.ask("call")["seconds"]
            errors = [np.array(values) for values in worker.ask("check")["errors"]]
        return seconds, facts["parameters"], errors, facts["version"]

    def _peer(self) -> Worker:
        command: list[str | Path] = [f"{self.settings.peer_python}", SCRIPTS / "neuraloperator_darcy.py"]
        environment = {"PYTHONPATH": None, "PYTHONDONTWRITEBYTECODE": "1"}
        return Worker(_PEER, command, threads=torch.get_num_threads(), environment=environment)

    def _imported(self, name: str) -> Path:
        file = self.work / f"{name}.h5"
        if not file.exists():
            import_fields(self._source(name), file, boundary="periodic", points="left")
        return file

    def _tensors(self) -> Path:
        file = self.work / "fields.pt"
        if not file.exists():
            tests = [self._pair(f"test_{n}") for n in _GRIDS]
            torch.save({"train": self._pair(f"train_{_GRIDS[0]}"), "test": tests}, file)
        return file

    def _pair(self, name: str) -> list[torch.Tensor]:
        with h5py.File(self._source(name)) as file:
            return [torch.from_numpy(file[field][:]).float()[:, None] for field in "xy"]

    def _source(self, name: str) -> Path:
        return self.folder / f"darcy_{name}.h5"


def _row(name: str, case: Case, runs: _Runs, bar: tqdm) -> dict[str, Any]:
    ours, theirs = [], []
    for seed in runs.seeds:
        bar.set_description(f"Darcy, {name}, seed {seed}")
        ours.append(runs.ours(case, seed))
        if runs.settings.peer_python is not None:
            bar.set_description(f"Darcy, neuraloperator's {name}, seed {seed}")
            theirs.append(runs.theirs(case, seed))
    errors = _summaries([one[2] for one in ours])
    first = f"{_GRIDS[0]}²"
    programs = {"sciten": over_seeds.program([one[0] for one in ours], ours[0][1], errors[first]["mean"])}
    row: dict[str, Any] = {
        "part": PART,
        "title": f"Darcy 16² / 32², {name}",
        "programs": programs,
        "errors": errors,
        "settings": {"epochs": runs.epochs, "model": case.model},
        "published": _PUBLISHED,
        "targets": [
            at_most(f"relative L2 error at {grid}", errors[grid]["mean"], goal)
            for grid, goal in case.goals.items()
        ],
    }
    if theirs:
        peer = _summaries([one[2] for one in theirs])
        programs[_PEER] = over_seeds.program(
            [one[0] for one in theirs], theirs[0][1], peer[first]["mean"]
        ) | {"version": theirs[0][3]}
        row["peer_errors"] = {_PEER: peer}
        row["peer_settings"] = {"epochs": runs.epochs, "model": case.peer_model, **_PEER_SETTINGS}
    return row


def _summaries(errors: Sequence[Sequence[np.ndarray]]) -> dict[str, dict[str, Any]]:
    """By grid, of errors `[seeds][grids][samples]`."""
    by_grid = zip(_GRIDS, zip(*errors, strict=True), strict=True)
    return {f"{n}²": _summary(np.array(values)) for n, values in by_grid}


def _summary(errors: np.ndarray) -> dict[str, Any]:
    """Of errors `[seeds, samples]`: as `over_seeds.summary`, and the 95 % interval of the mean over test samples."""
    by_sample = errors.mean(0)
    generator = np.random.default_rng(0)
    drawn = by_sample[generator.integers(0, len(by_sample), (4000, len(by_sample)))].mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return over_seeds.summary(errors.mean(1).tolist()) | {"interval": [float(low), float(high)]}
