"""From data to a low-rank format."""

from sciten.tensor.decompose.chebyshev import ChebyshevTucker, chebyshev_tucker, chebyshev_tucker_cp
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
    "ChebyshevTucker",
    "CoreShape",
    "CrossResult",
    "ExactRanks",
    "Greedy",
    "GreedyRanks",
    "Maxvol",
    "apply",
    "chebyshev_tucker",
    "chebyshev_tucker_cp",
    "core_shape",
    "higher_order_singular_values",
    "hosvd",
    "tree_svd",
    "tt_cross",
    "tt_svd",
]
