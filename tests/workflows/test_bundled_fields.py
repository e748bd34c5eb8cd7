"""The fields in `data/`: small, documented, and what our solvers make of their inputs."""

import shlex
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from sciten.datasets.fields import FieldDataset
from sciten.pde.darcy import every_nth, piecewise, solve_darcy
from sciten.pde.spectral import INITIAL_VELOCITY, INITIAL_VORTICITY, PERMEABILITY, Burgers, NavierStokes
from workflows import field_datasets

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
FIELDS = {
    "darcy": (["coefficient"], ["solution"]),
    "burgers": (["initial"], ["final"]),
    "navier_stokes": (["vorticity"], ["vorticity"]),
}
SAMPLES = {"darcy": (64, 32), "burgers": (64, 32), "navier_stokes": (80, 40)}
FILES = [f"{name}_{split}.h5" for name in FIELDS for split in ("train", "test")]
EACH = pytest.mark.parametrize("name", FIELDS)


def dataset(name: str, split: str) -> FieldDataset:
    inputs, targets = FIELDS[name]
    return FieldDataset(DATA / f"{name}_{split}.h5", inputs=inputs, targets=targets)


def values(file: str, field: str) -> Tensor:
    with h5py.File(DATA / file) as content:
        return torch.from_numpy(content[f"t0_fields/{field}"][()])


def seed(equation: str, split: str) -> int:
    return next(field_datasets.batches(equation, 1, {split: 1}, 1)).seed


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected.to(torch.float32), rtol=1e-4, atol=1e-6)


def test_they_are_small() -> None:
    assert sum((DATA / name).stat().st_size for name in FILES) < 2e6


@EACH
@pytest.mark.parametrize("split", ["train", "test"])
def test_each_says_where_it_comes_from_and_is_read(name: str, split: str) -> None:
    with h5py.File(DATA / f"{name}_{split}.h5") as file:
        assert file.attrs["licence"] == "CC0-1.0"
        assert file.attrs["command"].startswith(f"python workflows/make_{name}_dataset.py --")
        assert file.attrs["command"].endswith("--seed 1")
    found = dataset(name, split)
    assert len(found) == SAMPLES[name][split == "test"]
    assert all(axis.is_periodic == (name != "darcy") for axis in found.grid.axes)
    assert all(
        bool((moments.std > 0).all()) for moments in (found.statistics.inputs, found.statistics.targets)
    )


@EACH
def test_no_sample_is_in_both_training_and_test(name: str) -> None:
    train, test = (
        {sample.inputs.numpy().tobytes() for sample in map(dataset(name, split).__getitem__, range(8))}
        for split in ("train", "test")
    )
    assert len(train) == len(test) == 8 and not train & test


@pytest.mark.parametrize("split", ["train", "test"])
def test_darcy_is_what_the_solver_makes(split: str) -> None:
    a, u = (values(f"darcy_{split}.h5", field) for field in ("coefficient", "solution"))
    assert a.unique().tolist() == [3.0, 12.0] and float(u[:, 1:-1, 1:-1].min()) > 0
    assert not bool(torch.cat([u[:, 0], u[:, -1], u[:, :, 0], u[:, :, -1]]).any())
    own = seed("darcy", split)
    fine = piecewise(PERMEABILITY.sample(125, seed=own, samples=(0, 17), modes=128))
    close(a[[0, 17]], every_nth(fine, 4))
    close(u[[0, 17]], every_nth(solve_darcy(fine), 4))


@pytest.mark.parametrize("split", ["train", "test"])
def test_burgers_is_what_the_solver_makes(split: str) -> None:
    start, end = (values(f"burgers_{split}.h5", field) for field in ("initial", "final"))
    # Every fourth point of the start mistakes the shortest waves of the solver's points for the mean.
    assert float(start.mean(-1).abs().max()) < 1e-4 and float(end.mean(-1).abs().max()) < 1e-6
    fine = INITIAL_VELOCITY.sample(512, seed=seed("burgers", split), samples=(3,), modes=170)
    close(start[[3]], INITIAL_VELOCITY.sample(256, seed=seed("burgers", split), samples=(3,), modes=341))
    torch.testing.assert_close(end[3].double(), Burgers(0.1).solve(fine, [1.0])[0, 0, ::2], rtol=0, atol=1e-6)


@pytest.mark.parametrize("split", ["train", "test"])
def test_navier_stokes_is_what_the_solver_makes(split: str) -> None:
    w = values(f"navier_stokes_{split}.h5", "vorticity")
    assert float(w.mean((-2, -1)).abs().max()) < 1e-4
    start = INITIAL_VORTICITY.sample(64, seed=seed("navier-stokes", split), samples=(2,), modes=21)
    close(w[[2], :1], start[:, None, ::2, ::2])
    found = NavierStokes(1e-3).solve(start, [1.0, 2.0])
    torch.testing.assert_close(w[[2], 1:3].double(), found[..., ::2, ::2], rtol=0, atol=1e-5)


@pytest.mark.slow
@EACH
def test_the_recorded_command_makes_the_same_numbers(name: str, tmp_path: Path) -> None:
    with h5py.File(DATA / f"{name}_test.h5") as file:
        command = shlex.split(file.attrs["command"])
    arguments = ["--output", str(tmp_path), "--work", str(tmp_path / "work")]
    subprocess.run([sys.executable, *command[1:], *arguments], cwd=ROOT, check=True)
    for split in ("train", "test"):
        with h5py.File(DATA / f"{name}_{split}.h5") as old, h5py.File(tmp_path / f"{name}_{split}.h5") as new:
            for field in old["t0_fields"]:
                expected = old[f"t0_fields/{field}"][()]
                np.testing.assert_allclose(
                    new[f"t0_fields/{field}"][()], expected, rtol=0, atol=1e-5 * np.abs(expected).max()
                )
