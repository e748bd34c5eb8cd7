"""Timing of SO(2) products; the peer here is a stand-in, sciten itself."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

import sciten
from sciten.cli.benchmarks.processes import WorkerError
from sciten.cli.benchmarks.tensor_products import so2
from sciten.cli.benchmarks.tensor_products.rows import Measurer
from sciten.cli.benchmarks.tensor_products.settings import SMALL, SO2_CASES, So2Case
from sciten.cli.benchmarks.tensor_products.so2 import FAIRCHEM, OURS, write_inputs
from sciten.cli.benchmarks.workers import products

TINY = So2Case(lmax=1, mmax=1, channels=2, edges=5)

# A stand-in for the Python of fairchem, whose answers are off by a factor.
PEER = f"""#!{sys.executable}
import sys
from dataclasses import replace
sys.path.insert(0, {str(Path(sciten.__file__).parents[1])!r})
from sciten.cli.benchmarks.workers import products
from sciten.cli.benchmarks.workers.serve import serve

def prepare(request):
    job = products.prepare({{**request, "program": "SO2Product, radial"}})
    return replace(job, check=lambda: {{"some": [FACTOR * value for value in job.check()["some"]]}})

serve(prepare)
"""


def stand_in(folder: Path, factor: float) -> str:
    path = folder / "python"
    path.write_text(PEER.replace("FACTOR", str(factor)))
    path.chmod(0o755)
    return str(path)


def measured(python: str | None) -> list[dict[str, Any]]:
    """Beside fairchem only: that of e3nn is slow to start."""
    settings = replace(SMALL, threads=1, rounds=2, so2=(TINY, replace(TINY, mmax=0)), fairchem_python=python)
    with Measurer(settings, tqdm(disable=True)) as measurer:
        return [so2._beside_fairchem(measurer, case) for case in settings.so2]


@pytest.mark.parametrize("name", ["forward", "backward"])
def test_our_worker(name: str, tmp_path: Path) -> None:
    case = So2Case(name, lmax=2, mmax=1, channels=2, edges=5)
    inputs = str(write_inputs(case, tmp_path / "inputs.npz"))
    request = {"program": "SO2Product, radial", "lmax": 2, "mmax": 1, "channels": 2, "edges": 5}
    job = products.prepare({**request, "pass": name, "inputs": inputs})
    answer = json.loads(json.dumps(job.check()))
    assert len(answer["some"]) == 2 * 9 * 2
    result = job.call()
    if name == "backward":
        # Of features, edges and radial factors, which are compared, and of the weights of two orders.
        assert len(answer["gradient"]) == 3 and isinstance(result, tuple) and len(result) == 5
    else:
        assert "gradient" not in answer and not isinstance(result, tuple)


def test_programs_are_compared_and_timed_in_turn(tmp_path: Path) -> None:
    first, second = measured(stand_in(tmp_path, 1.0))
    assert set(first["programs"]) == {OURS, FAIRCHEM} and set(first["ratios"]) == {FAIRCHEM}
    assert first["programs"][FAIRCHEM]["difference"] == {"some": 0.0}
    ours = first["programs"][OURS]
    assert ours["us_per_edge"]["median"] > 0 and ours["first_s"] > 0 and ours["cached_first_s"] > 0
    assert [line["what"] for line in first["targets"]] == ["first call, s", "fairchem / sciten"]
    assert [line["what"] for line in second["targets"]] == ["first call, s"]
    json.dumps([first, second])


def test_the_target_is_for_the_case_of_the_issue() -> None:
    assert SO2_CASES[0] == So2Case("forward", lmax=6, mmax=6, channels=64, edges=5000)


def test_a_peer_that_disagrees_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="fairchem and sciten differ"):
        measured(stand_in(tmp_path, 1.01))
