"""`sciten benchmark tensor-products` at tiny sizes; the peers but e3nn are stand-ins, sciten itself."""

import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import e3nn
import pytest
from tqdm import tqdm
from typer.testing import CliRunner

import sciten
from sciten.cli.benchmarks import machine, tensor_products
from sciten.cli.benchmarks.processes import WorkerError
from sciten.cli.benchmarks.summary import compare
from sciten.cli.benchmarks.tensor_products import PARTS, degrees, findings, measurement, parts, plot, report
from sciten.cli.benchmarks.tensor_products.degrees import (
    ALTERNATIVES,
    CHANNELWISE,
    COMPARED,
    E3NN_MODES,
    OURS,
    QUANTITY,
)
from sciten.cli.benchmarks.tensor_products.rows import Measurer, Program, repeats_of
from sciten.cli.benchmarks.tensor_products.settings import PASSES, SMALL, Settings
from sciten.cli.benchmarks.workers import products
from sciten.cli.main import app
from sciten.errors import ConfigError

ROOT = Path(__file__).parents[3]
TINY = replace(SMALL, threads=1, rounds=2, degrees=(1,))
SIZE = {"lmax": 2, "samples": 5, "channels": 3}
EVEN = {"paths": "even", **SIZE}
CASE = {
    "product": "convolution",
    "n_atoms": 8,
    "n_neighbours": 4,
    "channels": 3,
    "lmax": 2,
    "device": "cpu",
}
EDGES = {"lmax": 2, "channels": 3, "edges": 7}

# A stand-in for the Python of a peer: its "torchmd-net" is sciten itself.
TORCHMD = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from sciten.cli.benchmarks.workers import ours
from sciten.cli.benchmarks.workers.serve import serve
from sciten.potentials import TensorNet, save_potential

def make(request):
    channels, layers, radial, cutoff = request["arguments"]
    model = TensorNet(request["elements"], channels=channels, layers=layers, radial_functions=radial, cutoff=cutoff)
    save_potential(model, request["converted"])
    return {{"versions": {{"torchmd-net": "a stand-in", "torch": "another"}}}}

def prepare(request):
    return ours.prepare({{**request, "model": request["model"].replace("model.ckpt", "tensornet")}})

serve(prepare, {{"make": make}})
"""


@pytest.fixture(autouse=True)
def settings_of_e3nn() -> Iterator[None]:
    """A worker sets e3nn's way of running for its whole process, which here is that of the tests."""
    before = e3nn.get_optimization_defaults()
    yield
    e3nn.set_optimization_defaults(jit_mode=before["jit_mode"])


def stand_in(folder: Path) -> str:
    path = folder / "python"
    path.write_text(TORCHMD)
    path.chmod(0o755)
    return str(path)


def row(degree: int, name: str, times: Mapping[str, float], **more: Any) -> dict[str, Any]:
    """A row of the first part as it comes out of a measurement, made up."""
    programs = {
        program: {
            QUANTITY: dict.fromkeys(("min", "lower_quartile", "median", "upper_quartile", "max"), time),
            "first_s": 1.0,
        }
        for program, time in times.items()
    }
    head = {"part": "degrees", "title": f"L = {degree}, {name}", "L": degree, "pass": name, "rounds": 2}
    return {
        **head,
        "programs": programs,
        "left_out": {},
        "ratios": {},
        "fastest_e3nn": None,
        "targets": [],
    } | more


def document() -> dict[str, Any]:
    """A whole document, made up: alternatives cost L³, Clebsch-Gordan products and e3nn L⁵ / 8."""
    rows = []
    for degree in (1, 2, 3, 6, 10):
        times = {name: float(degree**3) for name in ALTERNATIVES}
        times |= dict.fromkeys((*CHANNELWISE, "e3nn"), degree**5 / 8)
        times[ALTERNATIVES["MatrixProduct"]] = 0.5
        for name in ("forward", "backward"):
            rows.append(row(degree, name, times, fastest_e3nn="e3nn", ratios={"e3nn": 1.0}))
    rows[0]["left_out"] = {"e3nn, torch.compile": "took too long"}
    rows[2]["left_out"] = {"e3nn, torch.compile": "took too long"}
    values = {name: {str(d): d + 1 for d in (1, 2, 3, 6, 10)} for name in (*CHANNELWISE, *ALTERNATIVES)}
    other = {
        "part": "tensornet",
        "title": "TensorNet, training step",
        "programs": {"sciten": {"us_per_atom": {"min": 1.0, "median": 2.0, "max": 3.0}}},
        "left_out": {},
        "ratios": {"torchmd-net": 1.25},
        "targets": [{"what": "x", "found": 1.25, "goal": 1.5, "at_most": False, "met": False}],
    }
    return {
        "measured": "2026-01-01",
        "machine": {"processor": "a processor", "load_at_start": 0.1},
        "versions": {"sciten": "1", "torch": "2", "peers": {"e3nn": "3"}},
        "settings": TINY.reported(),
        "cases": [*rows, other],
        "skipped": {"tensornet": "no --torchmd-python"},
        "expressivity": {"values": values},
        "crossovers": findings.crossovers(rows),
        "growth": findings.growth(rows),
    }


def check(request: Mapping[str, Any]) -> dict[str, Any]:
    job = products.prepare(dict(request))
    job.call()
    return dict(json.loads(json.dumps(job.check())))


@pytest.mark.parametrize("mode", ["eager", "script"])
@pytest.mark.parametrize("name", ["forward", "backward"])
@pytest.mark.parametrize(
    ("program", "size"),
    [
        (OURS, EVEN),
        (OURS, {**EVEN, "paths": "odd"}),
        (OURS, {**EVEN, "paths": "all"}),
        ("convolution", {"case": CASE}),
        ("TensorProduct convolution", {"case": CASE}),
        ("SO2Product", EDGES),
    ],
)
def test_our_programs_equal_e3nn(program: str, size: Mapping[str, Any], name: str, mode: str) -> None:
    ours = check({"program": program, "pass": name, **size})
    theirs = check({"program": "e3nn", "mode": mode, "pass": name, **size})
    assert ("gradient" in ours) == (name == "backward") and ours.keys() == theirs.keys()
    compare("e3nn", theirs, ours)
    theirs["some"][0] *= 1.1
    theirs["some"][0] += 0.1
    with pytest.raises(WorkerError, match="e3nn and sciten differ"):
        compare("e3nn", theirs, ours)


@pytest.mark.parametrize("program", ALTERNATIVES)
def test_products_of_signals_run(program: str) -> None:
    found = check({"program": program, "pass": "backward", **SIZE})
    assert len(found["some"]) == 2 * 3 * 9 and len(found["gradient"]) == 2
    assert found["squares"][0] > 0


def test_a_row_of_degrees(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"GauntProduct": OURS, "GauntProduct, fourier": OURS}
    for module in (degrees, findings):
        monkeypatch.setattr(module, "ALTERNATIVES", few)
        monkeypatch.setattr(module, "CHANNELWISE", {OURS: "even"})
    monkeypatch.setattr(degrees, "E3NN_MODES", {"eager": "e3nn"})
    found = tensor_products.run(replace(TINY, only=("degrees",)), progress=False)
    assert json.loads(json.dumps(found)) == found
    assert found["settings"]["samples"] == 16 and found["versions"]["peers"]["e3nn"]
    assert [(case["L"], case["pass"]) for case in found["cases"]] == [(1, "forward"), (1, "backward")]
    for case in found["cases"]:
        assert set(case["programs"]) == {OURS, *few, "e3nn"}
        assert "some" in case["programs"]["GauntProduct, fourier"]["difference"]
        assert case["rounds"] == 2 and not case["left_out"]
        ours, theirs = (case["programs"][name] for name in (OURS, "e3nn"))
        assert ("cached_first_s" in ours) == (case["pass"] == "backward")
        assert ours["first_s"] >= ours["first_call_s"]
        assert ("gradient" in theirs["difference"]) == (case["pass"] == "backward")
        medians = [program[QUANTITY]["median"] for program in (ours, theirs)]
        assert case["ratios"]["e3nn"] == pytest.approx(medians[1] / medians[0], abs=0.01)
        assert case["fastest_e3nn"] == "e3nn"
    targets = [line["what"].split(" of ")[0] for case in found["cases"] for line in case["targets"]]
    assert targets == ["first call", f"e3nn / {OURS}", "first call"]
    assert found["expressivity"]["values"]["GauntProduct"] == {"1": 4}
    assert [crossing["up_to"] for crossing in found["crossovers"]] == [1] * 4 and found["growth"] is None
    assert "ns per sample and channel" in report.table(found)


def test_a_program_beyond_its_limit_is_left_out_from_then_on() -> None:
    late = Program("late", "products", {"program": "GauntProduct", **SIZE}, limit=0.01)
    ours = replace(late, name="ours", limit=None)
    passes = {name: {"pass": name} for name in PASSES}
    with Measurer(TINY, tqdm(disable=True)) as measurer:
        found = measurer.rows("title", [ours, late], passes, "us_per_sample", 5)
    why = {"late": "late: the worker, asked to prepare, took longer than 0.01 s"}
    assert [list(row["programs"]) for row in found.values()] == [["ours"]] * 2
    assert [row["left_out"] for row in found.values()] == [why] * 2


def test_a_program_that_is_needed_must_not_fail() -> None:
    wrong = Program("wrong", "products", {"program": "none", "pass": "forward", **SIZE})
    with (
        Measurer(TINY, tqdm(disable=True)) as measurer,
        pytest.raises(WorkerError, match="wrong: the worker, asked to prepare, failed: KeyError: 'none'"),
    ):
        measurer.rows("title", [wrong], {"only": {}}, "us_per_sample", 5)


def test_what_took_too_long_is_not_tried_for_a_higher_degree(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Stub:
        settings = replace(TINY, degrees=(1, 2))
        bar = tqdm(disable=True)

        def rows(self, title: str, programs: list[Program], *_: Any) -> dict[str, Any]:
            asked.append([program.name for program in programs if program.name in E3NN_MODES.values()])
            times = {program.name: 1.0 for program in programs if program.name != "e3nn, torch.compile"}
            rows = {name: row(1, name, times) for name in ("forward", "backward")}
            if "e3nn, torch.compile" in asked[-1]:
                rows["backward"]["left_out"] = {"e3nn, torch.compile": "took longer"}
            return rows

    found = degrees.measure(Stub())  # type: ignore[arg-type]
    assert asked == [list(E3NN_MODES.values()), ["e3nn", "e3nn, TorchScript"]]
    notes = [case["left_out"].get("e3nn, torch.compile") for case in found]
    assert notes == [None, "took longer", *["not tried: it failed or took too long for L = 1"] * 2]


def test_short_calls_are_repeated_and_long_rows_shortened() -> None:
    assert [repeats_of(seconds) for seconds in (1e-6, 0.01, 0.05, 3.0)] == [50, 5, 1, 1]
    with Measurer(replace(TINY, rounds=11, row_seconds=20.0), tqdm(disable=True)) as measurer:
        assert [measurer._rounds(seconds) for seconds in (0.1, 4.0, 100.0)] == [11, 5, 3]


@pytest.mark.slow
def test_the_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(degrees, "E3NN_MODES", {"eager": "e3nn"})
    monkeypatch.setattr(degrees.e3nn_programs, "__defaults__", (("eager",),))
    found = tensor_products.run(replace(TINY, only=("convolution",)), progress=False)["cases"]
    assert [case["pass"] for case in found] == ["forward", "backward"]
    assert all(set(case["ratios"]) == {"TensorProduct", "e3nn"} for case in found)
    assert [line["what"] for line in found[1]["targets"]] == ["first call, s", "e3nn / sciten"]


@pytest.mark.slow
def test_so2_without_fairchem_says_so() -> None:
    found = tensor_products.run(replace(TINY, only=("so2",)), progress=False)["cases"]
    beside_fairchem, beside_e3nn = found
    assert beside_fairchem["left_out"] == {"fairchem": "not measured: no --fairchem-python"}
    assert set(beside_e3nn["ratios"]) == {"e3nn", "e3nn, TorchScript"} and "radial" in beside_e3nn["note"]


@pytest.mark.slow
def test_tensornet_beside_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCITEN_REFERENCE_DATA", raising=False)
    settings = replace(TINY, only=("tensornet",), torchmd_python=stand_in(tmp_path), tensornet=(2, 0, 4, 4.5))
    found = tensor_products.run(settings, progress=False)
    assert found["versions"]["peers"] == {"torchmd-net": "a stand-in"}
    assert [case["task"] for case in found["cases"]] == ["evaluate", "train"]
    for case in found["cases"]:
        assert set(case["programs"]) == {"sciten", "torchmd-net", "torchmd-net, neighbours beforehand"}
        assert case["targets"][0]["what"].endswith(" / sciten") and "not AcAc" in case["system"]


def test_what_cannot_be_measured_is_skipped_and_said() -> None:
    found = tensor_products.run(replace(TINY, only=("tensornet",)), progress=False)
    assert found["skipped"] == {"tensornet": "no --torchmd-python"}
    assert found["cases"] == [] and "tensornet skipped: no --torchmd-python" in report.table(found)


def test_mace_with_either_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCITEN_REFERENCE_DATA", raising=False)
    (case,) = tensor_products.run(replace(TINY, only=("mace",)), progress=False)["cases"]
    assert set(case["ratios"]) == {"MACE, Gaunt"}


def test_finished_parts_outlive_one_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(measurer: Measurer) -> list[dict[str, Any]]:
        raise WorkerError("a peer failed")

    stubs = {"convolution": lambda measurer: [document()["cases"][-1]], "mace": fails}
    monkeypatch.setattr(measurement, "_MEASURES", stubs)
    target = tmp_path / "found.json"
    options = ["--small", "--only", "convolution", "--only", "mace", "--json", str(target)]
    result = CliRunner().invoke(app, ["benchmark", "tensor-products", *options])
    assert isinstance(result.exception, WorkerError)
    partial = tmp_path / "found.partial.json"
    assert "stopped early" in result.output and not target.exists()
    assert len(json.loads(partial.read_text(encoding="utf-8"))["cases"]) == 1
    stubs["mace"] = lambda measurer: []
    result = CliRunner().invoke(app, ["benchmark", "tensor-products", *options])
    assert result.exit_code == 0 and target.is_file() and not partial.exists()


def test_crossovers_and_growth() -> None:
    found = {(line["product"], line["pass"]): line for line in document()["crossovers"]}
    # L⁵ / 8 exceeds L³ where L > 2 sqrt(2).
    assert found["GauntProduct", "forward"]["from"] == 3 and found["GauntProduct", "forward"]["up_to"] == 10
    assert found["MatrixProduct", "backward"]["from"] is None
    power = document()["growth"]
    assert power["found"] == pytest.approx(3, abs=0.01) and power["at_most"]


def test_expressivity_is_the_number_of_paths() -> None:
    found = findings.expressivities((2, 4))["values"]
    assert found[OURS] == {"2": 11, "4": 42} and found["GauntProduct"] == {"2": 7, "4": 13}
    assert found["TensorProduct, all paths"]["4"] == found["TensorProduct, odd paths"]["4"] + 42
    assert found["GauntProduct, fourier"] == found["GauntProduct"]


def test_report_and_plot(tmp_path: Path) -> None:
    found = document()
    text = report.table(found)
    assert "GauntProduct, forward: faster than TensorProduct: from L = 3 on" in text
    assert "MatrixProduct, forward: faster than TensorProduct, all paths: none up to L = 10" in text
    assert "TensorNet, training step: x 1.25, ≥ 1.5 MISSED" in text and "tensornet skipped" in text
    assert COMPARED in text and COMPARED in report.markdown(found)
    assert "L = 1, forward and L = 2, forward: e3nn, torch.compile: took too long" in text
    section = report.markdown(found)
    head, rule, *body = section.split("\n\n")[1].splitlines()
    assert len({line.count("|") for line in (head, rule, *body)}) == 1 and len(body) == 5
    assert section.splitlines()[-1].startswith("a processor, 1 threads, float32")
    points = plot.curves(found, "forward")
    assert points["e3nn"] == points[OURS] and points["GauntProduct"][0] == (1, 2, 1.0)
    picture = tmp_path / "plot.png"
    plot.plot(found, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_readme_reports_a_document() -> None:
    spec = importlib.util.spec_from_file_location("readme_table", ROOT / "benchmarks" / "readme_table.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert "tensor_products.png" in script.products(document())
    assert {"tensor_products.json", "tensornet_parity.json"} <= set(script.REPORTED)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FAIRCHEM", "TORCHMD"):
        monkeypatch.delenv(f"SCITEN_{name}_PYTHON", raising=False)
    chosen: list[Settings] = []

    def measured(settings: Settings, **_: Any) -> dict[str, Any]:
        chosen.append(settings)
        return document()

    monkeypatch.setattr(tensor_products, "run", measured)
    monkeypatch.setattr(machine, "checkout", lambda: tmp_path)
    target = tmp_path / "found" / "products.json"
    options = [
        "--only",
        "mace",
        "--only",
        "degrees",
        "--degree",
        "2",
        "--small",
        "--rounds",
        "4",
        "--threads",
        "1",
    ]
    result = CliRunner().invoke(app, ["benchmark", "tensor-products", *options, "--json", str(target)])
    assert result.exit_code == 0, result.output
    assert chosen == [replace(SMALL, only=("degrees", "mace"), degrees=(2,), rounds=4, threads=1)]
    assert "3 cases" in result.output and "written" in result.output
    assert json.loads(target.read_text(encoding="utf-8"))["measured"] == "2026-01-01"
    assert target.with_suffix(".png").is_file()
    peers = ["--fairchem-python", "a", "--torchmd-python", "b"]
    CliRunner().invoke(app, ["benchmark", "tensor-products", *peers[:2]])
    assert not (tmp_path / "benchmarks").exists()  # a peer is missing: not complete
    result = CliRunner().invoke(app, ["benchmark", "tensor-products", *peers])
    assert result.exit_code == 0 and chosen[-1].only == tuple(PARTS)
    assert {path.name for path in (tmp_path / "benchmarks" / "results").iterdir()} == {
        "tensor_products.json",
        "tensor_products.png",
    }


def test_an_unknown_part_is_refused() -> None:
    result = CliRunner().invoke(app, ["benchmark", "tensor-products", "--only", "mice"])
    assert isinstance(result.exception, ConfigError)
    assert "expected --only to be one of degrees, convolution, so2, tensornet, mace, got 'mice'" in str(
        result.exception
    )


def test_tensornet_needs_the_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "checkout", lambda: None)
    with pytest.raises(ConfigError, match=r"needs workflows/convert_torchmdnet\.py"):
        tensor_products.run(replace(TINY, only=("tensornet",), torchmd_python="python"), progress=False)


@pytest.mark.slow
def test_beside_the_real_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = {name: os.environ.get(f"SCITEN_{name}_PYTHON") for name in ("FAIRCHEM", "TORCHMD")}
    if not all(peers.values()):
        pytest.skip(
            "needs SCITEN_FAIRCHEM_PYTHON and SCITEN_TORCHMD_PYTHON, Pythons of environments with the peers"
        )
    monkeypatch.delenv("SCITEN_REFERENCE_DATA", raising=False)
    settings = replace(
        TINY,
        only=("so2", "tensornet"),
        fairchem_python=peers["FAIRCHEM"],
        torchmd_python=peers["TORCHMD"],
    )
    found = tensor_products.run(settings)
    assert found["versions"]["peers"]["torchmd-net"] and sciten.__version__
    assert "fairchem" in found["cases"][0]["ratios"]
