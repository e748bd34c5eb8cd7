"""From data to a low-rank format."""

from sciten.tensor.decompose.als import CPResult, RandomStart, SingularStart, cp_als
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
    "CPResult",
    "ChebyshevTucker",
    "CoreShape",
    "CrossResult",
    "ExactRanks",
    "Greedy",
    "GreedyRanks",
    "Maxvol",
    "RandomStart",
    "SingularStart",
    "apply",
    "chebyshev_tucker",
    "chebyshev_tucker_cp",
    "core_shape",
    "cp_als",
    "higher_order_singular_values",
    "hosvd",
    "tree_svd",
    "tt_cross",
    "tt_svd",
]
