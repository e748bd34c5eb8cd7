import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sciten.datasets import Axis, Field, FieldDataset, FieldWriter
from sciten.errors import ConfigError, DataError
from sciten.neural_operators import TFNO, TuckerFactors
from sciten.training import evaluate_operator
from sciten.training.field_errors import FieldErrors
from sciten.training.field_evaluation import Course, Summary
from sciten.training.rollout import evaluating
from tests.operators import ToyOperator
from tests.training.fields import write_evolution


def factor(value: float, inputs: int = 1) -> ToyOperator:
    """The last input channel times a number."""
    model = ToyOperator(inputs, 1, dtype=torch.float64)
    with torch.no_grad():
        model.weight.zero_()
        model.weight[0, -1] = value
    return model


def opened(path: Path, **options: object) -> FieldDataset:
    return FieldDataset(path, inputs=["u"], targets=["u"], dtype=torch.float64, **options)


def test_static_errors_are_those_of_numpy(static: Path) -> None:
    dataset = FieldDataset(static, inputs=["before"], targets=["after"], dtype=torch.float64)
    evaluation = evaluate_operator(factor(0.5), dataset, batch_size=5)
    ratios = [
        np.linalg.norm(0.5 * sample.inputs - sample.targets[0]) / np.linalg.norm(sample.targets[0])
        for sample in (dataset[i] for i in range(len(dataset)))
    ]
    np.testing.assert_allclose(evaluation.errors["relative_l2"][:, 0], ratios, rtol=1e-10)
    assert evaluation.overall().mean == pytest.approx(np.mean(ratios), rel=1e-10)
    assert (evaluation.steps, evaluation.time_step) == (1, None)
    assert [row[0] for row in evaluation.rows()] == ["step", "all"]


@pytest.mark.parametrize(
    "options", [{}, {"history": 2}, {"stride": 2}, {"horizon": 3}, {"stride": 2, "horizon": 2}]
)
def test_rollouts_follow_a_trajectory_from_its_start_to_its_end(
    evolution: Path,
    options: dict[str, int],
) -> None:
    """A model that multiplies by a number predicts powers of it times the first frame, and that is all."""
    dataset, model = opened(evolution, **options), factor(0.9, options.get("history", 1))
    evaluation = evaluate_operator(model, dataset)
    every = opened(evolution)
    windows = len(every) // 6
    history, stride = options.get("history", 1), options.get("stride", 1)
    steps = 6 // stride + 1 - history
    assert evaluation.errors["relative_l2"].shape == (6, steps)
    assert evaluation.time_step == (pytest.approx(0.1 * stride) if steps > 1 else None)
    for trajectory in (0, 5):
        frames = [every[trajectory * windows].inputs[0]]
        frames += [every[trajectory * windows + i].targets[0, 0] for i in range(windows)]
        start = (history - 1) * stride
        for step in range(steps):
            target = frames[start + (step + 1) * stride]
            ratio = (0.9 ** (step + 1) * frames[start] - target).norm() / target.norm()
            assert evaluation.errors["relative_l2"][trajectory, step] == pytest.approx(float(ratio), rel=1e-9)


def test_chosen_samples_stand_for_their_trajectories_and_steps_can_be_fewer(evolution: Path) -> None:
    dataset, model = opened(evolution), factor(0.9)
    everything = evaluate_operator(model, dataset).errors["relative_l2"]
    windows = len(dataset) // 6
    some = evaluate_operator(model, dataset, indices=[windows + 2, windows + 3, 4 * windows], steps=2)
    np.testing.assert_array_equal(some.errors["relative_l2"], everything[[1, 4], :2])
    with pytest.raises(ConfigError, match="steps: expected 1 to 6, which the trajectories have, got 7"):
        evaluate_operator(model, dataset, steps=7)


def test_best_median_and_worst_are_shown(static: Path) -> None:
    dataset = FieldDataset(static, inputs=["before"], targets=["after"], dtype=torch.float64)
    evaluation = evaluate_operator(factor(0.5), dataset)
    errors = evaluation.errors["relative_l2"][:, 0]
    best, median, worst = evaluation.examples
    assert (best.error, worst.error) == (errors.min(), errors.max())
    assert median.error == np.sort(errors)[len(errors) // 2]
    place = int(np.argmax(errors))
    assert worst.place == f"static.h5, trajectory {place}"
    np.testing.assert_allclose(worst.prediction, 0.5 * dataset[place].inputs)
    np.testing.assert_array_equal(worst.reference, dataset[place].targets[0])


def shown(paths: list[Path]) -> None:
    for path in paths:
        with Image.open(path) as image:
            assert min(image.size) > 150
            assert len(set(image.convert("L").tobytes())) > 20  # not a blank page


def test_writes_json_table_and_figures(evolution: Path, tmp_path: Path) -> None:
    evaluation = evaluate_operator(factor(0.9), opened(evolution), model_name="toy")
    figures = evaluation.write(tmp_path)
    document = json.loads((tmp_path / "evaluation.json").read_text())
    assert (document["model"], document["samples"], len(document["steps"])) == ("toy", 6, 6)
    overall = document["overall"]["relative_l2"]
    assert overall["low"] < overall["mean"] < overall["high"] <= overall["largest"]
    assert [path.name for path in figures] == ["fields.png", "error_histogram.png", "error_over_time.png"]
    shown(figures)
    lines = (tmp_path / "evaluation.txt").read_text().splitlines()
    assert lines[2].split()[:5] == ["1", "(t", "+", "0.1)", "6"]


@pytest.mark.parametrize("value", [1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("n_axes", [2, 3])
def test_figures_of_more_axes(n_axes: int, value: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    axes = [Axis.bounded(name, 6) for name in "xyz"[:n_axes]]
    fields = [Field(name, time_varying=False) for name in ("a", "u")]
    with FieldWriter(tmp_path / "f.h5", name="f", axes=axes, fields=fields) as writer:
        for _ in range(4):
            writer.append({"a": rng.normal(size=(6,) * n_axes), "u": rng.normal(size=(6,) * n_axes)})
    model = ToyOperator(1, 1, periodic=(False,) * n_axes)
    with torch.no_grad():
        model.weight.fill_(value)
    evaluation = evaluate_operator(model, FieldDataset(tmp_path / "f.h5", inputs=["a"], targets=["u"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown(evaluation.write(tmp_path))


@pytest.mark.parametrize("value", [float("nan"), 1e200])
def test_a_rollout_that_diverges_shows_in_the_errors_and_is_json(
    evolution: Path, value: float, tmp_path: Path
) -> None:
    evaluation = evaluate_operator(factor(value), opened(evolution))
    assert not np.isfinite(evaluation.overall().mean)
    shown(evaluation.write(tmp_path))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    document = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=refuse)
    assert document["overall"]["relative_l2"]["mean"] is None
    assert document["examples"]["worst"]["error"] is None
    assert document["samples"] == 6  # the rest stays
    assert {"nan", "inf"} & set(re.findall(r"nan|inf", evaluation.table()))


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        summary = Summary.of(rng.gamma(4, 0.25, size=40))
        covered += summary.low <= 1.0 <= summary.high
    assert 86 <= covered <= 100  # 95 are expected, and the bootstrap is a little too sure of itself
    assert Summary.of(np.array([0.5])).low is None


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 3))
def test_errors_by_step_add_up_over_batches(steps: int, batches: int, seed: int) -> None:
    from sciten.datasets import FieldGrid

    generator = torch.Generator().manual_seed(seed)
    grid = FieldGrid((Axis.periodic("x", 8),))
    apart, together = FieldErrors(grid, steps), FieldErrors(grid, steps)
    for step in range(steps):
        ours, theirs = torch.randn(2, 3 * batches, 1, 8, generator=generator, dtype=torch.float64)
        together.add(step, ours, theirs)
        for i in range(batches):
            apart.add(step, ours[3 * i : 3 * i + 3], theirs[3 * i : 3 * i + 3])
    torch.testing.assert_close(apart.sums, together.sums)
    found = together.metrics("valid")
    assert found["valid_relative_l2"] == pytest.approx(float((together.sums[:, 0] / (3 * batches)).mean()))
    assert ("valid_relative_l2_last" in found) == (steps > 1)


def test_uneven_times_are_said_before_a_rollout(tmp_path: Path) -> None:
    class Untouched(ToyOperator):
        def transform(self, fields: torch.Tensor) -> torch.Tensor:
            raise AssertionError("the model was asked")

    with pytest.raises(DataError, match="expected equally spaced times"):
        evaluate_operator(Untouched(1, 1), opened(write_evolution(tmp_path / "u.h5", stored=[0, 0.1, 0.3])))


def test_dropout_is_for_training_only(static: Path) -> None:
    dataset = FieldDataset(static, inputs=["before"], targets=["after"])
    factors = TuckerFactors(rank=0.9)
    model = TFNO(1, 1, modes=[8], hidden_channels=16, n_layers=2, factorization=factors, dropout=0.5).train()
    model.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    inputs = dataset[0].inputs[None]
    assert not torch.equal(model(inputs), model(inputs))  # there is something to leave out
    once, again = (evaluate_operator(model, dataset).errors["relative_l2"] for _ in range(2))
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(once, evaluate_operator(model.eval(), dataset).errors["relative_l2"])
    model.train().blocks[0].eval()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not any(module.training for module in model.modules())
        _ = 1 / 0
    assert [module.training for module in model.modules()] == modes


def test_what_cannot_be_compared_is_said(static: Path) -> None:
    dataset = FieldDataset(static, inputs=["before"], targets=["after"])
    with pytest.raises(DataError, match="expected samples to evaluate, got none"):
        evaluate_operator(factor(1.0), dataset, indices=[])
    with pytest.raises(
        ConfigError,
        match=r"static\.h5: expected 2 channels as targets, .*got 1 \(after\); name other targets",
    ):
        evaluate_operator(ToyOperator(1, 2), dataset)
    with pytest.raises(
        ConfigError, match=r"static\.h5: expected 2 channels as inputs, .*got 1 \(before\); name other inputs"
    ):
        evaluate_operator(factor(1.0, 2), dataset)
    with pytest.raises(ConfigError, match=r"static\.h5: expected fields on 2 axes, .*got x; .*other data"):
        evaluate_operator(ToyOperator(1, 1, periodic=(True, True)), dataset)
    with pytest.raises(
        ConfigError, match="steps: expected 1, as the targets do not follow from themselves, got 2"
    ):
        Course.of(dataset, [0], 2)
