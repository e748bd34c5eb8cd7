from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sciten.datasets import Axis, Field, FieldWriter

FLOW = (
    Field("vorticity"),
    Field("velocity", order=1),
    Field("stress", order=2, symmetry="symmetric"),
    Field("forcing", time_varying=False),
    Field("wall", time_varying=False, sample_varying=False, dim_varying=(False, True)),
    Field.scalar("reynolds"),
    Field.scalar("mean_flow", time_varying=True),
)
AXES = (Axis.periodic("x", 8, length=2.0), Axis.bounded("y", 5, start=-1.0))
TIMES = np.linspace(0.0, 1.5, 7)


def random_sample(
    fields: tuple[Field, ...] = FLOW,
    axes: tuple[Axis, ...] = AXES,
    n_times: int = len(TIMES),
    seed: int = 0,
    **options: Any,
) -> dict[str, np.ndarray]:
    """Random values of the fields that vary from sample to sample (or, with `sample_varying=False`, of the others)."""
    from sciten.datasets import FieldGrid

    generator = np.random.default_rng(seed)
    grid = FieldGrid(axes)
    values = {}
    for field in fields:
        if field.sample_varying == options.get("sample_varying", True):
            array = generator.normal(size=field.sample_shape(grid, n_times))
            values[field.name] = array + array.swapaxes(-1, -2) if field.symmetry else array
    return values


def write_flow(
    path: Path, n_samples: int = 3, *, seed: int = 0, **options: Any
) -> list[dict[str, np.ndarray]]:
    """A file of every kind of field, and its samples, the shared values among them."""
    arguments = {
        "axes": AXES,
        "times": TIMES,
        "parameters": {"viscosity": 1e-3},
        "dtype": "float64",
    } | options
    shared = random_sample(axes=arguments["axes"], seed=1000, sample_varying=False)
    n_times = len(arguments["times"])
    samples = [
        random_sample(axes=arguments["axes"], n_times=n_times, seed=seed + i) for i in range(n_samples)
    ]
    with FieldWriter(path, name="flow", fields=FLOW, **arguments) as writer:
        writer.share(shared)
        for sample in samples:
            writer.append(sample)
    return [{**sample, **shared} for sample in samples]


@pytest.fixture
def flow(tmp_path: Path) -> tuple[Path, list[dict[str, np.ndarray]]]:
    path = tmp_path / "flow.h5"
    return path, write_flow(path)
