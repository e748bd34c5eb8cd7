"""The demo, on next to no training: every stage runs, and everything that it promises is there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sciten.potentials import load_potential
from sciten.simulation import Trajectory
from workflows import demo

SETTINGS = ("epochs=2", "second_stage=null", "model.channels=4", "model.lmax=1", "model.correlation=2")
PLOTS = ("learning_curves", "test_error_by_config_type", "nve_energy")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo") / "out"
    command = [sys.executable, demo.__file__, *SETTINGS, "--output", str(output), "--picoseconds", "0.02"]
    return output, subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_ends_well_with_a_summary(run):
    output, completed = run
    assert completed.returncode == 0, completed.stderr
    for expected in (
        "ethanol_600K",
        "every check passed",
        "the total energy drifts by",
        "2 epochs in",
        str(output),
    ):
        assert expected in completed.stdout


def test_the_folder_holds_what_it_promises(run):
    output, _ = run
    report = (output / "report.html").read_text()
    molecules = ("acetamide", "ethanol", "pyrrole")
    parity = [f"test_{name}_parity_{label}" for name in molecules for label in ("energy", "force")]
    for name in (*PLOTS, *parity):
        assert (output / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f'src="{name}.png"' in report
    assert len((output / "metrics.jsonl").read_text().splitlines()) == 2
    assert json.loads((output / "verification.json").read_text())["passed"]
    assert load_potential(output).elements == (1, 6, 7, 8)


def test_the_trajectory_starts_at_room_temperature(run):
    output, _ = run
    with Trajectory(output / "nve.h5") as trajectory:
        assert len(trajectory) == 1 + 40 // demo.STORED_EVERY
        assert 100 < trajectory.observable("temperature")[0] < 600


def test_the_settings_are_those_of_a_training():
    from sciten.training import read_config

    root = Path(demo.__file__).parent
    config = read_config(root / "configs" / "demo.yaml")
    assert config.train_file == Path("data/molecules_train.h5")
    assert len(config.stages()) == 2
