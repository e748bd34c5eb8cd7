import json
import sys

import pytest
from typer.testing import CliRunner

from sciten.cli.main import app
from sciten.errors import ModelError
from sciten.simulation.verify import run as verify_run
from tests.cli.models import write_model, write_water


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("output"))


@pytest.fixture
def few_checks(monkeypatch):
    def few(*arguments, **options):
        return verify_run.verify(*arguments, checks=(verify_run.rotation, verify_run.forces), **options)

    # By its name in `sciten.simulation`, the function hides the module.
    monkeypatch.setattr(sys.modules["sciten.simulation.verify"], "verify", few)


def run(*arguments: object):
    return CliRunner().invoke(app, ["verify", *map(str, arguments)], catch_exceptions=False)


def test_the_table_is_printed_and_the_file_written(model, tmp_path, few_checks):
    structure, output = write_water(tmp_path / "water.xyz"), tmp_path / "verify.json"
    done = run(model, "--structure", structure, "--json", output)
    assert done.exit_code == 0
    assert "every check passed" in done.stdout
    document = json.loads(output.read_text())
    assert document["passed"] is True
    assert document["structures"] == ["H2O"]
    assert [entry["name"] for entry in document["results"]][-1] == "forces against energy"


def test_a_failure_exits_with_one(model, tmp_path, few_checks, monkeypatch):
    monkeypatch.setattr(
        sys.modules["sciten.simulation.verify.derivatives"], "derivative", lambda function, step: 1.0
    )
    output = tmp_path / "verify.json"
    done = run(model, "--structure", write_water(tmp_path / "water.xyz"), "--json", output)
    assert done.exit_code == 1
    assert "1 of 4 checks failed" in done.stdout
    assert json.loads(output.read_text())["passed"] is False


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ModelError, match="expected a folder"):
        run(tmp_path)
