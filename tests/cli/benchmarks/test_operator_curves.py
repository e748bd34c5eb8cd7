"""The accuracy of neural operators against their size: what is compared, how it is trained and kept, and reported."""

import copy
import importlib.util
import itertools
import json
import shlex
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from tqdm import tqdm
from typer.testing import CliRunner

from sciten.cli.benchmarks import report
from sciten.cli.benchmarks.neural_operators import (
    burgers,
    curve_plot,
    curves,
    navier_stokes,
    patching,
    trials,
)
from sciten.cli.benchmarks.neural_operators.candidates import (
    DENSE,
    FORMATS,
    Candidate,
    Comparison,
    built,
    parameters,
    spectral_parameters,
)
from sciten.cli.benchmarks.neural_operators.settings import Settings
from sciten.cli.benchmarks.neural_operators.trials import Trial
from sciten.cli.main import app
from sciten.datasets import FieldDataset
from sciten.training import OperatorConfig
from sciten.training.field_models import build
from tests.training.fields import TINY_FNO, write_evolution
from workflows.make_burgers_dataset import main as make_burgers
from workflows.make_navier_stokes_dataset import main as make_navier_stokes

ROOT = Path(__file__).parents[3]
SILENT = tqdm(disable=True)


@contextmanager
def one_thread(count: int) -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Tiny trainings on the data in the repository, in this process."""
    monkeypatch.setattr(trials, "processes", one_thread)
    (tmp_path / "data").mkdir()
    for role in ("train", "test"):
        for name, file in (("ns_1e-3", "navier_stokes"), ("burgers", "burgers")):
            (tmp_path / "data" / f"{name}_{role}.h5").symlink_to(ROOT / "data" / f"{file}_{role}.h5")
    return Settings(small=True, data=tmp_path / "data", work=tmp_path / "work")


def trial(folder: Path, **changed: Any) -> Trial:
    values: dict[str, Any] = {
        "train_file": folder / "train.h5",
        "output": Path(),
        "inputs": "u",
        "targets": "u",
        "valid_fraction": 0.2,
        "model": TINY_FNO,
        "epochs": 2,
        "batch_size": 8,
        **changed,
    }
    for name, seed in (("train", 0), ("test", 1)):
        if not (folder / f"{name}.h5").exists():
            write_evolution(folder / f"{name}.h5", seed=seed)
    return Trial("a trial", OperatorConfig(**values), folder / "test.h5")


def test_candidates_have_the_sizes_that_they_are_compared_at() -> None:
    field = Comparison(12, (8, 8), (5, 20), (5, 20))
    full, *others = field.candidates()
    assert (full.kind, full.name, full.compression) == (DENSE, "dense", 1)
    numbers = spectral_parameters(built(full.model))
    assert numbers == 4 * 2 * 12 * 12 * 8 * 5
    for compression, group in itertools.groupby(others, key=lambda one: one.compression):
        members = list(group)
        budget = max(parameters(one.model) for one in members if one.kind in FORMATS)
        for one in members:
            if one.kind in FORMATS:
                assert spectral_parameters(built(one.model)) <= 1.25 * numbers / compression
            else:
                assert budget / 1.25 <= parameters(one.model) <= 1.25 * budget


def test_what_no_format_can_reach_is_left_out_and_named() -> None:
    field = Comparison(4, (4, 4), (5, 500), ())
    names = [one.name for one in field.candidates()]
    assert names == ["dense", "CP, 5×", "Tucker, 5×", "TT, 5×"]
    assert field.absent(field.candidates()) == ["CP, 500×", "Tucker, 500×", "TT, 500×"]


def test_results_are_kept_by_what_decides_them(tmp_path: Path) -> None:
    first, second = trial(tmp_path), trial(tmp_path, seed=1)
    with ThreadPoolExecutor(1) as pool:
        found = trials.run([first, second], pool, tmp_path / "work", SILENT)
    assert found[0]["error"] != found[1]["error"]
    again = trials.run([second, first], pool, tmp_path / "work", SILENT)  # shut down, it takes no more work
    assert again == found[::-1]
    elsewhere = replace(first, name="another", config=first.config.model_copy(update={"output": tmp_path}))
    assert elsewhere.key() == first.key()
    keys = {one.key() for one in (first, second, trial(tmp_path, epochs=3), replace(first, test_file=None))}
    (tmp_path / "test.h5").unlink()
    write_evolution(tmp_path / "test.h5", seed=2)
    assert len(keys | {first.key()}) == 5


def test_a_result_says_time_size_and_the_course_of_training(tmp_path: Path) -> None:
    found = trials.result(trial(tmp_path, epochs=3))
    model = built({**TINY_FNO, "modes": [8]})
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    assert found["spectral_parameters"] == 2 * 2 * 8 * 8 * 5
    assert (found["epochs"], len(found["epoch_seconds"])) == (3, 3)
    assert found["seconds"] == pytest.approx(sum(found["epoch_seconds"]), rel=0.2)
    assert [point["epoch"] for point in found["curve"]] == [1, 2, 3]
    assert {"error", "rollout_error"} <= set(found)
    timed = trials.result(replace(trial(tmp_path), test_file=None))
    assert len(timed["epoch_seconds"]) == 2 and "error" not in timed


def test_errors_are_those_of_all_steps_and_of_the_end_of_rollouts(tmp_path: Path) -> None:
    one = trial(tmp_path)
    with FieldDataset(tmp_path / "test.h5", inputs=["u"], targets=["u"]) as dataset, torch.no_grad():
        model = build(one.config, dataset)
        found = trials.errors(model, one.config, tmp_path / "test.h5")

        def error(prediction: torch.Tensor, target: torch.Tensor) -> float:
            return float((prediction - target).norm() / target.norm())

        ratios = [error(model(s.inputs[None])[0], s.targets[0]) for s in (dataset[i] for i in range(36))]
        ends = []
        for start in range(0, 36, 6):
            state = dataset[start].inputs[None]
            for _ in range(6):
                state = model(state)
            ends.append(error(state[0], dataset[start + 5].targets[0]))
    assert len(dataset) == 36
    assert found["error"] == pytest.approx(sum(ratios) / 36, rel=1e-5)
    assert found["rollout_error"] == pytest.approx(sum(ends) / 6, rel=1e-4)


def test_trainings_that_diverge_are_reported_without_errors(tmp_path: Path) -> None:
    wild = {"kind": "adamw", "learning_rate": 1e30}
    found = trials.result(trial(tmp_path, optimizer=wild, gradient_clip=None))
    assert "the loss is" in found["failed"] or "gradient" in found["failed"]
    row = navier_stokes.row("1e-3", Candidate("CP", 20, TINY_FNO), [found], 1.0)
    assert "seed 0: " in report.table({"cases": [row]})
    assert curves.of({"cases": [row]}) == {}


def test_processes_have_one_thread() -> None:
    with trials.processes(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1


def test_the_command_on_bundled_data(settings: Settings, tmp_path: Path) -> None:
    target = tmp_path / "found.json"
    options = ["--small", "--data", settings.data, "--work", settings.work, "--json", target]
    for part in ("navier-stokes", "patching", "burgers"):
        options += ["--only", part]
    ran = CliRunner().invoke(app, ["benchmark", "neural-operators", *map(str, options)])
    assert ran.exception is None, ran.output
    *rows, whole, patched, learned = json.loads(target.read_text(encoding="utf-8"))["cases"]
    assert [row["kind"] for row in rows] == [DENSE, *FORMATS]
    for row in rows:
        assert row["viscosity"] == "1e-3"
        assert set(row["errors"]) == {"one step", "end of the rollout"}
        assert row["programs"]["sciten"]["error"] == row["errors"]["one step"]["mean"] > 0
    assert rows[0]["error_ratios"] == {"one step": 1.0, "end of the rollout": 1.0}
    assert whole["errors"] == rows[0]["errors"]  # not trained again
    assert patched["settings"]["model"]["patching"] == {"patches": [2, 2], "levels": 1, "padding": 0.05}
    ratio = patched["errors"]["one step"]["mean"] / whole["errors"]["one step"]["mean"]
    assert patched["targets"][0]["found"] == pytest.approx(ratio) and patched["targets"][0]["goal"] == 1.1
    assert learned["part"] == "burgers" and learned["targets"][0]["goal"] == 0.003
    assert learned["errors"]["test"]["mean"] > 0 and len(learned["curves"]) == 1
    assert "error, one step" in ran.output and "ν = 1e-5: left out" in ran.output
    assert "--viscosity 1e-5 --final-time 10 --snapshots 10 --initial-scale 343" in ran.output
    assert f"--name ns_1e-5 --output {settings.data}" in ran.output
    assert target.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_without_data_a_part_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = Settings(data=tmp_path)
    assert burgers.measure(nowhere, SILENT) == navier_stokes.measure(nowhere, SILENT) == []
    assert patching.measure(nowhere, SILENT) == []
    said = capsys.readouterr().out
    assert all(f"--name {name} --output {tmp_path}" in said for name in ("burgers", "ns_1e-3", "ns_1e-5"))
    assert not nowhere.complete


def test_epochs_fit_into_the_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(navier_stokes, "OPERATORS", Comparison(4, (4, 4), (), ()))
    asked: list[Trial] = []

    def measured(chosen: list[Trial], *_: Any) -> list[dict[str, Any]]:
        asked.extend(chosen)
        probe = {"epoch_seconds": [9.0, 3.0], "epochs": chosen[0].config.epochs, "seconds": 1.0}
        return [probe | {"error": 0.1, "parameters": 7, "spectral_parameters": 5}] * len(chosen)

    monkeypatch.setattr(trials, "run", measured)
    (row,) = navier_stokes.measure(replace(settings, small=False, seconds=11.0), SILENT)
    assert [(one.config.epochs, one.config.seed) for one in asked] == [(2, 0), (4, 0), (4, 1), (4, 2)]
    assert asked[0].test_file is None and asked[1].test_file is not None
    assert row["settings"]["epochs"] == 4 and row["errors"]["one step"]["spread"] < 1e-12
    assert {one.config.optimizer.learning_rate for one in asked} == {row["settings"]["learning_rate"]}


def test_the_large_dense_operator_learns_faster(tmp_path: Path) -> None:
    large, *others = Comparison(8, (8, 8), (5,), (5,)).candidates()
    assert navier_stokes.config(large, tmp_path, 0, 1, Settings()).optimizer.learning_rate == 0.016
    assert others
    for one in others:
        assert navier_stokes.config(one, tmp_path, 0, 1, Settings()).optimizer.learning_rate == 0.008


def rows() -> list[dict[str, Any]]:
    """As a measurement with three seeds would give: errors are those of the power law 1 / parameters."""
    found = []
    for one in Comparison(8, (8, 8), (5, 20), (5, 20)).candidates():
        numbers = parameters(one.model)
        result = {"error": 1 / numbers, "rollout_error": 2 / numbers, "seconds": 1.0, "epochs": 1}
        sizes = {"parameters": numbers, "spectral_parameters": spectral_parameters(built(one.model))}
        found.append(
            navier_stokes.row("1e-3", one, [result | sizes | {"error": k / numbers} for k in (1, 2, 3)], 60.0)
        )
    navier_stokes.add_comparison(found)
    return found


def test_the_target_stands_in_the_row_of_the_best_format() -> None:
    found = rows()
    full = found[0]["programs"]["sciten"]["parameters"]
    assert found[0]["errors"]["one step"] == {
        "mean": pytest.approx(2 / full),
        "spread": pytest.approx(1 / full),
        "by_seed": [1 / full, 2 / full, 3 / full],
    }
    (best,) = [row for row in found if row["targets"]]
    at_20 = [row for row in found if row["compression"] == 20 and row["kind"] in FORMATS]
    assert best["programs"]["sciten"]["parameters"] == max(
        row["programs"]["sciten"]["parameters"] for row in at_20
    )
    assert best["targets"][0]["found"] == pytest.approx(full / best["programs"]["sciten"]["parameters"])
    assert not best["targets"][0]["met"]
    whole, spectral = full / best["programs"]["sciten"]["parameters"], found[0]["programs"]["sciten"]
    ratio = spectral["spectral_parameters"] / best["programs"]["sciten"]["spectral_parameters"]
    assert best["remark"] == f"convolutions' weights {ratio:.3g}× smaller, all parameters {whole:.3g}×"
    assert best["remark"] in report.table({"cases": found})


def document() -> dict[str, Any]:
    step = {
        "part": "step",
        "title": "CP weights",
        "programs": {"sciten, 1 thread": {"ms": {"min": 1.0, "median": 1.0, "max": 1.0}}},
    }
    curve = [{"epoch": k + 1, "seconds": 1.0 * k, "error": 1 / (k + 1)} for k in range(24)]
    times = {"ms": {"min": 1.0, "median": 1.0, "max": 1.0}, "error": 0.5, "parameters": 7}
    learned = {
        "part": "burgers",
        "title": "Burgers",
        "programs": {"sciten": times},
        "errors": {"test": {"mean": 0.5, "spread": 0.1, "by_seed": [0.4, 0.6]}},
        "curves": [curve, curve],
    }
    return {
        "cases": [step, *rows(), learned],
        "machine": {"processor": "a processor"},
        "measured": "2026-01-01",
        "versions": {"sciten": "0", "torch": "2"},
        "settings": {"rounds": 3, "limit_s": 300.0},
    }


def test_tables_and_picture(tmp_path: Path) -> None:
    found = document()
    errors, learning = curves.markdown(found).split("\n\n")
    head, rule, *body = errors.splitlines()
    assert head == "| Navier-Stokes, ν = 1e-3 | 1× | 5× | 20× |"
    assert {line.count("|") for line in (head, rule, *body)} == {5}
    assert [line.split(" | ")[0] for line in body][:4] == ["| dense", "| CP", "| Tucker", "| TT"]
    assert body[0].endswith("|  |  |")
    assert learning.splitlines()[0].startswith("| Burgers, epoch | 1 | 4 | 7 |")
    assert learning.splitlines()[0].endswith("| 24 | test |")
    assert learning.splitlines()[2].startswith("| relative L2 error | 1 | 0.25 | 0.14 |")
    kinds = curves.of(found)["1e-3"]
    sizes, means, spreads = curve_plot.points(kinds["CP"], "one step")
    assert sizes == sorted(sizes, reverse=True)
    assert means == pytest.approx([2 / size for size in sizes])
    assert spreads == pytest.approx([1 / size for size in sizes])
    curve_plot.plot(found, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_readme_reports_a_document() -> None:
    spec = importlib.util.spec_from_file_location("readme_table", ROOT / "benchmarks" / "readme_table.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert "neural_operators.json" in script.REPORTED
    found = document()
    text = script.neural_operators(found)
    assert "neural_operators.png" in text and "| CP weights | 1 ms |" in text and "for about 60 s" in text
    assert "learns at a rate of 0.016, the others at 0.008" in text
    without = copy.deepcopy(found)
    without["cases"] = without["cases"][:1]
    assert "neural_operators.png" not in script.neural_operators(without)


@pytest.mark.parametrize(
    ("name", "main"),
    [("ns_1e-3", make_navier_stokes), ("ns_1e-5", make_navier_stokes), ("burgers", make_burgers)],
)
def test_the_commands_that_make_data_are_commands(name: str, main: Any, tmp_path: Path) -> None:
    command = Settings(data=tmp_path).missing(name)
    assert command is not None
    python, script, *options = shlex.split(command)
    assert (python, script) == ("python", f"workflows/{main.__module__.partition('.')[2]}.py")
    workflow = typer.Typer()
    workflow.command()(main)
    known = {option for parameter in typer.main.get_command(workflow).params for option in parameter.opts}
    assert set(options[::2]) <= known
    assert pairs(made_by_make(name)) | {"--output": str(tmp_path)} == pairs(options)


def made_by_make(name: str) -> list[str]:
    """The options in the Makefile."""
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    (shared,) = [line.partition(":=")[2] for line in lines if line.startswith("NAVIER_STOKES :=")]
    (line,) = [line for line in lines if f"--name {name}" in line]
    return shlex.split(line.replace("$(NAVIER_STOKES)", shared))[2:]


def pairs(options: list[str]) -> dict[str, str]:
    return dict(zip(options[::2], options[1::2], strict=True))
