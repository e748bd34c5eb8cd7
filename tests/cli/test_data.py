import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from typer.testing import CliRunner

from sciten.cli.data import app
from sciten.datasets import AtomsDataset, FieldDataset
from sciten.errors import ConfigError, DataError
from sciten.files import sha256


@pytest.fixture
def files(tmp_path):
    frames = []
    for i in range(3):
        atoms = Atoms("OH2", positions=[[0, 0, 0], [0.96 + 0.01 * i, 0, 0], [-0.24, 0.93, 0]])
        atoms.calc = SinglePointCalculator(atoms, energy=-2081.0 - i, forces=np.full((3, 3), 0.1 * i))
        atoms.info["config_type"] = "water"
        frames.append(atoms)
    frames[2].calc.results.pop("energy")
    ase.io.write(tmp_path / "water.xyz", frames)
    oxygen = Atoms("O")
    oxygen.calc = SinglePointCalculator(oxygen, energy=-2043.0)
    ase.io.write(tmp_path / "oxygen.xyz", oxygen)
    return tmp_path


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_import_prints_the_census_and_info_prints_it_again(files):
    output = files / "out.h5"
    done = run(
        "import", files / "water.xyz", output, "--isolated-atoms", files / "oxygen.xyz", "--licence", "MIT"
    )
    assert done.exit_code == 0
    census = str(AtomsDataset(output).census())
    assert census in done.stdout and f"written: {output}" in done.stdout
    assert "isolated atoms: O -2043.000000 eV" in census and "1 of 3 frames carry no energy" in census
    told = run("info", output)
    assert told.exit_code == 0 and census in told.stdout
    for text in (
        f"from water.xyz, sha256 {sha256(files / 'water.xyz')}",
        "licence: MIT",
        "4 frames, 10 atoms",
    ):
        assert text in told.stdout


def test_options_reach_the_import(files):
    done = run("import", files / "water.xyz", files / "out.h5", "--config-type", "mine", "--energy-key", "E")
    assert "warning: the key 'E' was found in no frame" in done.stdout
    dataset = AtomsDataset(files / "out.h5")
    assert set(dataset.config_types) == {"mine"} and not dataset.has_label("energy").any()


def test_several_inputs(files):
    run("import", files / "water.xyz", files / "water.xyz", files / "out.h5")
    assert len(AtomsDataset(files / "out.h5")) == 6


def test_mistakes_are_errors_of_sciten(files):
    with pytest.raises(ConfigError, match="expected INPUT"):
        run("import", files / "water.xyz")
    with pytest.raises(ConfigError, match="the output comes last"):
        run("import", files / "out.h5", files / "water.xyz")
    with pytest.raises(DataError, match="not an HDF5 file"):
        run("info", files / "water.xyz")


@pytest.fixture
def arrays(tmp_path):
    generator = np.random.default_rng(0)
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["a"], file["u"] = generator.normal(size=(2, 4, 6, 5))
    return tmp_path


def test_fields_are_imported_and_told(arrays):
    output = arrays / "out.h5"
    done = run(
        "import",
        arrays / "plain.h5",
        output,
        "--boundary",
        "wall",
        "--points",
        "left",
        "--name",
        "mine",
        "--licence",
        "MIT",
    )
    told = run("info", output)
    assert done.exit_code == told.exit_code == 0 and f"written: {output}" in done.stdout
    for text in (
        f"from plain.h5, sha256 {sha256(arrays / 'plain.h5')}",
        "licence: MIT",
        "mine, 4 trajectories",
        "x: from 0 to 0.833333, spacing 0.166667, wall",
        "4 x 6 x 5",
    ):
        assert text in done.stdout and text in told.stdout
    dataset = FieldDataset(output, inputs=["a"], targets=["u"])
    assert len(dataset) == 4 and dataset.statistics.inputs.std.item() == pytest.approx(1, abs=0.3)


def test_how_arrays_were_read_is_told(arrays):
    options = ("--boundary", "periodic")
    done = run("import", arrays / "plain.h5", arrays / "static.h5", *options)
    assert "a [x 6, y 5], u [x 6, y 5] (where x is time, give --time-step" in done.stdout
    done = run("import", arrays / "plain.h5", arrays / "flow.h5", *options, "--time-step", "0.5")
    assert "a [time 6, x 5], u [time 6, x 5]\n" in done.stdout and "time: 6 from 0 to 2.5" in done.stdout


def test_arrays_of_other_programs_are_fields(arrays):
    np.savez(arrays / "plain.npz", u=np.arange(24.0).reshape(2, 3, 4))
    done = run("import", arrays / "plain.npz", arrays / "out.h5", "--boundary", "wall")
    assert "u [x 3, y 4]" in done.stdout and "2 trajectories" in done.stdout
    (arrays / "darcy.mat").touch()
    with pytest.raises(DataError, match=r"darcy\.mat: a file of MATLAB; .*import that"):
        run("import", arrays / "darcy.mat", arrays / "new.h5")


def test_a_file_of_fields_gets_statistics_by_importing_it_again(arrays):
    run("import", arrays / "plain.h5", arrays / "bare.h5", "--boundary", "periodic")
    with h5py.File(arrays / "bare.h5", "r+") as file:
        del file["normalisation"]
    assert "`sciten data import bare.h5 OUT.h5` writes them" in run("info", arrays / "bare.h5").stdout
    assert "no statistics" not in run("import", arrays / "bare.h5", arrays / "full.h5").stdout


def test_mistakes_with_fields_are_errors_of_sciten(arrays, files):
    plain, out = arrays / "plain.h5", arrays / "out.h5"
    with pytest.raises(
        ConfigError, match="--energy-key is for structures, which these files are not; leave it out"
    ):
        run("import", plain, out, "--energy-key", "E")
    with pytest.raises(ConfigError, match="--boundary is for fields, which these files are not"):
        run("import", files / "water.xyz", out, "--boundary", "wall")
    with pytest.raises(ConfigError, match="files of structures or of fields, got both"):
        run("import", files / "water.xyz", plain, out)
    with pytest.raises(ConfigError, match="give --boundary"):
        run("import", plain, out)
    with pytest.raises(DataError, match="no such file"):
        run("import", arrays / "none.h5", out)
    with pytest.raises(
        DataError, match=r"not an atoms file of sciten .*; make one with `sciten data import`"
    ):
        run("info", plain)
