"""Small models of each potential, for tests of what holds for all of them."""

from typing import Any

import torch

from sciten.potentials import POTENTIALS, Potential

#: The constructor's arguments of a model that a test evaluates in milliseconds.
SMALL: dict[str, dict[str, Any]] = {
    "MACE": {
        "channels": 4,
        "lmax": 1,
        "hidden_lmax": 1,
        "correlation": 2,
        "radial_mlp": [8],
        "average_neighbors": 5.0,
    },
    "TensorNet": {"channels": 4, "layers": 1, "radial_functions": 6},
}
assert set(SMALL) == set(POTENTIALS)


def small(kind: str = "MACE", elements: tuple[int, ...] = (1, 8), **changes: Any) -> Potential:
    """A model of the potential called `kind`, with changed arguments."""
    return POTENTIALS[kind](elements, **{**SMALL[kind], "dtype": torch.float32, **changes})
