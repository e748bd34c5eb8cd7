"""From data to a low-rank format."""

from sciten.tensor.decompose.als import CPResult, RandomStart, SingularStart, cp_als
from sciten.tensor.decompose.svd import hosvd, tree_svd, tt_svd

__all__ = ["CPResult", "RandomStart", "SingularStart", "cp_als", "hosvd", "tree_svd", "tt_svd"]
