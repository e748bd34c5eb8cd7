"""The converter from mace-torch: what it refuses, and that it stands alone (test_parity.py has the numbers).

The refusals need an environment with mace-torch and safetensors: SCITEN_MACE_PYTHON=PATH/TO/bin/python.
"""

import ast
import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest

from sciten.potentials import load_potential
from tests.potentials.mace.make_fixtures import converter

SCRIPT = Path(__file__).parents[2] / "workflows" / "convert_mace.py"
PEER = os.environ.get("SCITEN_MACE_PYTHON")

#: Words that the refusal of each offer in refused_mace_models.py must contain.
EXPECTED = {
    "attention": "RealAgnosticAttResidualInteractionBlock",
    "nonlinear": "RealAgnosticResidualNonLinearInteractionBlock",
    "heads": "the heads a, b",
    "soft": "SoftTransform",
    "gaussian": "GaussianBasis",
    "edge_irreps": "edge_irreps 2x0e",
    "so3": "use_so3",
    "agnostic": "use_agnostic_product",
    "last_readout": "use_last_readout_only",
    "last_irreps": "keep_last_layer_irreps",
    "embedding": "embedding_specs",
    "gate": "gate tanh",
    "apply_cutoff": "apply_cutoff=False",
    "odd": "2x0e+2x0o+2x1o",
    "correlations": "different correlations",
    "one_layer": "single layer",
    "parameter": "products.0.extra",
    "agnesi": "a = 1.2",
    "checkpoint": "training checkpoint",
    "tensor": "Tensor instead of a model",
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
    assert "sciten" not in imported
    assert "torch" in imported


def test_help_says_that_unpickling_is_the_users_decision(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        converter().main(["--help"])
    help_text = " ".join(capsys.readouterr().out.split())
    assert "weights_only=False" in help_text
    assert "trust" in help_text


@pytest.mark.skipif(importlib.util.find_spec("mace") is not None, reason="mace-torch is installed here")
def test_without_mace_torch_it_says_where_to_run_it(tmp_path: Path) -> None:
    (tmp_path / "x.model").write_bytes(b"")
    with pytest.raises(SystemExit, match="mace-torch environment"):
        converter().main([str(tmp_path / "x.model"), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(PEER is None, reason="set SCITEN_MACE_PYTHON to the Python of a mace-torch environment")
def test_refusals_name_their_reason_and_leave_nothing(tmp_path: Path) -> None:
    assert PEER is not None
    command = [PEER, str(Path(__file__).with_name("refused_mace_models.py")), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert results.pop("good") == {"code": 0, "message": "", "left": ["good.out"]}
    again = results.pop("again")
    assert again["code"] == 1
    assert "exists already" in again["message"]
    assert load_potential(tmp_path / "good.out").elements == (1, 8)
    assert set(results) == set(EXPECTED)
    for name, result in results.items():
        assert result["code"] == 1, name
        assert EXPECTED[name] in result["message"], name
        assert "\n" not in result["message"], name
        assert result["left"] == [], name
