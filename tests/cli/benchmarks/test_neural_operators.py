"""The benchmark of neural operators: that it runs, and says what it must."""

from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

from sciten.cli.benchmarks.neural_operators import darcy, measures
from sciten.cli.benchmarks.neural_operators.settings import Settings


def test_without_a_peer_and_data_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCITEN_REFERENCE_DATA", raising=False)
    document = measures.run(Settings(small=True, data=tmp_path), progress=False)
    assert document["cases"] == []


def test_accuracy_on_given_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import h5py

    (tmp_path / "darcy").mkdir()
    generator = np.random.default_rng(0)
    for name, count, n in (("train_16", 8, 16), ("test_16", 4, 16), ("test_32", 4, 32)):
        with h5py.File(tmp_path / "darcy" / f"darcy_{name}.h5", "w") as file:
            file["x"] = generator.integers(0, 2, (count, n, n)).astype(np.uint8)
            file["y"] = generator.normal(size=(count, n, n)).astype(np.float32)
    monkeypatch.setenv("SCITEN_REFERENCE_DATA", str(tmp_path))
    (row,) = darcy.measure(Settings(small=True), tqdm(disable=True))
    for resolution in ("16²", "32²"):
        low, high = row["errors"][resolution]["interval"]
        assert low <= row["errors"][resolution]["mean"] <= high
        assert 0.5 < row["errors"][resolution]["mean"] < 5  # noise cannot be learnt
    assert [target["goal"] for target in row["targets"]] == [0.0851, 0.1204]
