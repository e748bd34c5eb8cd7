"""The workflows that make fields: what stands in the files, and that nothing is computed twice."""

import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from sciten.errors import ConfigError
from sciten.pde.darcy import every_nth, piecewise, solve_darcy
from sciten.pde.spectral import INITIAL_VELOCITY, INITIAL_VORTICITY, PERMEABILITY, Burgers, NavierStokes
from workflows import (
    field_datasets,
    make_burgers_dataset,
    make_darcy_dataset,
    make_navier_stokes_dataset,
)
from workflows.executors import ExecutorKind
from workflows.field_datasets import Batched
from workflows.tasks import TaskError, load_result


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks run in this process, which has the library loaded."""
    import contextlib

    @contextlib.contextmanager
    def pool(*_: Any, **__: Any) -> Any:
        with ThreadPoolExecutor(1) as executor:
            yield executor

    monkeypatch.setattr(field_datasets, "open_executor", pool)


def read(path: Path, field: str) -> torch.Tensor:
    with h5py.File(path) as file:
        return torch.from_numpy(file[f"t0_fields/{field}"][()])


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected.to(torch.float32), rtol=1e-6, atol=1e-6)


def test_batches_are_all_samples_and_no_seed_is_used_twice() -> None:
    found = list(field_datasets.batches("darcy", 1, {"train": 10, "test": 3}, 4))
    assert [(one.split, one.first, one.count) for one in found] == [
        ("train", 0, 4),
        ("train", 4, 4),
        ("train", 8, 2),
        ("test", 0, 3),
    ]
    seeds = {
        one.seed
        for equation in ("darcy", "burgers")
        for seed in (1, 2)
        for one in field_datasets.batches(equation, seed, {"train": 1, "test": 1}, 4)
    }
    assert len(seeds) == 8
    assert list(found[2].numbers) == [8, 9]


@pytest.mark.usefixtures("threads")
def test_darcy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"output": tmp_path, "work": tmp_path / "work", "resolution": 9, "small": True}
    make_darcy_dataset.main(**options, modes=12)
    assert "darcy_test.h5" in capsys.readouterr().out
    seed = next(field_datasets.batches("darcy", 1, {"test": 1}, 1)).seed
    a = piecewise(PERMEABILITY.sample(33, seed=seed, samples=(0, 1), modes=12))
    close(read(tmp_path / "darcy_test.h5", "coefficient"), every_nth(a, 4))
    u = read(tmp_path / "darcy_test.h5", "solution")
    close(u, every_nth(solve_darcy(a), 4))
    assert len(read(tmp_path / "darcy_train.h5", "solution")) == 4 and not bool(u[:, 0].any())
    with h5py.File(tmp_path / "darcy_test.h5") as file:
        np.testing.assert_allclose(file["dimensions/x"], np.linspace(0, 1, 9))
        assert file.attrs["licence"] == "CC0-1.0"
        assert "--coefficient piecewise --resolution 9 --solver-resolution 33" in file.attrs["command"]
        assert file.attrs["command"].endswith("--seed 1 --small")
    # The same samples on other points, with other coefficients.
    options["overwrite"] = True
    make_darcy_dataset.main(**(options | {"resolution": 17}), modes=12, solver_resolution=33)
    close(read(tmp_path / "darcy_test.h5", "solution")[:, ::2, ::2], u)
    make_darcy_dataset.main(**options, modes=12, coefficient=make_darcy_dataset.Coefficient.LOG_NORMAL)
    logarithm = read(tmp_path / "darcy_test.h5", "coefficient").log()
    assert bool(((logarithm > 0) == (every_nth(a, 4) == 12)).all())


def inodes(folder: Path) -> dict[str, int]:
    """Whatever is written is a new file, so the same inode means that it was left alone."""
    return {file.name: file.stat().st_ino for file in folder.iterdir() if file.is_file()}


@pytest.mark.usefixtures("threads")
def test_what_is_current_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, work = tmp_path / "data", tmp_path / "work"
    options: dict[str, Any] = {"output": output, "work": work, "resolution": 5, "modes": 4, "batch": 2}
    make_darcy_dataset.main(**options, train_samples=4, test_samples=2)
    data, tasks = inodes(output), inodes(work / "tasks")
    assert len(data) == 2 and len(tasks) == 3
    with monkeypatch.context() as patch:  # nothing is solved, nothing is loaded
        patch.setattr(field_datasets, "load_result", None)
        shutil.move(work / "tasks", work / "away")
        capsys.readouterr()
        make_darcy_dataset.main(**options, train_samples=4, test_samples=2)
        assert inodes(output) == data and not (work / "tasks").exists()
        assert capsys.readouterr().out.count("which the same command made") == 2
    shutil.move(work / "away", work / "tasks")
    # A file that is missing is made from finished tasks; the other stays.
    (output / "darcy_test.h5").unlink()
    make_darcy_dataset.main(**options, train_samples=4, test_samples=2)
    assert inodes(output)["darcy_train.h5"] == data["darcy_train.h5"] and inodes(work / "tasks") == tasks
    assert len(read(output / "darcy_test.h5", "solution")) == 2
    # So does one whose description has changed.
    monkeypatch.setattr(make_darcy_dataset.Axis, "bounded", make_darcy_dataset.Axis.periodic)
    make_darcy_dataset.main(**options, train_samples=4, test_samples=2)
    assert not {*inodes(output).items()} & {*data.items()} and inodes(work / "tasks") == tasks
    # Another seed is another dataset, which does not replace the first unasked.
    data = inodes(output)
    with pytest.raises(
        ConfigError, match=r"darcy_train\.h5: was made by `python .* --seed 1`; .* --overwrite"
    ):
        make_darcy_dataset.main(**options, train_samples=4, test_samples=2, seed=2)
    assert inodes(output) == data and inodes(work / "tasks") == tasks
    make_darcy_dataset.main(**options, train_samples=4, test_samples=2, seed=2, overwrite=True)
    assert not {*inodes(output).items()} & {*data.items()} and len(inodes(work / "tasks")) == 6


@pytest.mark.usefixtures("threads")
def test_files_of_others_are_not_replaced_unasked(tmp_path: Path) -> None:
    options: dict[str, Any] = {"output": tmp_path, "work": tmp_path / "work", "resolution": 5, "modes": 4}
    (tmp_path / "darcy_test.h5").write_text("my notes")
    with pytest.raises(
        ConfigError,
        match=r"darcy_test\.h5: is there, and does not say that this command made it; .* --overwrite",
    ):
        make_darcy_dataset.main(**options, small=True)
    assert (tmp_path / "darcy_test.h5").read_text() == "my notes" and len(inodes(tmp_path)) == 1
    make_darcy_dataset.main(**options, small=True, overwrite=True)
    assert len(read(tmp_path / "darcy_test.h5", "solution")) == 2


@pytest.mark.usefixtures("threads")
def test_a_split_may_have_no_samples_but_not_both(tmp_path: Path) -> None:
    options: dict[str, Any] = {"output": tmp_path / "data", "work": tmp_path / "work", "resolution": 5}
    make_darcy_dataset.main(**options, modes=4, train_samples=0, test_samples=1)
    assert list(inodes(tmp_path / "data")) == ["darcy_test.h5"]
    for module in (make_darcy_dataset, make_burgers_dataset, make_navier_stokes_dataset):
        with pytest.raises(ConfigError, match="samples: expected some for training or for testing"):
            module.main(**options, train_samples=0, test_samples=0)


@pytest.mark.usefixtures("threads")
def test_results_are_in_memory_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[weakref.ref[np.ndarray]] = []
    alive = []

    def watched(file: Path) -> dict[str, np.ndarray]:
        found = load_result(file)
        loaded.append(weakref.ref(found["solution"]))
        alive.append(sum(one() is not None for one in loaded))
        return found

    monkeypatch.setattr(field_datasets, "load_result", watched)
    make_darcy_dataset.main(
        output=tmp_path, work=tmp_path, resolution=5, modes=4, batch=1, train_samples=5, test_samples=1
    )
    assert alive == [1] * 6


@pytest.mark.usefixtures("threads")
def test_burgers(tmp_path: Path) -> None:
    make_burgers_dataset.main(
        output=tmp_path, work=tmp_path / "work", viscosity=0.05, resolution=32, small=True, name="waves"
    )
    seed = next(field_datasets.batches("burgers", 1, {"train": 1}, 1)).seed
    start = INITIAL_VELOCITY.sample(128, seed=seed, samples=range(4), modes=42)
    expected = Burgers(0.05).solve(start, [1.0])[:, 0, ::4]
    close(read(tmp_path / "waves_train.h5", "initial"), start[:, ::4])
    close(read(tmp_path / "waves_train.h5", "final"), expected)
    with h5py.File(tmp_path / "waves_test.h5") as file:
        np.testing.assert_allclose(file["dimensions/x"], np.arange(32) / 32)
        assert file.attrs["viscosity"] == 0.05
        assert {group.attrs["bc_type"] for group in file["boundary_conditions"].values()} == {"PERIODIC"}


@pytest.mark.usefixtures("threads")
def test_navier_stokes(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "output": tmp_path,
        "work": tmp_path / "work",
        "final_time": 1.0,
        "snapshots": 2,
        "resolution": 16,
        "small": True,
        "initial_scale": 343.0,
        "modes": 5,
    }
    make_navier_stokes_dataset.main(**options)
    seed = next(field_datasets.batches("navier-stokes", 1, {"test": 1}, 1)).seed
    field = replace(INITIAL_VORTICITY, scale=343.0)
    start = field.sample(32, seed=seed, samples=(0, 1), modes=5)
    found = read(tmp_path / "navier_stokes_test.h5", "vorticity")
    assert found.shape == (2, 3, 16, 16)
    close(found, NavierStokes(1e-3).solve(start, [0.0, 0.5, 1.0])[..., ::2, ::2])
    with h5py.File(tmp_path / "navier_stokes_test.h5") as file:
        np.testing.assert_allclose(file["dimensions/time"], [0.0, 0.5, 1.0])
        assert file.attrs["viscosity"] == 1e-3
    with pytest.raises(TaskError, match=r"do not resolve the field at t = 0\.5"):
        make_navier_stokes_dataset.main(**options, viscosity=1e-6, largest_tail=1e-12, overwrite=True)


def test_a_task_is_run_by_another_process(tmp_path: Path) -> None:
    make_darcy_dataset.main(
        output=tmp_path,
        work=tmp_path / "work",
        resolution=5,
        small=True,
        executor=ExecutorKind.PROCESS,
        workers=1,
    )
    task = make_darcy_dataset.Samples(
        next(field_datasets.batches("darcy", 1, {"train": 4}, 8)),
        make_darcy_dataset.Coefficient.PIECEWISE,
        resolution=5,
        step=4,
        modes=128,
    )
    expected = make_darcy_dataset.solve(task)["solution"]
    close(read(tmp_path / "darcy_train.h5", "solution"), torch.from_numpy(expected))


@pytest.mark.parametrize(
    ("fine", "coarse", "ends", "nearest"), [(100, 33, True, 97), (100, 32, False, 96), (16, 32, False, 32)]
)
def test_points_that_are_none_of_the_solvers_are_refused(
    fine: int, coarse: int, ends: bool, nearest: int
) -> None:
    with pytest.raises(ConfigError, match=f"the nearest is {nearest}"):
        field_datasets.every(fine, coarse, ends=ends)
    assert field_datasets.every(nearest, coarse, ends=ends) >= 1


@pytest.mark.parametrize(("module", "least"), [(make_burgers_dataset, 4), (make_darcy_dataset, 5)])
@pytest.mark.parametrize("resolution", [3, 0, -4])
def test_too_few_points_are_refused(module: Any, least: int, resolution: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"resolution: expected at least {least} points, got {resolution}"):
        module.main(output=tmp_path, work=tmp_path, resolution=resolution)


def test_a_time_that_is_none_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="burgers: expected a positive final_time, got 0"):
        make_burgers_dataset.main(output=tmp_path, work=tmp_path, final_time=0.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"viscosity": -1.0}, "viscosity of zero or more"),
        ({"final_time": 0.0}, "final time: expected a positive number"),
        ({"solver_resolution": 33}, "a multiple of 32"),
        ({"initial_scale": -1.0}, "positive scale"),
    ],
)
def test_wrong_options_are_named_before_anything_runs(
    tmp_path: Path, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        make_navier_stokes_dataset.main(output=tmp_path, work=tmp_path, **arguments)


def test_a_batch_says_which_samples_it_has() -> None:
    assert list(Batched("train", 5, 12, 3).numbers) == [12, 13, 14]
