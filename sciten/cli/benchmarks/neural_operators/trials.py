"""Trainings of neural operators for comparison: side by side, a thread each, and kept once they are finished."""

import hashlib
import json
import multiprocessing
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import sciten
from sciten.cli.benchmarks.neural_operators.candidates import spectral_parameters
from sciten.errors import DivergenceError
from sciten.files import sha256, write_text
from sciten.neural_operators import FNO
from sciten.training import OperatorConfig, evaluate_operator, train
from sciten.training.field_data import FieldSamples, open_dataset
from sciten.training.field_errors import FieldErrors
from sciten.training.metrics import MetricsLog
from sciten.training.rollout import scaled

_SHOWN = 24  # epochs of a learning curve that are kept


@dataclass(frozen=True)
class Trial:
    """One training.

    Args:
        name: for the bar.
        config: its settings; where it writes is no matter.
        test_file: what it is evaluated on; None where only its time is asked for.
    """

    name: str
    config: OperatorConfig
    test_file: Path | None

    def key(self) -> str:
        """Of all that decides the result: the settings, the contents of the files, and the version of sciten."""
        settings = self.config.model_dump(mode="json")
        for name in ("train_file", "output"):
            del settings[name]
        files = [sha256(file) for file in (self.config.train_file, self.test_file) if file is not None]
        content = {"settings": settings, "files": files, "version": sciten.__version__}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


@contextmanager
def processes(count: int) -> Iterator[Executor]:
    """Fresh processes with a thread each; what has not begun is dropped after an error."""
    pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def run(trials: Sequence[Trial], pool: Executor, work: Path, bar: tqdm) -> list[dict[str, Any]]:
    """The results of `result` in the order of the trials; those that `work` holds are read, the others written to it.

    Args:
        trials: all different.
        pool: what they are run on.
        work: folder.
        bar: of the benchmark; another one below it counts trials.
    """
    files = [work / f"{trial.key()}.json" for trial in trials]
    missing = [i for i, file in enumerate(files) if not file.is_file()]
    futures: dict[Future[dict[str, Any]], int] = {pool.submit(result, trials[i]): i for i in missing}
    done = len(trials) - len(missing)
    with tqdm(total=len(trials), initial=done, unit="training", leave=False, disable=bar.disable) as inner:
        for future in as_completed(futures):
            i = futures[future]
            inner.set_description(trials[i].name)
            write_text(files[i], json.dumps(future.result(), indent=1) + "\n")
            inner.update()
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def result(trial: Trial) -> dict[str, Any]:
    """Train, and evaluate on the test file: times, numbers of parameters, and errors; what failed where it diverged."""
    with tempfile.TemporaryDirectory() as folder:
        config = trial.config.model_copy(update={"output": Path(folder, "run")})
        try:
            trained = train(config, progress=False)
        except DivergenceError as error:
            return {"failed": f"{error}".partition(";")[0]}
        if not trained.finished:
            raise KeyboardInterrupt
        model, lines = trained.model(), MetricsLog(config.output / "metrics.jsonl").read()
    found = {
        "epochs": trained.epochs,
        "seconds": trained.seconds,
        "epoch_seconds": [line["epoch_seconds"] for line in lines],
        "parameters": sum(p.numel() for p in model.parameters()),
        "spectral_parameters": spectral_parameters(model),
        "curve": _curve(lines),
    }
    return found if trial.test_file is None else found | errors(model, config, trial.test_file)


@torch.no_grad()
def errors(model: FNO, config: OperatorConfig, file: Path) -> dict[str, float]:
    """Mean relative L2 errors: of one step over all samples, and at the end of rollouts over whole trajectories."""
    with open_dataset(config, file) as dataset:
        samples = FieldSamples(dataset, range(len(dataset)), config.cache_megabytes)
        sums = FieldErrors(dataset.grid, 1)
        for start in range(0, len(samples), config.valid_batch_size):
            batch = samples.batch(range(start, min(start + config.valid_batch_size, len(samples))))
            sums.add(0, scaled(model, model(batch.inputs)), scaled(model, batch.targets[:, 0]))
        found = {"error": sums.metrics("test")["test_relative_l2"]}
        if dataset.autoregressive:
            by_step = evaluate_operator(model, dataset).errors["relative_l2"].mean(0)
            found["rollout_error"] = float(by_step[-1])
    return found


def _curve(lines: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Validation errors at some epochs, from the first to the last."""
    chosen = sorted({round(k * (len(lines) - 1) / (_SHOWN - 1)) for k in range(_SHOWN)})
    return [
        {
            "epoch": lines[k]["epoch"] + 1,
            "seconds": lines[k]["seconds"],
            "error": lines[k]["valid_relative_l2"],
        }
        for k in chosen
        if "valid_relative_l2" in lines[k]
    ]


def _begin() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process whose parent was killed would train on for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
