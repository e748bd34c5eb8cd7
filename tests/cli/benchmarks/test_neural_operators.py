"""The benchmark of neural operators: that it runs, and says what it must."""

import stat
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from tqdm import tqdm

from sciten.cli.benchmarks import report
from sciten.cli.benchmarks.neural_operators import darcy, measures
from sciten.cli.benchmarks.neural_operators.settings import Settings
from sciten.cli.benchmarks.processes import SCRIPTS


def test_without_a_peer_and_data_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCITEN_REFERENCE_DATA", raising=False)
    document = measures.run(Settings(small=True, data=tmp_path), progress=False)
    assert document["cases"] == []


@pytest.fixture
def reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Noise in the place of Darcy's data."""
    (tmp_path / "darcy").mkdir()
    generator = np.random.default_rng(0)
    for name, count, n in (("train_16", 8, 16), ("test_16", 4, 16), ("test_32", 4, 32)):
        with h5py.File(tmp_path / "darcy" / f"darcy_{name}.h5", "w") as file:
            file["x"] = generator.integers(0, 2, (count, n, n)).astype(np.uint8)
            file["y"] = generator.normal(size=(count, n, n)).astype(np.float32)
    monkeypatch.setenv("SCITEN_REFERENCE_DATA", str(tmp_path))
    return tmp_path


#: In the place of neuraloperator: answers with a multiple of its input.
PEER = {
    "neuralop/__init__.py": "",
    "neuralop/models.py": (
        "from torch import nn\n"
        "def FNO(in_channels, out_channels, n_modes, hidden_channels, factorization, rank, implementation):\n"
        "    return nn.Conv2d(in_channels, out_channels, 1)\n"
    ),
    "neuralop/losses.py": (
        "class H1Loss:\n"
        "    def __init__(self, d):\n"
        "        pass\n"
        "    def __call__(self, found, expected):\n"
        "        return (found - expected).square().mean()\n"
    ),
    "neuraloperator-9.9.dist-info/METADATA": "Metadata-Version: 2.1\nName: neuraloperator\nVersion: 9.9\n",
}


@pytest.fixture
def peer(tmp_path: Path) -> str:
    """A Python that has the stand-in."""
    for name, text in PEER.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\n"
        "import runpy, sys\n"
        f"sys.argv = sys.argv[1:]\nsys.path[:0] = [{str(tmp_path)!r}, {str(SCRIPTS)!r}]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n",
        encoding="utf-8",
    )
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return str(python)


def test_accuracy_on_given_data(reference: Path, peer: str) -> None:
    (row,) = darcy.measure(Settings(small=True, peer_python=peer), tqdm(disable=True))
    for errors in (row["errors"], row["peer_errors"]["neuraloperator"]):
        for resolution in ("16²", "32²"):
            low, high = errors[resolution]["interval"]
            assert low <= errors[resolution]["mean"] <= high
            assert 0.5 < errors[resolution]["mean"] < 5  # noise cannot be learnt
    assert [target["goal"] for target in row["targets"]] == [0.0851, 0.1204]
    theirs = row["programs"]["neuraloperator"]
    assert theirs["version"] == "9.9" and theirs["parameters"] == 2
    document = {
        "cases": [row, {"title": "gone", "programs": {"sciten": {"absent": "diverged"}}}],
        "settings": {"rounds": 1, "limit_s": 1.0},
        "machine": {"processor": "a processor"},
        "measured": "2026-01-01",
        "versions": {"sciten": "0", "torch": "2"},
    }
    written = report.markdown(document)
    assert f"neuraloperator, {report._time(theirs)}: error " in written and "0k parameters" in written
    assert "neuraloperator 9.9." in written and "gone" not in written
    assert "gone\n  sciten: diverged" in report.table(document)


def test_accuracy_without_a_peer(reference: Path) -> None:
    (row,) = darcy.measure(Settings(small=True), tqdm(disable=True))
    assert set(row["programs"]) == {"sciten"} and "peer_errors" not in row
