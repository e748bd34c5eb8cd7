"""From data to a low-rank format."""

from sciten.tensor.decompose.core_shape import (
    CoreShape,
    ExactRanks,
    GreedyRanks,
    core_shape,
    higher_order_singular_values,
)
from sciten.tensor.decompose.cross import CrossResult, Greedy, Maxvol, apply, tt_cross
from sciten.tensor.decompose.svd import hosvd, tree_svd, tt_svd

__all__ = [
    "CoreShape",
    "CrossResult",
    "ExactRanks",
    "Greedy",
    "GreedyRanks",
    "Maxvol",
    "apply",
    "core_shape",
    "higher_order_singular_values",
    "hosvd",
    "tree_svd",
    "tt_cross",
    "tt_svd",
]
