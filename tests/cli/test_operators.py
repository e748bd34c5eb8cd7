"""The verbs `train`, `evaluate` and `verify` with neural operators, as the command line runs them."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sciten.cli.evaluate import evaluate
from sciten.cli.train import train
from sciten.cli.verify import verify
from sciten.errors import ConfigError, ModelError
from sciten.neural_operators import FNO, save_operator
from sciten.neural_operators.files import Roles
from sciten.training import OperatorConfig
from tests.cli.models import write_model
from tests.training.conftest import evolution, operator_config, static  # noqa: F401 (fixtures)
from tests.training.fields import write_static

Make = Callable[..., OperatorConfig]
app = typer.Typer()
app.command()(train)
app.command()(evaluate)
app.command()(verify)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_trains_reports_and_evaluates_also_on_a_finer_grid(
    operator_config: Make,  # noqa: F811
    tmp_path: Path,
) -> None:
    operator_config().write(tmp_path / "c.yaml")
    output = tmp_path / "cli"
    printed = run("train", tmp_path / "c.yaml", f"output={output}", "epochs=2")
    assert "L2 mean" in printed
    assert "2 epochs" in printed
    assert "already complete" in run("train", tmp_path / "c.yaml", f"output={output}", "epochs=2")
    fine = write_static(tmp_path / "fine.h5", 5, n=48, seed=1)
    folder = tmp_path / "evaluated"
    printed = run("evaluate", output, fine, "--output", folder)
    assert (folder / "evaluation.txt").read_text() in printed
    document = json.loads((folder / "evaluation.json").read_text())
    assert (document["grid"], document["samples"]) == ([48], 5)
    run("evaluate", output, fine, "--output", folder, "--subsample", 2)
    coarse = json.loads((folder / "evaluation.json").read_text())
    assert coarse["grid"] == [24]
    # The fields have three waves, which both grids resolve: the same function is learned.
    ours, theirs = (entry["overall"]["relative_l2"]["mean"] for entry in (coarse, document))
    assert ours == pytest.approx(theirs, rel=0.05)
    page = (folder / "report.html").read_text()
    assert "fields.png" in page
    assert "95 % confidence" in page


def test_rollouts_are_evaluated_and_can_be_cut_short(
    operator_config: Make,  # noqa: F811
    evolution: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    operator_config(train_file=evolution, inputs="u", targets="u").write(tmp_path / "c.yaml")
    output, folder = tmp_path / "cli", tmp_path / "evaluated"
    assert "6 (t + 0.6)" in run("train", tmp_path / "c.yaml", f"output={output}", "epochs=1")
    run("evaluate", output, evolution, "--output", folder, "--steps", 3)
    assert len(json.loads((folder / "evaluation.json").read_text())["steps"]) == 3


def test_an_operator_on_patches_is_trained_evaluated_and_verified(
    operator_config: Make,  # noqa: F811
    tmp_path: Path,
) -> None:
    operator_config().write(tmp_path / "c.yaml")
    output, folder = tmp_path / "cli", tmp_path / "evaluated"
    patching = "model.patching={patches: [2], padding: 0.25, at_a_time: 4}"
    assert "L2 mean" in run("train", tmp_path / "c.yaml", f"output={output}", "epochs=1", patching)
    run("evaluate", output, write_static(tmp_path / "fine.h5", 5, n=48), "--output", folder)
    assert json.loads((folder / "evaluation.json").read_text())["grid"] == [48]
    printed = run("verify", output)
    assert "every check passed" in printed
    assert re.search("translation +passed", printed)
    with pytest.raises(ConfigError, match=r"model\.patching\.levles: unknown key, did you mean 'levels'"):
        run("train", tmp_path / "c.yaml", f"output={output}", "model.patching={patches: [2], levles: 1}")


def test_a_model_that_does_not_name_its_fields_is_told_them(static: Path, tmp_path: Path) -> None:  # noqa: F811
    save_operator(FNO(1, 1, modes=[4], hidden_channels=4), tmp_path / "model")
    with pytest.raises(ConfigError, match="names its inputs and targets; give --inputs and --targets"):
        run("evaluate", tmp_path / "model", static)
    printed = run(
        "evaluate",
        tmp_path / "model",
        static,
        "--inputs",
        "before",
        "--targets",
        "after",
        "--output",
        tmp_path / "e",
    )
    assert "L2 mean" in printed


def test_options_of_operators_are_refused_for_potentials(static: Path, tmp_path: Path) -> None:  # noqa: F811
    model = write_model(tmp_path / "potential")
    with pytest.raises(ConfigError, match="--steps is for neural operators"):
        run("evaluate", model, static, "--steps", 3)


def test_verify_says_what_a_model_is_tested_on(static: Path, tmp_path: Path) -> None:  # noqa: F811
    save_operator(
        FNO(1, 1, modes=[4], hidden_channels=4), tmp_path / "model", roles=Roles(("before",), ("after",))
    )
    printed = run("verify", tmp_path / "model", "--data", static, "--json", tmp_path / "verify.json")
    assert "every check passed" in printed
    assert json.loads((tmp_path / "verify.json").read_text())["fields"] == ["static.h5 on 24 points"]
    with pytest.raises(ConfigError, match="--structure is for potentials"):
        run("verify", tmp_path / "model", "--structure", static)
    with pytest.raises(ConfigError, match="--data is for neural operators"):
        run("verify", write_model(tmp_path / "potential"), "--data", static)


def test_a_pickled_model_is_told_how_to_be_converted(tmp_path: Path, static: Path) -> None:  # noqa: F811
    (tmp_path / "old.model").write_bytes(b"\x80\x04")
    for arguments in (("evaluate", tmp_path / "old.model", static), ("verify", tmp_path / "old.model")):
        with pytest.raises(ModelError, match="convert_mace"):
            run(*arguments)


def test_an_interruption_says_that_the_run_goes_on(
    operator_config: Make,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(config: OperatorConfig) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sciten.training.train", interrupted)
    operator_config().write(tmp_path / "c.yaml")
    ran = CliRunner().invoke(app, ["train", str(tmp_path / "c.yaml")])
    assert ran.exit_code == 130
    assert "interrupted; the same command continues" in ran.output
