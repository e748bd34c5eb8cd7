"""`sciten benchmark`: fair timing of several programs in turn, and an honest report."""

import ast
import json
import os
import stat
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import sciten
from sciten.cli.benchmarks import cases as cases_
from sciten.cli.benchmarks import mace, machine, tables
from sciten.cli.benchmarks.cases import Case, Settings
from sciten.cli.benchmarks.processes import SCRIPTS, Worker, WorkerError, interleaved
from sciten.cli.benchmarks.summary import compare, ratios, spread, target
from sciten.cli.benchmarks.systems import molecules, silicon
from sciten.cli.main import app
from sciten.errors import ConfigError

TINY = Settings(channels=4, frames=2, repeats=1, rounds=2, warm_up=1, degrees=(0,), threads=1)

# A program to time: it notes when it is called, and does whatever the test says.
PROGRAM = f"""
import os, subprocess, sys, time
sys.path.insert(0, {str(SCRIPTS)!r})
from serve import Job, serve
print("libraries chat", flush=True)

def prepare(request):
    print("even now", flush=True)
    if "child" in request:
        child = subprocess.Popen(["sleep", "60"])
        open(request["child"], "w").write(str(child.pid))
        child.wait()
    return Job(lambda: call(request), lambda: {{"energy": 1.0}}, {{"load_s": 0.0, "atoms": 2}})

def call(request):
    if request["what"] == "fail":
        raise ValueError("no such luck")
    if request["what"] == "die":
        os.write(2, b"killed by a test")
        os._exit(1)
    start = time.monotonic()
    time.sleep(0.05)
    with open(request["log"], "a") as stream:
        stream.write(f"{{request['what']}} {{start}} {{time.monotonic()}}\\n")

serve(prepare)
"""

# A stand-in for the Python of a peer: its "mace-torch" is sciten itself.
PEER = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(Path(sciten.__file__).parents[1])!r})
from sciten.cli.benchmarks.workers import ours
from sciten.cli.benchmarks.workers.serve import serve
from sciten.potentials import MACE, save_potential

def make(request):
    save_potential(MACE(**request["arguments"]), request["converted"])
    return {{"versions": {{"mace-torch": "a stand-in"}}}}

def prepare(request):
    return ours.prepare({{**request, "model": request["model"].removesuffix(".model")}})

serve(prepare, {{"make": make}})
"""


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    return [sys.executable, str(script)]


def peer(folder: Path) -> str:
    path = folder / "python"
    path.write_text(PEER)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_workers_are_called_in_turn_and_never_together(program: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    rounds = []
    with Worker("a", program, threads=1) as first, Worker("b", program, threads=1) as second:
        for worker in (first, second):
            facts = worker.ask("prepare", {"what": worker.name, "log": str(log)})
            assert facts == {"load_s": 0.0, "atoms": 2}
        seconds = interleaved([first, second], 3, pause=0.0, after_round=lambda: rounds.append(1))
    lines = [line.split() for line in log.read_text().splitlines()]
    assert "".join(line[0] for line in lines) == "abbaab"
    times = [float(value) for line in lines for value in line[1:]]
    assert times == sorted(times)
    assert len(rounds) == 3
    assert all(0.05 <= value < 5 for values in seconds.values() for value in values)


def test_a_worker_says_how_much_memory_it_took(program: list[str]) -> None:
    with Worker("a", program, threads=1) as worker:
        worker.ask("prepare", {"what": "nothing"})
        memory = worker.ask("memory")
    if Path("/proc/self/status").exists():
        assert 1 < memory["before_mb"] <= memory["peak_mb"] < 1000


def test_threads_and_variables_reach_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMOVED", "1")
    script = tmp_path / "environment.py"
    body = (
        "print(json.dumps({k: os.environ.get(k) for k in ('OMP_NUM_THREADS', 'SET', 'REMOVED')}), file=out)"
    )
    script.write_text(f"import json, os, sys\ninput()\nwith open(int(sys.argv[-1]), 'w') as out: {body}\n")
    command = [sys.executable, script]
    with Worker("a", command, threads=3, environment={"SET": "2", "REMOVED": None}) as worker:
        assert worker.ask("tell") == {"OMP_NUM_THREADS": "3", "SET": "2", "REMOVED": None}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("fail", "slow: the worker, asked to call, failed: ValueError: no such luck"),
        ("die", "slow: the worker, asked to call, ended; it said: .*killed by a test"),
    ],
)
def test_a_failing_worker_is_reported(program: list[str], what: str, message: str) -> None:
    with Worker("slow", program, threads=1) as worker:
        worker.ask("prepare", {"what": what})
        with pytest.raises(WorkerError, match=message):
            worker.ask("call")


def test_a_worker_over_its_time_is_killed_with_its_children(program: list[str], tmp_path: Path) -> None:
    note = tmp_path / "child"
    start = time.monotonic()
    with Worker("slow", program, threads=1) as worker:
        worker.ask("memory")  # it is up: the limit is for the request
        with pytest.raises(WorkerError, match="slow: the worker, asked to prepare, took longer than 2"):
            worker.ask("prepare", {"what": "hang", "child": str(note)}, limit=2)
    assert time.monotonic() - start < 30
    assert not _runs(int(note.read_text()))


def _runs(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if " Z " in Path(f"/proc/{pid}/stat").read_text():
                return False  # ended; its new parent has not asked yet
            os.kill(pid, 0)
        except (ProcessLookupError, FileNotFoundError):
            return False
        time.sleep(0.05)
    return True


def test_a_missing_python_is_named() -> None:
    with pytest.raises(WorkerError, match="mace-torch: /no/such/python cannot be started"):
        Worker("mace-torch", ["/no/such/python", "x.py"], threads=1)


def test_spread_is_per_atom_in_microseconds() -> None:
    found = spread([5e-3, 1e-3, 2e-3, 4e-3, 3e-3], atoms=100)
    assert found == {"min": 10, "lower_quartile": 20, "median": 30, "upper_quartile": 40, "max": 50}
    assert set(spread([1e-3], atoms=100).values()) == {10}


def test_ratios_are_peer_over_ours() -> None:
    programs = {
        "ours": {"us_per_atom": {"median": 10.0}},
        "slower": {"us_per_atom": {"median": 35.0}},
        "absent": {"absent": "no time"},
    }
    assert ratios(programs, "ours") == {"slower": 3.5}


def test_programs_that_disagree_are_refused() -> None:
    theirs = {"energy": -2.0, "forces": [[0.0, 4.0]]}
    found = compare("peer", theirs, {"energy": -2.0001, "forces": [[0.0001, 4.0]]})
    assert found == pytest.approx({"energy": 5e-5, "forces": 2.5e-5})
    with pytest.raises(
        WorkerError, match=r"^peer and sciten differ: energy by 0.0e\+00, forces by 1.0e-03 of"
    ):
        compare("peer", theirs, {"energy": -2.0, "forces": [[0.0, 4.004]]})
    with pytest.raises(WorkerError, match="energy by nan"):
        compare("peer", theirs, {"energy": np.nan, "forces": [[0.0, 4.0]]})


def test_targets_look_in_the_right_direction() -> None:
    assert target("speed", 3.0, 3.0)["met"] and not target("speed", 2.9, 3.0)["met"]
    assert (
        target("memory", 9.0, 9.0, at_most=True)["met"]
        and not target("memory", 9.1, 9.0, at_most=True)["met"]
    )


def test_cases_and_targets() -> None:
    found = cases_.cases((0, 1, 2))
    assert len(found) == len(set(found)) == 9
    assert found[0] == Case("evaluate", "silicon", 1)  # symmetrix-xl comes here first
    assert cases_.cases((1,)) == [case for case in found if case.degree == 1]
    goals = {(c.task, c.system, c.degree): cases_.TARGETS[c.task, c.system].get(c.degree) for c in found}
    assert goals["train", "acac", 1] == 3 and goals["train", "acac", 0] is None
    assert goals["evaluate", "acac", 0] == 4 and goals["evaluate", "acac", 2] == 5
    assert all(goals["evaluate", "silicon", degree] == 8 for degree in (0, 1, 2))


def test_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    crystal = silicon(3)
    assert len(crystal.structures[0]) == 216 and crystal.structures[0].pbc.all() and crystal.elements == [14]
    monkeypatch.delenv("SCITEN_REFERENCE_DATA", raising=False)
    bundled = molecules(3)
    assert len(bundled.structures) == 3 and "not AcAc" in bundled.source
    assert all(len(atoms) > 1 for atoms in bundled.structures)
    monkeypatch.setenv("SCITEN_REFERENCE_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match=r"train_300K\.xyz: there is no such file"):
        molecules(3)


def test_scripts_for_other_pythons_import_nothing_of_sciten() -> None:
    peers = (
        "mace_torch",
        "symmetrix_xl",
        "so2_fairchem",
        "torchmd_net",
        "neuraloperator_fno",
        "neuraloperator_darcy",
    )
    for name in ("serve.py", *(f"{peer}.py" for peer in peers)):
        for node in ast.walk(ast.parse((SCRIPTS / name).read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [module for module in modules if module.split(".")[0] == "sciten"], name


def test_measuring_beside_a_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCITEN_REFERENCE_DATA", raising=False)
    monkeypatch.setattr(mace, "cases", lambda degrees: [Case("train", "acac", 0)])
    document = mace.run(replace(TINY, peer_python=peer(tmp_path)), progress=False)
    (row,) = json.loads(json.dumps(document))["cases"]
    assert (row["task"], row["system"], row["hidden_lmax"]) == ("train", "acac", 0)
    ours, theirs = row["programs"]["sciten"], row["programs"]["mace-torch"]
    medians = [program["us_per_atom"]["median"] for program in (ours, theirs)]
    assert row["ratios"]["mace-torch"] == pytest.approx(medians[1] / medians[0], abs=0.006)
    assert set(theirs["difference"]) == {"loss", "gradient"}
    assert ours["first_call_s"] * 1e6 / row["atoms"] > ours["us_per_atom"]["min"]  # it had to compile
    assert [line["what"] for line in row["targets"]] == ["first result, s", "peak memory, MB"]
    assert document["versions"]["peers"] == {"mace-torch": "a stand-in"}
    assert "mace-torch / sciten" in tables.table(document)
    head, rule, *rows = tables.markdown(document).split("\n\n")[0].splitlines()
    assert len({line.count("|") for line in (head, rule, *rows)}) == 1 and len(rows) == 1


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCITEN_REFERENCE_DATA", raising=False)
    monkeypatch.delenv("SCITEN_PEER_PYTHON", raising=False)
    monkeypatch.setattr(machine, "load", lambda: 1.5)
    monkeypatch.setattr(mace, "cases", lambda degrees: [Case("evaluate", "silicon", 0)])
    chosen = []
    original = mace.run

    def tiny(settings: Settings) -> dict[str, object]:
        chosen.append(settings)
        return original(TINY, progress=False)

    monkeypatch.setattr(mace, "run", tiny)
    target = tmp_path / "results" / "speed.json"
    options = [
        "--json",
        str(target),
        "--rounds",
        "4",
        "--threads",
        "1",
        "--hidden-lmax",
        "0",
        "--no-symmetrix",
    ]
    result = CliRunner().invoke(app, ["benchmark", "mace", *options])
    assert result.exit_code == 0, result.output
    assert chosen == [Settings(rounds=4, threads=1, degrees=(0,), symmetrix=False)]
    assert "load average is 1.5" in result.output and "measuring sciten alone" in result.output
    document = json.loads(target.read_text(encoding="utf-8"))
    assert document["machine"]["load_at_start"] == 1.5 and list(document["cases"][0]["programs"]) == [
        "sciten"
    ]
    assert tables.markdown(document).startswith("|  | L | sciten, µs/atom | first result")
    assert CliRunner().invoke(app, ["benchmark", "mcae"]).exit_code == 2


@pytest.mark.slow
def test_measuring_beside_mace_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    python = os.environ.get("SCITEN_PEER_PYTHON")
    if not python:
        pytest.skip("needs SCITEN_PEER_PYTHON, the Python of an environment with mace-torch")
    monkeypatch.delenv("SCITEN_REFERENCE_DATA", raising=False)
    document = mace.run(replace(TINY, peer_python=python, symmetrix=False))
    assert all(row["ratios"]["mace-torch"] > 0 for row in document["cases"])
