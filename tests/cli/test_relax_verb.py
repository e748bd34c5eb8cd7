import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

from sciten.cli.main import app
from sciten.errors import ConfigError
from tests.cli.models import write_model, write_water


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("output"))


def run(*arguments: object):
    return CliRunner().invoke(app, ["relax", *map(str, arguments)], catch_exceptions=False)


def test_a_relaxed_structure_is_written(model, tmp_path):
    structure, output = write_water(tmp_path / "water.xyz"), tmp_path / "relaxed.xyz"
    done = run(model, structure, "--output", output, "--fmax", 0.05)
    assert done.exit_code == 0
    assert f"{output}: converged" in done.stdout
    relaxed = ase.io.read(output)
    assert np.linalg.norm(relaxed.get_forces(), axis=1).max() <= 0.05
    assert f"energy {relaxed.get_potential_energy():.6f} eV" in done.stdout


def test_not_converging_says_so_and_exits_with_one(model, tmp_path):
    structure, output = write_water(tmp_path / "water.xyz"), tmp_path / "relaxed.xyz"
    done = run(model, structure, "--output", output, "--fmax", 1e-9, "--steps", 2)
    assert done.exit_code == 1
    assert "NOT converged after 2 steps" in done.stdout
    assert len(ase.io.read(output)) == 3


def test_the_cell_is_relaxed_only_where_there_is_one(model, tmp_path):
    crystal = write_water(tmp_path / "crystal.xyz", periodic=True)
    run(model, crystal, "--output", tmp_path / "out.xyz", "--cell", "--steps", 5)
    before, after = ase.io.read(crystal), ase.io.read(tmp_path / "out.xyz")
    assert abs(after.get_volume() / before.get_volume() - 1) > 1e-4
    with pytest.raises(ConfigError, match="cell"):
        run(model, write_water(tmp_path / "water.xyz"), "--output", tmp_path / "none.xyz", "--cell")
    assert not (tmp_path / "none.xyz").exists()
