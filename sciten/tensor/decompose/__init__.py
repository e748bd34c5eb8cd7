"""From data to a low-rank format."""

from sciten.tensor.decompose.svd import hosvd, tree_svd, tt_svd

__all__ = ["hosvd", "tree_svd", "tt_svd"]
