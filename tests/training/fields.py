"""Small datasets of fields whose solution is known in closed form."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sciten.datasets import Axis, Field, FieldWriter

POINTS, DECAY = 24, 0.02
#: An operator small enough that a test trains it in a second.
TINY_FNO = {"kind": "FNO", "modes": [8], "hidden_channels": 8, "n_layers": 2, "positional_grid": False}


def waves(rng: np.random.Generator, n: int = POINTS) -> Callable[[float], np.ndarray]:
    """A solution of the heat equation on the unit circle as a function of time, with the mean 1."""
    k = np.arange(1, 4)[:, None]
    x = np.arange(n) / n
    a, b = rng.normal(size=(2, 3, 1)) / k
    phase = 2 * np.pi * k * x
    return lambda t: (
        1 + ((a * np.cos(phase) + b * np.sin(phase)) * np.exp(-DECAY * (2 * np.pi * k) ** 2 * t)).sum(0)
    )


def write_static(path: Path, samples: int = 16, n: int = POINTS, seed: int = 0) -> Path:
    """A field and what diffusion makes of it."""
    rng = np.random.default_rng(seed)
    with FieldWriter(
        path,
        name="heat",
        axes=[Axis.periodic("x", n)],
        fields=[Field("before", time_varying=False), Field("after", time_varying=False)],
    ) as writer:
        for _ in range(samples):
            solution = waves(rng, n)
            writer.append({"before": solution(0), "after": solution(1)})
    return path


def write_evolution(
    path: Path, samples: int = 6, times: int = 7, seed: int = 0, stored: Sequence[float] | None = None
) -> Path:
    """Trajectories of a field under diffusion, a tenth of a unit of time from frame to frame, or at times `stored`."""
    rng = np.random.default_rng(seed)
    stored = 0.1 * np.arange(times) if stored is None else stored
    with FieldWriter(
        path, name="heat", axes=[Axis.periodic("x", POINTS)], fields=[Field("u")], times=stored
    ) as writer:
        for _ in range(samples):
            solution = waves(rng)
            writer.append({"u": np.stack([solution(t) for t in stored])})
    return path
