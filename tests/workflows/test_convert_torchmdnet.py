"""The converter from torchmd-net: what it refuses, and that it stands alone (test_parity.py has the numbers).

The refusals need an environment with torchmd-net and safetensors: SCITEN_TORCHMDNET_PYTHON=PATH/TO/bin/python.
"""

import ast
import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from sciten.potentials import load_potential
from tests.potentials.tensornet.make_fixtures import converter

SCRIPT = Path(__file__).parents[2] / "workflows" / "convert_torchmdnet.py"
PEER = os.environ.get("SCITEN_TORCHMDNET_PYTHON")

#: Words that the refusal of each offer in refused_torchmdnet_models.py must contain.
EXPECTED = {
    "again": "exists already",
    "architecture": "the architecture graph-network",
    "basis": "the radial basis gauss",
    "activation": "the activation tanh",
    "lower": "a lower cutoff of 0.5",
    "output": "the output model ElectronicSpatialExtent",
    "reduction": "the reduction mean",
    "prior": "the prior ZBL",
    "mean": "a mean energy of -3.5 per structure",
    "elements": "give --elements",
    "heavy": "no features for atomic numbers above 9",
    "symbol": "'Q'",
    "garbage": "cannot be read",
    "missing": "No such file",
}


def test_it_imports_nothing_of_sciten() -> None:
    imported = set()
    for node in ast.walk(ast.parse(SCRIPT.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert "sciten" not in imported and "torch" in imported


def test_help_says_that_unpickling_is_the_users_decision(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        converter().main(["--help"])
    help_text = " ".join(capsys.readouterr().out.split())
    assert "weights_only=False" in help_text and "trust" in help_text


@pytest.mark.skipif(
    importlib.util.find_spec("torchmdnet") is not None, reason="torchmd-net is installed here"
)
def test_without_torchmdnet_it_says_where_to_run_it(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(b"")
    with pytest.raises(SystemExit, match="torchmd-net environment"):
        converter().main([str(tmp_path / "x.ckpt"), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(
    PEER is None, reason="set SCITEN_TORCHMDNET_PYTHON to the Python of a torchmd-net environment"
)
def test_refusals_name_their_reason_and_leave_nothing(tmp_path: Path) -> None:
    assert PEER is not None
    command = [PEER, str(Path(__file__).with_name("refused_torchmdnet_models.py")), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert results.pop("good") == {"code": 0, "message": "", "left": ["good.out"]}
    assert results.pop("named")["code"] == 0
    good, named = load_potential(tmp_path / "good.out"), load_potential(tmp_path / "named.out")
    assert (good.elements, good.isolated_atom_energies.tolist()) == ((1, 8), pytest.approx([-13.6, -2000.0]))
    assert (named.elements, named.dtype) == ((1, 6), torch.float64)
    # The kernels' antisymmetric parts have the other sign.
    weights = [model.get_parameter("embedding.mixing.layers.1.weight") for model in (good, named)]
    assert torch.equal(weights[0].double(), -weights[1])
    assert set(results) == set(EXPECTED)
    for name, result in results.items():
        assert result["code"] == 1, name
        assert EXPECTED[name] in result["message"], (name, result["message"])
        assert result["left"] == (["good.out"] if name == "again" else []), name
