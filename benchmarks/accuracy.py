"""How accurate is a potential after the time that mace-torch needs, and beside published numbers?

    python benchmarks/accuracy.py acac --peer-python PATH/TO/mace-environment/bin/python
    python benchmarks/accuracy.py aspirin
    python benchmarks/accuracy.py products    # which product, which potential, in the same time?

Reads the public data from the folder that SCITEN_REFERENCE_DATA names. Each run is `sciten train` with a
configuration of workflows/configs/, once for each seed, one after the other on an otherwise idle machine; then
the model is compared with test frames that training never saw. For acetylacetone, mace-torch's seconds per
epoch are measured before the first run and after the last, with the settings that its reference errors were
measured with. Where runs share a budget of time, the epochs that fit into it are found from the first few.
Runs are kept in --folder, and a repeated command continues there. Writes
benchmarks/results/accuracy_TASK.json.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch

import sciten
from sciten.cli.benchmarks import machine
from sciten.datasets import AtomsDataset, import_structures
from sciten.files import write_text
from sciten.potentials import Potential, load_potential
from sciten.training import evaluate

ROOT = Path(__file__).resolve().parents[1]
ERRORS = ("energy_mae", "energy_rmse", "forces_mae", "forces_rmse")


@dataclass(frozen=True)
class Reference:
    """Errors that others reached. meV per frame and meV/Å, None where not given."""

    source: str
    energy_mae: float | None = None
    energy_rmse: float | None = None
    forces_mae: float | None = None
    forces_rmse: float | None = None


@dataclass(frozen=True)
class Run:
    """One configuration and its seeds.

    Attributes:
        name: in the results.
        config: file in workflows/configs/.
        seeds: one training for each.
        overrides: settings that differ from the file.
    """

    name: str
    config: str
    seeds: tuple[int, ...]
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """One dataset and what is trained on it.

    Attributes:
        train, test: files below the reference data.
        runs: what is trained.
        references: to hold the errors against.
        budget_minutes: of training, the same for each run, which decides the number of epochs.
        peer_epochs: mace-torch's time for so many epochs is the limit; None for `limit_minutes`.
        peer_arguments: of mace-torch's training command, beside files and the number of epochs.
    """

    question: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    runs: tuple[Run, ...]
    references: tuple[Reference, ...]
    budget_minutes: float | None = None
    limit_minutes: float | None = None
    peer_epochs: int | None = None
    peer_arguments: str = ""


TASKS = {
    "acac": Task(
        "acetylacetone, 450 training frames at 300 K: test errors at 300 K, meV and meV/Å",
        train=("acac/isolated_atoms.xyz", "acac/train_300K.xyz"),
        test=("acac/test_MD_300K.xyz",),
        runs=(Run("acac.yaml", "acac.yaml", (0, 1, 2)), Run("acac_best.yaml", "acac_best.yaml", (0,))),
        references=(
            Reference(
                "mace-torch 0.3.16, 120 epochs on two cores, another run", energy_rmse=5.5, forces_rmse=23.3
            ),
            Reference("MACE, published (Batatia et al. 2022)", energy_rmse=0.9, forces_rmse=5.1),
        ),
        peer_epochs=120,
        peer_arguments=(
            "--valid_fraction 0.1 --energy_key energy --forces_key forces --E0s average --model MACE "
            "--num_channels 64 --max_L 0 --max_ell 3 --correlation 3 --r_max 5.0 --batch_size 10 "
            "--valid_batch_size 50 --amsgrad --lr 0.01 --ema --ema_decay 0.99 --energy_weight 1 "
            "--forces_weight 100 --default_dtype float32 --device cpu --seed 0"
        ),
    ),
    "aspirin": Task(
        "aspirin (revised MD17), 50 training frames: test errors, meV and meV/Å",
        train=("rmd17_aspirin/train_50.xyz",),
        test=("rmd17_aspirin/test_500.xyz",),
        runs=(Run("aspirin.yaml", "aspirin.yaml", (0,)),),
        references=(
            Reference("MACE, published", energy_mae=17.0, forces_mae=43.9),
            Reference("NequIP, published", energy_mae=19.5, forces_mae=52.0),
        ),
        limit_minutes=60.0,
    ),
    "products": Task(
        "acetylacetone, 450 training frames at 300 K, the same time for each: test errors at 300 K, meV and meV/Å",
        train=("acac/isolated_atoms.xyz", "acac/train_300K.xyz"),
        test=("acac/test_MD_300K.xyz",),
        runs=(
            Run("MACE, Clebsch-Gordan", "acac.yaml", (0, 1, 2), ("model.hidden_lmax=1",)),
            Run(
                "MACE, Gaunt",
                "acac.yaml",
                (0, 1, 2),
                (
                    "model.hidden_lmax=1",
                    "model.reduced_basis=false",
                    "model.product={kind: GauntProduct}",
                    "model.edge_product={kind: GauntProduct}",
                ),
            ),
            Run("TensorNet", "tensornet_acac.yaml", (0, 1, 2)),
        ),
        references=(),
        budget_minutes=5.0,
        limit_minutes=10.0,
    ),
}


def peer_seconds(python: str, task: Task, data: Path, epochs: int = 4) -> list[float]:
    """Seconds that mace-torch needs for each epoch but the first, which may compile."""
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "train.xyz"
        frames.write_text("".join((data / name).read_text() for name in task.train))
        command = [python, "-m", "mace.cli.run_train", "--name", "peer", "--train_file", str(frames)]
        run = subprocess.run(
            [*command, *task.peer_arguments.split(), "--max_num_epochs", str(epochs)],
            cwd=folder,
            env={**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    ends = [
        datetime.strptime(" ".join(line.split()[:2]), "%Y-%m-%d %H:%M:%S.%f")
        for line in (run.stdout + run.stderr).splitlines()
        if " INFO: Epoch " in line
    ]
    if run.returncode or len(ends) != epochs:
        raise SystemExit(f"mace-torch's training failed:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return [(b - a).total_seconds() for a, b in pairwise(ends)]


def train(run: Run, seed: int, train_file: Path, folder: Path, *overrides: str) -> list[dict[str, Any]]:
    """Train in `folder`; the lines of its metrics."""
    command = [Path(sys.executable).with_name("sciten"), "train", ROOT / "workflows/configs" / run.config]
    settings = [f"train_file={train_file}", f"output={folder}", f"seed={seed}", *run.overrides, *overrides]
    subprocess.run([*command, *settings], check=True)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def epochs_within(minutes: float, run: Run, train_file: Path) -> int:
    """How many epochs fit, from the time of the third and fourth; the first compile."""
    with tempfile.TemporaryDirectory() as folder:
        lines = train(run, 0, train_file, Path(folder) / "trial", "epochs=4", "schedule.warmup_epochs=0")
    seconds = [line["seconds"] for line in lines]
    return max(1, int(60 * minutes / ((seconds[-1] - seconds[-3]) / 2)))


def seconds_per_atom(model: Potential, test_file: Path, rounds: int = 7) -> float:
    """Median time for energies and forces of 32 test frames."""
    with AtomsDataset(test_file) as dataset:
        batch = model.prepare([structure.to_ase() for structure in dataset[:32]])
    times = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        model.forward_batch(batch)
        times.append(time.perf_counter() - start)
    return median(times[2:]) / batch.n_atoms


def trained(
    run: Run, seed: int, task: Task, train_file: Path, test_file: Path, folder: Path
) -> dict[str, Any]:
    """Train with one seed and test: wall time of the whole command, seconds of training, errors, speed."""
    done = folder / "result.json"
    if done.is_file():
        return dict(json.loads(done.read_text(encoding="utf-8")))
    before = machine.load()
    overrides: tuple[str, ...] = ()
    if task.budget_minutes is not None:
        shutil.rmtree(folder, ignore_errors=True)  # the wall time is that of a whole run, not of its rest
        overrides = (f"epochs={epochs_within(task.budget_minutes, run, train_file)}",)
    start = time.perf_counter()
    lines = train(run, seed, train_file, folder, *overrides)
    wall = time.perf_counter() - start
    model = load_potential(folder)
    errors = asdict(evaluate(model, test_file).overall())
    result = {
        "config": run.name,
        "seed": seed,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "epochs": len(lines),
        "load_at_start": before,
        "wall_s": round(wall, 1),
        "training_s": round(lines[-1]["seconds"], 1),
        "us_per_atom": round(1e6 * seconds_per_atom(model, test_file), 1),
        **{name: round(errors[name], 3) for name in ERRORS},
    }
    write_text(done, json.dumps(result, indent=1) + "\n")
    return result


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each configuration: mean over its seeds, and their sample standard deviation."""
    found: dict[str, dict[str, Any]] = {}
    for config in dict.fromkeys(run["config"] for run in runs):
        members = [run for run in runs if run["config"] == config]
        names = (*ERRORS, "wall_s", *(("us_per_atom",) if "us_per_atom" in members[0] else ()))
        values = {name: [run[name] for run in members] for name in names}
        found[config] = {
            "seeds": len(members),
            "parameters": members[0]["parameters"],
            "epochs": members[0]["epochs"],
            "mean": {name: round(mean(v), 3) for name, v in values.items()},
            "spread": {name: round(stdev(v), 3) if len(v) > 1 else None for name, v in values.items()},
            "slowest_s": max(values["wall_s"]),
        }
    return found


def _slug(name: str) -> str:
    """A folder name."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name.removesuffix(".yaml")).strip("_")


def main() -> int:
    """Command line; returns the exit code: 1 where a run took longer than it may."""
    parser = argparse.ArgumentParser(description="Train on public data and report the errors.")
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--peer-python", help="Python of an environment with mace-torch (acac)")
    parser.add_argument("--folder", type=Path, help="where runs are kept (default: runs/accuracy_TASK)")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/accuracy_TASK.json")
    options = parser.parse_args()
    task = TASKS[options.task]
    if "SCITEN_REFERENCE_DATA" not in os.environ:
        raise SystemExit("set SCITEN_REFERENCE_DATA to the folder with the public reference data")
    if task.peer_epochs is not None and options.peer_python is None:
        raise SystemExit(f"{options.task}: expected --peer-python, whose training time is the limit")
    data = Path(os.environ["SCITEN_REFERENCE_DATA"])
    folder = options.folder or ROOT / "runs" / f"accuracy_{options.task}"
    folder.mkdir(parents=True, exist_ok=True)
    place = machine.describe()
    for name, files in (("train.h5", task.train), ("test.h5", task.test)):
        if not (folder / name).is_file():
            import_structures([data / file for file in files], folder / name)

    peer: dict[str, Any] = {}
    if task.peer_epochs is not None:
        peer["epoch_s_before"] = peer_seconds(options.peer_python, task, data)
    runs = [
        trained(
            run, seed, task, folder / "train.h5", folder / "test.h5", folder / f"{_slug(run.name)}_{seed}"
        )
        for seed in sorted({seed for run in task.runs for seed in run.seeds})
        for run in task.runs
        if seed in run.seeds
    ]
    limit = 60 * (task.limit_minutes or 0)
    if task.peer_epochs is not None:
        peer["epoch_s_after"] = peer_seconds(options.peer_python, task, data)
        peer["epochs"] = task.peer_epochs
        limit = task.peer_epochs * mean(peer["epoch_s_before"] + peer["epoch_s_after"])
    document = {
        "question": task.question,
        "measured": date.today().isoformat(),
        "machine": place,
        "versions": {"sciten": sciten.__version__, "torch": torch.__version__},
        "threads": torch.get_num_threads(),
        "limit_s": round(limit, 1),
        "mace-torch": peer or None,
        "references": [asdict(reference) for reference in task.references],
        "summary": summary(runs),
        "runs": runs,
    }
    path = options.json or ROOT / "benchmarks" / "results" / f"accuracy_{options.task}.json"
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(document["summary"], indent=1))
    slow = [f"{run['config']} seed {run['seed']}" for run in runs if run["wall_s"] > limit]
    print(f"{path}: limit {limit / 60:.1f} minutes; " + (f"exceeded by {slow}" if slow else "kept by all"))
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
