"""From data to a low-rank format."""

from sciten.tensor.decompose.cross import CrossResult, Greedy, Maxvol, apply, tt_cross
from sciten.tensor.decompose.svd import hosvd, tree_svd, tt_svd

__all__ = ["CrossResult", "Greedy", "Maxvol", "apply", "hosvd", "tree_svd", "tt_cross", "tt_svd"]
