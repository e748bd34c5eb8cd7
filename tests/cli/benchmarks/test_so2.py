"""Timing of SO(2) products; the peer here is a stand-in, sciten itself."""

import json
import sys
from pathlib import Path

import pytest
import torch

import sciten
from sciten.cli.benchmarks import so2
from sciten.cli.benchmarks.processes import WorkerError
from sciten.cli.benchmarks.so2 import FAIRCHEM, OURS, So2Case, measure_so2, write_inputs
from sciten.cli.benchmarks.workers import so2_ours

TINY = So2Case(lmax=1, mmax=1, channels=2, edges=5)

# A stand-in for the Python of fairchem, whose answers are off by a factor.
PEER = f"""#!{sys.executable}
import sys
from dataclasses import replace
sys.path.insert(0, {str(Path(sciten.__file__).parents[1])!r})
from sciten.cli.benchmarks.workers import so2_ours
from sciten.cli.benchmarks.workers.serve import serve

def prepare(request):
    job = so2_ours.prepare(request)
    return replace(job, check=lambda: {{"some": [[[FACTOR * v for v in row] for row in edge]
                                               for edge in job.check()["some"]]}})

serve(prepare)
"""


def stand_in(folder: Path, factor: float) -> str:
    path = folder / "python"
    path.write_text(PEER.replace("FACTOR", str(factor)))
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("task", ["evaluate", "train"])
def test_our_worker(task: str, tmp_path: Path) -> None:
    case = So2Case(task, lmax=2, mmax=1, channels=2, edges=5)
    request = {**vars(case), "inputs": str(write_inputs(case, tmp_path))}
    job = so2_ours.prepare(request)
    answer = json.loads(json.dumps(job.check()))
    assert torch.tensor(answer["some"]).shape == (4, 9, 2)
    assert ("gradient" in answer) == (task == "train")
    assert isinstance(job.call(), tuple) == (task == "train")


def test_programs_are_compared_and_timed_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(so2, "CASES", (TINY,))
    calls: list[None] = []
    row = measure_so2(
        TINY,
        peer_python=stand_in(tmp_path, 1.0),
        rounds=2,
        warm_up=1,
        threads=1,
        after_round=lambda: calls.append(None),
    )
    assert len(calls) == 2
    assert set(row["programs"]) == {OURS, FAIRCHEM}
    assert row["programs"][FAIRCHEM]["difference"] == {"some": 0.0}
    assert row["programs"][OURS]["us_per_edge"]["median"] > 0
    assert [line["what"] for line in row["targets"]] == ["first call, s", "fairchem / sciten"]
    json.dumps(row)


def test_a_peer_that_disagrees_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="fairchem and sciten differ"):
        measure_so2(TINY, peer_python=stand_in(tmp_path, 1.01), rounds=1, warm_up=1, threads=1)
