"""A run that is stopped at any moment and started again ends with the same weights, bit for bit."""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sciten.errors import ConfigError, DataError, ModelError, StorageError
from sciten.files import alone_in
from sciten.training import Adam, AdamW, AMSGrad, Constant, Plateau, TrainConfig, train
from sciten.training.checkpoint import read_checkpoint
from sciten.training.loop import Trainer, checkpoint_path
from sciten.training.metrics import MetricsLog
from tests.training.test_loop import student, trainer

Make = Callable[..., TrainConfig]


class Killed(BaseException):
    """Stands for a SIGKILL: nothing in the library may catch it."""


def outcome(run: Trainer) -> tuple[list[torch.Tensor], list[dict[str, Any]]]:
    weights = [
        *run.model.state_dict().values(),
        *run.average.model.state_dict().values(),
        *run.best_weights().values(),
    ]
    return weights, without_times(run.log.read())


def without_times(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if "seconds" not in key} for line in lines]


def resumed(config: TrainConfig) -> Trainer:
    run = trainer(config, student())
    if checkpoint_path(config.output).is_file():
        run.restore(*read_checkpoint(checkpoint_path(config.output)))
    return run


def kill_at(run: Trainer, method: str, call: int, *, after: bool) -> None:
    """Make the given call of a method the last thing that happens, before or after its work is done."""
    original, calls = getattr(run, method), iter(range(10**6))

    def last(*arguments: Any) -> Any:
        mine = next(calls) == call
        if mine and not after:
            raise Killed
        result = original(*arguments)
        if mine:
            raise Killed
        return result

    setattr(run, method, last)


@pytest.mark.parametrize("optimizer", [Adam(), AMSGrad(weight_decay=1e-3), AdamW()])
def test_killed_before_or_after_anything_it_ends_the_same(config: Make, optimizer: Any) -> None:
    settings = {
        "optimizer": optimizer,
        "schedule": Plateau(patience=0, reduce_by=0.5),
        "second_stage": {"start": 2, "learning_rate": 0.003},
        "checkpoint_every": 2,
        "batch_size": 7,
        "epochs": 4,
    }
    straight = trainer(config(**settings), student())
    straight.run()
    weights, lines = outcome(straight)
    kills = [("_step", call, False) for call in range(12)]
    kills += [
        (method, call, after)
        for method in ("_close_epoch", "save")
        for call in range(2)
        for after in (False, True)
    ]
    for i, (method, call, after) in enumerate(kills):
        changed = config(**settings, output=config().output / str(i))
        run = resumed(changed)
        kill_at(run, method, call, after=after)
        with pytest.raises(Killed):
            run.run()
        run = resumed(changed)
        assert run.run()
        again, again_lines = outcome(run)
        assert all(torch.equal(a, b) for a, b in zip(weights, again, strict=True)), (method, call, after)
        assert again_lines == lines


def test_the_best_model_so_far_is_kept(config: Make) -> None:
    # A rate this large wanders about, so the best epoch is not the last.
    settings = {"epochs": 12, "optimizer": Adam(learning_rate=0.4), "schedule": Constant(), "ema_decay": None}
    straight = trainer(config(**settings), student())
    straight.run()
    lines = straight.log.read()
    best = max(i for i, line in enumerate(lines) if line["best"])
    assert best < 11
    run = resumed(config(**settings, output=config().output / "killed"))
    kill_at(run, "save", best, after=True)
    with pytest.raises(Killed):
        run.run()
    run = resumed(run.config)
    run.run()
    assert torch.equal(run.best_weights()["depth"], straight.best_weights()["depth"])
    assert run.state.best_loss == lines[best]["valid_loss"]


def test_sigterm_ends_after_the_step_with_a_checkpoint_in_the_middle_of_the_epoch(config: Make) -> None:
    straight = trainer(config(), student())
    straight.run()
    stopped = config(output=config().output / "stopped")
    run = resumed(stopped)
    original, calls = run._step, iter(range(100))

    def step(*arguments: Any) -> bool:
        if next(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    run._step = step
    assert not run.run()
    assert (run.state.epoch, run.state.step) == (1, 1)  # 5 steps per epoch
    run = resumed(stopped)
    assert (run.state.epoch, run.state.step) == (1, 1)
    assert run.run()
    for ours, theirs in zip(outcome(run)[0], outcome(straight)[0], strict=True):
        assert torch.equal(ours, theirs)
    assert outcome(run)[1] == outcome(straight)[1]


def test_sigkill_at_random_moments(config: Make) -> None:
    settings = {"epochs": 25, "batch_size": 3, "dtype": "float64"}
    straight = config(**settings, output=config().output / "straight")
    train(straight, progress=False)
    killed = config(**settings, output=config().output / "killed")
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["sciten.training", "torch._dynamo"])
    rng = np.random.default_rng()
    kills = 0
    for _ in range(100):
        process = processes.Process(target=train, args=(killed,), kwargs={"progress": False})
        process.start()
        if kills < 5:
            before = checkpoint_time(killed)
            while process.is_alive() and checkpoint_time(killed) == before:
                time.sleep(0.005)
            process.join(rng.uniform(0, 0.3))
            process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        if process.exitcode == 0:
            break
    assert kills == 5
    assert (killed.output / "report.html").is_file()
    ours, theirs = (
        killed.output / "model" / "model.safetensors",
        straight.output / "model" / "model.safetensors",
    )
    assert ours.read_bytes() == theirs.read_bytes()
    logs = [MetricsLog(run.output / "metrics.jsonl").read() for run in (killed, straight)]
    assert without_times(logs[0]) == without_times(logs[1])
    assert not list(killed.output.rglob(".*.tmp"))  # what killed writers left behind is cleared away


def checkpoint_time(config: TrainConfig) -> float:
    path = checkpoint_path(config.output)
    return path.stat().st_mtime_ns if path.exists() else 0


def test_a_complete_run_says_so_and_is_left_alone(config: Make) -> None:
    result = train(config(), progress=False)
    assert (result.finished, result.already_complete, result.epochs) == (True, False, 3)
    files = {path: path.stat().st_mtime_ns for path in sorted(config().output.rglob("*"))}
    again = train(config(), progress=False)
    assert (again.finished, again.already_complete, again.epochs) == (True, True, 3)
    assert files == {path: path.stat().st_mtime_ns for path in sorted(config().output.rglob("*"))}
    assert result.model().elements == (1, 6)


def test_another_configuration_is_refused_naming_the_key(config: Make, mixed: Path, tmp_path: Path) -> None:
    train(config(), progress=False)
    for changes, key in (
        ({"optimizer": Adam(learning_rate=0.5)}, "optimizer.kind was 'amsgrad' there and is 'adam'"),
        ({"seed": 1}, "seed was 0 there and is 1"),
        ({"model": {**config().model, "channels": 5}}, "model.channels was 4 there and is 5"),
        ({"train_file": mixed}, "train_file was"),
    ):
        with pytest.raises(ConfigError, match=key):
            train(config(**changes), progress=False)
    shutil.copy(config().train_file, tmp_path / "moved.h5")
    assert train(config(train_file=tmp_path / "moved.h5"), progress=False).already_complete  # content counts


def test_a_model_without_its_checkpoint_is_not_overwritten(config: Make) -> None:
    train(config(), progress=False)
    shutil.rmtree(config().output / "checkpoint")
    with pytest.raises(ConfigError, match="holds a model but no checkpoint"):
        train(config(), progress=False)


def test_a_damaged_checkpoint_or_log_is_named(config: Make) -> None:
    run = trainer(config(), student())
    run.run()
    run.log.path.write_text("")
    with pytest.raises(DataError, match=r"metrics\.jsonl: the checkpoint expects \d+ bytes"):
        resumed(config()).run()
    path = checkpoint_path(config().output)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        ModelError, match=r"checkpoint\.safetensors: not a checkpoint .*choose another output"
    ):
        resumed(config())


def test_a_missing_or_foreign_data_file_is_named_before_anything_is_written(
    config: Make, tmp_path: Path
) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    for changes in ({"train_file": tmp_path / "none.h5"}, {"train_file": tmp_path / "text.h5"}):
        with pytest.raises(DataError, match=str(changes["train_file"])):
            train(config(**changes), progress=False)
    with pytest.raises(DataError, match="nowhere"):
        train(config(valid_file=tmp_path / "nowhere.h5"), progress=False)
    assert not config().output.exists()


def test_two_runs_do_not_write_to_one_folder(config: Make) -> None:
    output = config().output
    with alone_in(output), pytest.raises(ConfigError, match="another run is writing to this folder"):
        train(config(epochs=1), progress=False)
    assert [path.name for path in output.iterdir()] == [".lock"]
    assert train(config(epochs=1), progress=False).finished


def test_validation_on_the_training_set_is_said(config: Make, tmp_path: Path) -> None:
    copy = tmp_path / "copy.h5"
    shutil.copy(config().train_file, copy)
    with pytest.warns(UserWarning, match=r"valid_file=.*copy\.h5 holds what train_file="):
        train(config(epochs=1, valid_file=copy, valid_fraction=None), progress=False)


def test_a_full_disk_keeps_the_earlier_checkpoint(config: Make) -> None:
    resource = pytest.importorskip("resource")
    run = trainer(config(epochs=1), student())
    run.run()
    before = run.checkpoint.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"checkpoint\.safetensors: cannot be written"):
            run.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert run.checkpoint.read_bytes() == before
    assert [path.name for path in run.checkpoint.parent.iterdir()] == [run.checkpoint.name]


def test_random_state_and_threads_of_the_caller_are_left_alone(config: Make) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    train(config(epochs=1), progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert torch.get_default_dtype() == torch.float32
