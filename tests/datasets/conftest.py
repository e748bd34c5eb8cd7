import os
from pathlib import Path

import numpy as np
import pytest

from sciten.datasets import Structure


@pytest.fixture
def reference_data() -> Path:
    folder = os.environ.get("SCITEN_REFERENCE_DATA")
    if not folder:
        pytest.skip("set SCITEN_REFERENCE_DATA to the folder of the public reference datasets")
    return Path(folder)


def make_structure(seed: int = 0, n_atoms: int = 5, *, periodic: bool = True, **changes: object) -> Structure:
    """A random structure with all labels; atoms sit near a grid so that none come close."""
    generator = np.random.default_rng(seed)
    grid = 1.6 * np.stack(np.meshgrid(*[np.arange(4.0)] * 3), axis=-1).reshape(-1, 3)[:n_atoms]
    values: dict = {
        "positions": grid + generator.normal(scale=0.1, size=grid.shape),
        "numbers": generator.choice([1, 6, 14], size=n_atoms),
        "cell": 7.0 * np.eye(3) + generator.normal(scale=0.2, size=(3, 3)) if periodic else np.zeros((3, 3)),
        "pbc": np.full(3, periodic),
        "energy": float(generator.normal()),
        "forces": generator.normal(size=grid.shape),
        "stress": generator.normal(size=6) if periodic else None,
    }
    return Structure(**{**values, **changes})


def assert_same(a: Structure, b: Structure) -> None:
    """Bit-identical structures, missing labels included."""
    for name in (
        "positions",
        "numbers",
        "cell",
        "pbc",
        "energy",
        "forces",
        "stress",
        "config_type",
        "charge",
        "spin",
    ):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None), name
        if left is not None:
            np.testing.assert_array_equal(left, right, err_msg=name)
    for left, right in ((a.info, b.info), (a.arrays, b.arrays)):
        assert left.keys() == right.keys()
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=name)
