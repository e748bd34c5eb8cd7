"""Operators are trained by the loop that trains potentials: with the same checkpoints, reports and exactness."""

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sciten.datasets import Axis, Field, FieldDataset, FieldWriter
from sciten.errors import ConfigError, DataError
from sciten.neural_operators import FNO, NeuralOperator, load_operator, save_operator
from sciten.neural_operators.files import Roles, load_roles
from sciten.training import OperatorConfig, evaluate_operator, train
from sciten.training.checkpoint import identity, read_checkpoint
from sciten.training.distributed import Ranks
from sciten.training.field_data import open_for
from sciten.training.field_task import FieldTask
from sciten.training.loop import Trainer, checkpoint_path
from tests.operators import ToyOperator
from tests.training.fields import write_evolution
from tests.training.test_resume import Killed, kill_at, outcome

Make = Callable[..., OperatorConfig]


def trainer(config: OperatorConfig, model: NeuralOperator | None = None) -> Trainer:
    ours = identity(config, model)
    model, data = config.task().prepare(model)
    config.output.mkdir(parents=True, exist_ok=True)
    run = Trainer(config, model, data, Ranks(), ours)
    if checkpoint_path(config.output).is_file():
        run.restore(*read_checkpoint(checkpoint_path(config.output)))
    return run


def test_learns_diffusion(operator_config: Make, tmp_path: Path) -> None:
    result = train(operator_config(epochs=30), progress=False)
    assert result.validation.overall().mean < 0.1
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["valid_relative_l2"] < 0.1 * lines[0]["valid_relative_l2"]
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"model", "report.html", "evaluation.json", "fields.png", "learning_curves.png"} <= names
    assert "neural operator" in (tmp_path / "run/report.html").read_text()
    assert load_roles(tmp_path / "run") == Roles(("before",), ("after",), periodic=(True,), lengths=(1.0,))
    assert train(operator_config(epochs=30), progress=False).already_complete


def test_what_is_not_given_comes_from_the_data(operator_config: Make, static: Path) -> None:
    config = operator_config(dtype="float64", seed=5, model="FNO")
    model, data = config.task().prepare(None)
    statistics = data.train.dataset.statistics
    assert (model.in_channels, model.out_channels, model.periodic, model.dtype) == (
        1,
        1,
        (True,),
        torch.float64,
    )
    assert model.arguments()["modes"] == [16]
    torch.testing.assert_close(model.input_mean, statistics.inputs.mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(model.output_std, statistics.targets.std, rtol=1e-6, atol=0)


def test_what_is_given_is_taken(operator_config: Make) -> None:
    given = {
        "kind": "FNO",
        "modes": [6],
        "periodic": [False],
        "input_scale": [(0, 2)],
        "output_scale": [(1, 3)],
    }
    model, _ = operator_config(model=given).task().prepare(None)
    assert (model.modes, model.periodic, model.output_std.tolist()) == ((6,), (False,), [3.0])


def test_the_loss_of_a_rollout_is_that_of_predictions_fed_back(
    operator_config: Make,
    evolution: Path,
) -> None:
    config = operator_config(
        train_file=evolution, inputs="u", targets="u", history=2, horizon=3, loss="relative_l2"
    )
    task = config.task()
    model = ToyOperator(2, 1)
    batch = task.prepare(model)[1].train.batch([0, 7])
    first = model(batch.inputs)
    second = model(torch.cat([batch.inputs[:, 1:], first], 1))
    third = model(torch.cat([first, second], 1))
    expected = sum(
        ((found - batch.targets[:, k]).norm(dim=-1) / batch.targets[:, k].norm(dim=-1)).sum().item()
        for k, found in enumerate((first, second, third))
    )
    sums = task.loss_sums(model, batch, config.loss)
    assert sums.sums.item() == pytest.approx(expected, rel=1e-5)
    assert sums.counts.tolist() == [6.0]
    sums.sums.sum().backward()
    assert model.weight.grad is not None and model.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", ["relative_l2", "relative_h1"])
def test_training_and_validation_measure_the_same(operator_config: Make, loss: str) -> None:
    config = operator_config(loss=loss, valid_fraction=0.5)
    run = trainer(config, ToyOperator(1, 1))
    value, errors = run.validate()
    samples = run.data.valid.batch(range(len(run.data.valid)))
    direct = run.task.loss_sums(run.model, samples, config.loss)
    assert value == pytest.approx(float(direct.total(config.loss, direct.counts)), rel=1e-5)
    assert errors[f"valid_{loss}"] == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("channel", [0, 1])
def test_channels_weigh_alike_whatever_their_units(
    operator_config: Make, tmp_path: Path, channel: int
) -> None:
    """One of two equal patterns, of which one is in a unit a million times smaller, is wrong by a tenth of itself."""
    rng = np.random.default_rng(0)
    names = ("a", "small", "large")
    fields = [Field(name, time_varying=False) for name in names]
    with FieldWriter(tmp_path / "two.h5", name="two", axes=[Axis.periodic("x", 8)], fields=fields) as writer:
        for pattern in rng.normal(size=(8, 8)):
            writer.append(dict(zip(names, (pattern, pattern, 1e6 * pattern), strict=True)))
    config = operator_config(
        train_file=tmp_path / "two.h5", inputs="a", targets=["small", "large"], loss="relative_l2"
    )
    task = config.task()
    model, data = task.prepare(ToyOperator(1, 2, output_scale=[(0, 1), (0, 1e6)]))
    with torch.no_grad():
        model.weight.fill_(1)
        model.weight[channel] = 0.9
    batch = data.train.batch(range(4))
    expected = pytest.approx(0.1 / 2**0.5, rel=1e-5)
    assert task.loss_sums(model, batch, config.loss).sums.item() / 4 == expected
    assert evaluate_operator(model, task.dataset).overall().mean == expected


def test_killed_before_or_after_anything_it_ends_the_same(
    operator_config: Make,
    evolution: Path,
) -> None:
    settings = {
        "train_file": evolution,
        "inputs": "u",
        "targets": "u",
        "horizon": 2,
        "valid_fraction": 0.34,
        "batch_size": 8,
        "epochs": 4,
        "incremental_modes": {"start": 2, "epochs": 2},
        "ema_decay": 0.9,
    }
    straight = trainer(operator_config(**settings))
    straight.run()
    weights, lines = outcome(straight)
    kills = [("_step", call, False) for call in (1, 5, 10)]
    kills += [(method, 1, after) for method in ("_close_epoch", "save") for after in (False, True)]
    for i, (method, call, after) in enumerate(kills):
        changed = operator_config(**settings, output=straight.config.output / str(i))
        run = trainer(changed)
        kill_at(run, method, call, after=after)
        with pytest.raises(Killed):
            run.run()
        run = trainer(changed)
        assert run.run()
        again, again_lines = outcome(run)
        assert all(torch.equal(a, b) for a, b in zip(weights, again, strict=True)), (method, call, after)
        assert again_lines == lines


@pytest.mark.filterwarnings("ignore:.*do not fit into cache_megabytes")
def test_samples_read_ahead_give_the_same_weights_also_after_a_kill(
    operator_config: Make, tmp_path: Path
) -> None:
    kept = trainer(operator_config())
    kept.run()
    weights, lines = outcome(kept)
    for name, kill in (("straight", None), ("killed", 6)):
        config = operator_config(cache_megabytes=0, output=tmp_path / name)
        run = trainer(config)
        assert not run.data.train.in_memory and not run.data.valid.in_memory
        if kill is not None:
            kill_at(run, "_step", kill, after=True)
            with pytest.raises(Killed):
                run.run()
            assert not any(thread.name.startswith("samples") for thread in threading.enumerate())
            run = trainer(config)
        assert run.run()
        again, again_lines = outcome(run)
        assert all(torch.equal(a, b) for a, b in zip(weights, again, strict=True))
        assert again_lines == lines


def test_sigterm_ends_after_the_step_and_the_run_continues_bit_for_bit(operator_config: Make) -> None:
    straight = trainer(operator_config())
    straight.run()
    stopped = operator_config(output=straight.config.output / "stopped")
    run = trainer(stopped)
    original, calls = run._step, iter(range(100))

    def step(*arguments: Any) -> bool:
        if next(calls) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    run._step = step
    assert not run.run()
    assert (run.state.epoch, run.state.step) == (1, 1)  # 4 steps per epoch
    run = trainer(stopped)
    assert run.run()
    assert all(torch.equal(a, b) for a, b in zip(outcome(run)[0], outcome(straight)[0], strict=True))
    assert outcome(run)[1] == outcome(straight)[1]


def test_modes_grow_and_the_best_model_has_them_all(operator_config: Make) -> None:
    config = operator_config(epochs=4, incremental_modes={"start": 2, "epochs": 3})
    run = trainer(config)
    seen = []
    original = run._close_epoch

    def close(n_steps: int) -> dict[str, Any]:
        seen.append([model.convolutions()[0].active_modes for model in (run.model, run.average.model)])
        return original(n_steps)

    run._close_epoch = close
    run.run()
    assert seen == [[(n,), (n,)] for n in (2, 4, 6, 8)]
    assert [line["best"] for line in run.log.read()] == [False, False, False, True]


def test_an_earlier_operator_goes_on(operator_config: Make, tmp_path: Path) -> None:
    train(operator_config(), progress=False)
    config = operator_config(output=tmp_path / "on", model={}, initial_model=tmp_path / "run")
    model, _ = config.task().prepare(None)
    earlier = load_operator(tmp_path / "run")
    assert isinstance(model, FNO) and all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), earlier.parameters(), strict=True))


def test_an_earlier_operator_goes_on_with_its_own_channels_and_domain(
    operator_config: Make, tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier"
    save_operator(FNO(1, 1, modes=[8], hidden_channels=8), earlier, roles=Roles(("before",), ("after",)))
    onward = {"model": {}, "initial_model": earlier, "epochs": 1}
    assert train(
        operator_config(**onward), progress=False
    ).finished  # of an older file the domain is not known
    with pytest.raises(
        ConfigError, match=r"inputs: expected before, as initial_model=.* got after; set them so"
    ):
        train(
            operator_config(**onward, inputs="after", targets="before", output=tmp_path / "a"), progress=False
        )
    long = Roles(("before",), ("after",), periodic=(True,), lengths=(2.0,))
    save_operator(FNO(1, 1, modes=[8], hidden_channels=8), earlier, roles=long)
    with pytest.raises(
        DataError, match=r"axes that initial_model=.* x of length 2 \(periodic\), got x of length 1"
    ):
        train(operator_config(**onward, output=tmp_path / "b"), progress=False)
    save_operator(
        FNO(1, 1, modes=[8], hidden_channels=8), earlier, roles=Roles(("before",), ("after",), history=2)
    )
    with pytest.raises(ConfigError, match=r"history: expected 2, as initial_model=.* got 1"):
        train(operator_config(**onward, output=tmp_path / "c"), progress=False)
    assert not any((tmp_path / name).exists() for name in "abc")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": "befor"}, "no field 'befor', did you mean 'before'"),
        ({"horizon": 2}, "horizon to be 1, as nothing concerned varies in time"),
        ({"model": {"kind": "FNO", "modes": [32]}}, r"static\.h5: FNO: expected at least 32 points"),
        ({"model": {"kind": "FNO", "modes": [4, 4]}}, r"model\.modes: .* the axes x of .*\.h5, got \[4, 4\]"),
        (
            {"model": {"kind": "FNO", "modes": [8]}, "incremental_modes": {"start": 8}},
            r"incremental_modes\.start: expected fewer than the model's modes \[8\], got 8",
        ),
        (
            {"model": {"kind": "FNO", "input_scale": [(0, 1), (0, 1)]}},
            "model: FNO: .*input_scale as .* each of 1 ch",
        ),
        ({"freeze": "lift"}, "freeze: no parameter or block matches 'lift', did you mean 'lifting'"),
    ],
)
def test_what_does_not_fit_is_said_before_training(
    operator_config: Make,
    changes: dict[str, Any],
    words: str,
) -> None:
    with pytest.raises(ConfigError, match=words):
        train(operator_config(**changes), progress=False)
    assert not operator_config().output.exists()


def test_a_rollout_needs_targets_that_are_inputs(operator_config: Make, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with FieldWriter(
        tmp_path / "two.h5",
        name="two",
        axes=[Axis.periodic("x", 8)],
        fields=[Field("u"), Field("v")],
        times=range(5),
    ) as writer:
        for _ in range(4):
            writer.append({"u": rng.normal(size=(5, 8)), "v": rng.normal(size=(5, 8))})
    config = operator_config(train_file=tmp_path / "two.h5", inputs="u", targets="v", horizon=2)
    with pytest.raises(ConfigError, match="a rollout needs targets that are the inputs varying in time"):
        train(config, progress=False)
    settings = {"train_file": tmp_path / "two.h5", "inputs": ["u", "v"]}
    with pytest.raises(
        ConfigError, match=r"in the order of the inputs .*\(u, v\), .*, got v, u; name them in"
    ):
        train(operator_config(**settings, targets=["v", "u"]), progress=False)
    assert not config.output.exists()
    model, _ = operator_config(**settings, targets=["u", "v"]).task().prepare(None)
    with pytest.raises(ConfigError, match=r"in the order of the inputs .*\(u, v\)"):
        evaluate_operator(model, FieldDataset(tmp_path / "two.h5", inputs=["u", "v"], targets=["v", "u"]))


def test_uneven_times_are_refused_before_training(operator_config: Make, tmp_path: Path) -> None:
    uneven = write_evolution(tmp_path / "uneven.h5", stored=[0, 0.1, 0.3])
    settings = {"inputs": "u", "targets": "u"}
    with pytest.raises(
        DataError, match=r"uneven\.h5: expected equally spaced times, got steps from 0\.1 to 0\.2"
    ):
        train(operator_config(train_file=uneven, **settings), progress=False)
    even = write_evolution(tmp_path / "even.h5", stored=[0, 0.1, 0.2])
    with pytest.raises(DataError, match=r"uneven\.h5: expected equally spaced times"):
        train(operator_config(train_file=even, valid_file=uneven, **settings), progress=False)
    slow = write_evolution(tmp_path / "slow.h5", stored=[0, 0.2, 0.4])
    with pytest.raises(
        DataError, match=r"slow\.h5: expected frames 0\.1 of time apart, as in .*even\.h5, got 0\.2"
    ):
        train(operator_config(train_file=even, valid_file=slow, **settings), progress=False)
    assert not operator_config().output.exists()


def test_one_frame_needs_no_time_step(operator_config: Make, tmp_path: Path) -> None:
    """A static coefficient and the one time of a solution, as collections of steady flows have them."""
    rng = np.random.default_rng(0)
    fields = [Field("a", time_varying=False), Field("u")]
    with FieldWriter(
        tmp_path / "one.h5", name="one", axes=[Axis.periodic("x", 8)], fields=fields, times=[0.0]
    ) as writer:
        for _ in range(4):
            writer.append({"a": rng.normal(size=8), "u": rng.normal(size=(1, 8))})
    config = operator_config(train_file=tmp_path / "one.h5", inputs="a", targets="u", epochs=1)
    assert train(config, progress=False).finished
    roles = load_roles(config.output)
    assert roles is not None and roles.time_step is None
    assert len(open_for(roles, tmp_path / "one.h5")) == 4


def test_files_without_statistics_or_with_structures_are_refused(
    operator_config: Make,
    static: Path,
    tmp_path: Path,
) -> None:
    import h5py

    bare = tmp_path / "bare.h5"
    bare.write_bytes(static.read_bytes())
    with h5py.File(bare, "r+") as file:
        del file["normalisation"]
    with pytest.raises(DataError, match=r"bare\.h5: has no normalisation statistics .*sciten data import"):
        train(operator_config(train_file=bare), progress=False)
    with pytest.raises(DataError, match=r"nowhere\.h5"):
        train(operator_config(train_file=tmp_path / "nowhere.h5"), progress=False)


def test_the_task_of_a_configuration_is_its_own(operator_config: Make) -> None:
    assert isinstance(operator_config().task(), FieldTask)
