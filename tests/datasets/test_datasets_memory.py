import sys

import pytest

from benchmarks.datasets_memory import measure, random_structures
from sciten.datasets import write_structures


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_iterating_a_million_atoms_costs_little_memory(tmp_path):
    write_structures(tmp_path / "million.h5", random_structures(1_000_000))
    result = measure(tmp_path / "million.h5")
    assert result["atoms"] == 1_000_000
    assert result["above_imports_mb"] < 150
