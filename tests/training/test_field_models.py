"""Operators on patches are built from configurations, and trained, saved, evaluated and rolled out like others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sciten.datasets import FieldDataset
from sciten.errors import ConfigError
from sciten.neural_operators import FNO, TFNO, MultigridPatching, load_operator
from sciten.training import OperatorConfig, evaluate_operator, train
from tests.training.fields import TINY_FNO, write_static

Make = Callable[..., OperatorConfig]
PATCHING = {"patches": [2], "levels": 1, "padding": 0.25, "at_a_time": 4}
PATCHED = {**TINY_FNO, "patching": PATCHING}


def test_what_is_not_given_comes_from_the_data_and_its_patches(operator_config: Make) -> None:
    model, _ = operator_config(model={"kind": "TFNO", "patching": {"patches": [2]}}).task().prepare(None)
    assert isinstance(model, TFNO)
    assert model.modes == (12,)  # as many as each patch of 24 points has
    assert model.patching == MultigridPatching((2,), 1, 0.0, (True,))
    given = {"kind": "FNO", "periodic": [False], "patching": PATCHING}
    model, _ = operator_config(model=given).task().prepare(None)
    assert model.patching == MultigridPatching((2,), 1, 0.25, (False,), at_a_time=4)
    assert model.modes == (12,)  # a patch has 18 points, and the coarser grid 12
    assert model(torch.zeros(1, 1, 24)).shape == (1, 1, 24)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"patching": {"patches": [2, 2]}}, r"patches as 1 numbers, one for each axis, got \[2, 2\]"),
        ({"patching": {"patches": [30], "levels": 1}}, r"at least \(30,\) points, .* got \(24,\)"),
        (
            {"patching": {"patches": [4]}, "modes": [8]},
            "FNO on patches: expected at least 8 points, .* got 6; use",
        ),
    ],
)
def test_patches_that_do_not_fit_are_refused_before_training(
    operator_config: Make, model: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        train(operator_config(model={"kind": "FNO", "hidden_channels": 4, **model}), progress=False)
    assert not operator_config().output.exists()


def test_a_patched_operator_learns_and_is_the_same_when_loaded(operator_config: Make, tmp_path: Path) -> None:
    config = operator_config(model=PATCHED, epochs=30, incremental_modes={"start": 4, "epochs": 5})
    result = train(config, progress=False)
    assert result.validation.overall().mean < 0.3
    model = load_operator(tmp_path / "run")
    assert isinstance(model, FNO) and model.patching is not None
    assert model.patching.description() == PATCHING
    fine = write_static(tmp_path / "fine.h5", 5, n=48, seed=1)
    errors = []
    for step in (1, 2):  # the same samples on 48 points, and on the 24 that it was trained on
        with FieldDataset(fine, inputs=["before"], targets=["after"], subsample=step) as dataset:
            errors.append(evaluate_operator(model, dataset).overall().mean)
    assert errors[0] == pytest.approx(errors[1], rel=0.1)


def test_coarser_grids_tell_a_patch_what_lies_around_it(operator_config: Make, tmp_path: Path) -> None:
    settings = {"train_file": write_static(tmp_path / "more.h5", 64), "epochs": 20, "batch_size": 8}
    errors = []
    for levels in (0, 1):
        model = {**TINY_FNO, "patching": {"patches": [2], "levels": levels}}
        config = operator_config(**settings, model=model, output=tmp_path / str(levels))
        errors.append(train(config, progress=False).validation.overall().mean)
    assert errors[1] < 0.7 * errors[0]  # diffusion knows the whole circle


def test_patches_at_a_time_are_the_same_training(operator_config: Make, tmp_path: Path) -> None:
    weights = []
    for count in (None, 1):
        model = {**TINY_FNO, "patching": {**PATCHING, "at_a_time": count}}
        config = operator_config(model=model, epochs=2, output=tmp_path / str(count), dtype="float64")
        weights.append(list(train(config, progress=False).model().parameters()))
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=1e-9)


def test_a_patched_operator_is_rolled_out_and_goes_on(
    operator_config: Make, evolution: Path, tmp_path: Path
) -> None:
    settings = {"train_file": evolution, "inputs": "u", "targets": "u", "horizon": 2, "epochs": 1}
    result = train(operator_config(**settings, model=PATCHED), progress=False)
    assert result.validation.steps == 6
    again = {**settings, "model": {}, "initial_model": tmp_path / "run", "output": tmp_path / "on"}
    for pattern, coarse in (("lifting", True), ("*lifting", False)):
        model, _ = operator_config(**again, freeze=pattern).task().prepare(None)
        assert model.patching.description() == PATCHING
        assert not any(parameter.requires_grad for parameter in model.lifting.parameters())
        assert all(parameter.requires_grad == coarse for parameter in model.coarse.lifting.parameters())
