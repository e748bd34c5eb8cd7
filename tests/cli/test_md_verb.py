import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

from sciten.cli.main import app
from sciten.errors import ConfigError, DataError, ModelError
from sciten.simulation import Trajectory
from tests.cli.models import write_model, write_water


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("output"))


def run(*arguments: object):
    return CliRunner().invoke(app, ["md", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "nose-hoover", "npt"])
def test_every_ensemble_writes_a_trajectory(ensemble, model, tmp_path):
    structure = write_water(tmp_path / "water.xyz", periodic=True)
    output, extxyz = tmp_path / "run.h5", tmp_path / "run.xyz"
    options = ["--ensemble", ensemble, "--steps", 20, "--interval", 5, "--supercell", 2, 1, 1]
    done = run(model, structure, "--output", output, "--extxyz", extxyz, *options)
    assert done.exit_code == 0
    assert f"{output}: 5 frames of 6 atoms to 10 fs" in done.stdout
    with Trajectory(output) as trajectory:
        assert trajectory.run["ensemble"]["name"].lower() == ensemble.replace("-", "")
        assert list(trajectory.steps) == [0, 5, 10, 15, 20]
        assert trajectory.observable("temperature")[0] > 50
    assert len(ase.io.read(extxyz, index=":")) == 5


def test_constant_energy_needs_no_thermostat(model, tmp_path):
    structure, output = write_water(tmp_path / "water.xyz"), tmp_path / "run.h5"
    options = ["--ensemble", "nve", "--temperature", 0, "--steps", 2]
    assert run(model, structure, "--output", output, *options).exit_code == 0


def test_resuming_continues_and_overwriting_starts_anew(model, tmp_path):
    structure, output = write_water(tmp_path / "water.xyz"), tmp_path / "run.h5"
    whole = tmp_path / "whole.h5"
    assert run(model, structure, "--output", whole, "--steps", 40).exit_code == 0
    assert run(model, structure, "--output", output, "--steps", 20).exit_code == 0
    with pytest.raises(ConfigError, match="exists"):
        run(model, structure, "--output", output, "--steps", 40)
    assert run(model, structure, "--output", output, "--steps", 40, "--resume").exit_code == 0
    with Trajectory(whole) as one, Trajectory(output) as other:
        np.testing.assert_array_equal(one[-1].positions, other[-1].positions)
    assert run(model, structure, "--output", output, "--steps", 10, "--overwrite").exit_code == 0
    with Trajectory(output) as trajectory:
        assert len(trajectory) == 2


def test_mistakes_are_named_and_nothing_is_written(model, tmp_path):
    structure, output = write_water(tmp_path / "water.xyz"), tmp_path / "run.h5"
    with pytest.raises(DataError, match=r"nowhere.xyz: no such file"):
        run(model, tmp_path / "nowhere.xyz", "--output", output)
    (tmp_path / "text.xyz").write_text("no structure\n")
    with pytest.raises(DataError, match=r"text.xyz: expected a structure"):
        run(model, tmp_path / "text.xyz", "--output", output)
    with pytest.raises(ModelError, match="expected a folder"):
        run(tmp_path, structure, "--output", output)
    with pytest.raises(ConfigError, match="supercell"):
        run(model, structure, "--output", output, "--supercell", 0, 1, 1)
    with pytest.raises(ConfigError, match="periodic along all three axes"):
        run(model, structure, "--output", output, "--ensemble", "npt")
    assert not output.exists()
