"""The demo, on next to no training: every stage runs, and everything that it promises is there."""

import functools
import json
from pathlib import Path

import pytest
import torch
import typer

from sciten.datasets import AtomsDataset, write_structures
from sciten.potentials import load_potential
from sciten.simulation import Trajectory
from sciten.simulation.verify import CHECKS
from sciten.training import read_config
from workflows import demo

SETTINGS = ["epochs=2", "model.channels=4", "model.lmax=1", "model.correlation=2"]
PLOTS = ("learning_curves", "test_error_by_config_type", "nve_energy")
MOLECULES = ("acetamide", "ethanol", "pyrrole")


def thinned(name, folder, every):
    """A bundled dataset with its isolated atoms and a few of its frames."""
    with AtomsDataset(demo.ROOT / "data" / name) as dataset:
        chosen = [*dataset.isolated_atoms, *dataset.frames[::every]]
        write_structures(folder / name, dataset[chosen])
    return folder / name


def start(output):
    files = {"train_file": "molecules_train.h5", "test_file": "molecules_test.h5"}
    demo.main(
        SETTINGS, output=output, picoseconds=0.1, **{k: output.parent / name for k, name in files.items()}
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The demo with the four quickest checks, from another folder; the folder that it made and what it printed."""
    output = tmp_path_factory.mktemp("demo") / "out"
    thinned("molecules_train.h5", output.parent, every=20)
    thinned("molecules_test.h5", output.parent, every=30)
    lines, threads = [], torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "verify", functools.partial(demo.verify, checks=CHECKS[:4]))
        patch.setattr(demo, "announce", lines.append)
        patch.chdir(output.parent)
        start(output)
    torch.set_num_threads(threads)
    return output, "\n".join(lines)


def test_it_ends_with_a_summary(run):
    output, printed = run
    for expected in (
        "ethanol_600K",
        "every check passed",
        "the total energy drifts by",
        "2 epochs in",
        str(output),
    ):
        assert expected in printed


def test_the_folder_holds_what_it_promises(run):
    output, _ = run
    report = (output / "report.html").read_text()
    parity = [f"test_{name}_parity_{label}" for name in MOLECULES for label in ("energy", "force")]
    for name in (*PLOTS, *parity):
        assert (output / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f'src="{name}.png"' in report
    assert len((output / "metrics.jsonl").read_text().splitlines()) == 2
    assert json.loads((output / "verification.json").read_text())["passed"]
    assert load_potential(output).elements == (1, 6, 7, 8)


def test_the_trajectory_starts_at_room_temperature(run):
    output, _ = run
    with Trajectory(output / "nve.h5") as trajectory:
        assert len(trajectory) == 1 + 200 // demo.STORED_EVERY
        assert 100 < trajectory.observable("temperature")[0] < 600


def test_a_second_run_takes_the_training_as_it_is_and_a_failed_check_shows_in_the_exit_code(run, monkeypatch):
    output, _ = run
    weights = (output / "model" / "model.safetensors").read_bytes()
    monkeypatch.setattr(demo, "verify", functools.partial(demo.verify, checks=CHECKS[:1]))
    monkeypatch.setattr(demo, "draw_errors", lambda *_: [])  # drawn before
    monkeypatch.setattr(demo.Verification, "failures", property(lambda self: self.results))
    threads = torch.get_num_threads()
    with pytest.raises(typer.Exit) as stopped:
        start(output)
    torch.set_num_threads(threads)
    assert stopped.value.exit_code == 1
    assert (output / "model" / "model.safetensors").read_bytes() == weights
    assert "Failed: rotation" in (output / "report.html").read_text()


def test_its_settings_are_those_of_a_training():
    config = read_config(demo.ROOT / "workflows" / "configs" / "demo.yaml")
    assert config.train_file == Path("data/molecules_train.h5")
    assert config.max_time is not None  # it ends on slow machines too
