"""The `train` and `evaluate` verbs, as the command line runs them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sciten.cli.evaluate import evaluate
from sciten.cli.train import train
from sciten.errors import ConfigError
from sciten.training import TrainConfig
from tests.training.conftest import TINY, TINY_TENSORNET, config, molecules  # noqa: F401 (fixtures)

Make = Callable[..., TrainConfig]
app = typer.Typer()
app.command()(train)
app.command()(evaluate)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture
def yaml(config: Make, tmp_path: Path) -> Path:  # noqa: F811
    config().write(tmp_path / "c.yaml")
    return tmp_path / "c.yaml"


@pytest.mark.parametrize("model", [TINY, TINY_TENSORNET], ids=["MACE", "TensorNet"])
def test_trains_reports_and_evaluates(
    model: dict[str, Any],
    config: Make,  # noqa: F811
    tmp_path: Path,
    molecules: Path,  # noqa: F811
) -> None:
    yaml, output = tmp_path / "c.yaml", tmp_path / "cli"
    config(model=model).write(yaml)
    printed = run("train", yaml, f"output={output}", "epochs=2")
    assert "methane" in printed
    assert "2 epochs" in printed
    names = {path.name for path in output.iterdir()}
    assert {"model", "metrics.jsonl", "config.yaml", "checkpoint", "report.html", "evaluation.json"} <= names
    assert {
        "learning_curves.png",
        "parity_energy.png",
        "parity_force.png",
        "error_by_config_type.png",
    } <= names
    assert len((output / "metrics.jsonl").read_text().splitlines()) == 2
    assert "already complete" in run("train", yaml, f"output={output}", "epochs=2")

    folder = tmp_path / "evaluated"
    printed = run("evaluate", output, molecules, "--output", folder)
    assert printed.startswith("configuration type")
    assert (folder / "evaluation.txt").read_text() in printed
    assert json.loads((folder / "evaluation.json").read_text())["errors"][-1]["frames"] == 20
    assert (folder / "parity_force.png").is_file()


def test_a_misspelt_key_is_one_sentence(yaml: Path) -> None:
    with pytest.raises(ConfigError, match=r"c\.yaml: loss\.force: unknown key, did you mean 'forces'\?$"):
        run("train", yaml, "loss.force=3")


def test_sigterm_ends_with_143_and_the_same_command_continues(yaml: Path, tmp_path: Path) -> None:
    output = tmp_path / "terminated"
    script = tmp_path / "cli.py"
    script.write_text("import typer; from sciten.cli.train import train; typer.run(train)")
    command = [sys.executable, str(script), str(yaml), f"output={output}", "epochs=30"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    while process.poll() is None and not (output / "metrics.jsonl").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "the same command continues" in printed
    done = len((output / "metrics.jsonl").read_text().splitlines())
    assert 1 <= done < 30
    assert not (output / "model").exists()
    assert "30 epochs" in run("train", yaml, f"output={output}", "epochs=30")
    lines = (output / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(30))
