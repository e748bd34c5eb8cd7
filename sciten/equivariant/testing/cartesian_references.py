"""What `CartesianProduct` should compute: a sum over all values of all indices, written down one by one."""

from collections.abc import Callable
from itertools import product as combinations

import torch
from torch import Tensor

from sciten.equivariant.products.cartesian import CartesianProduct, irreps_to_cartesian

#: The Levi-Civita symbol where it is not zero.
_SYMBOL = {(0, 1, 2): 1, (1, 2, 0): 1, (2, 0, 1): 1, (0, 2, 1): -1, (2, 1, 0): -1, (1, 0, 2): -1}


def of_indices(product: CartesianProduct) -> Callable[[Tensor, Tensor], Tensor]:
    """The dense counterpart of a product, of features in the basis of irreps."""
    bases = [irreps_to_cartesian(torch.eye(3**rank, dtype=torch.float64), rank) for rank in product.ranks]
    full = torch.einsum("ia,jb,kc,abc->ijk", *bases, index_tensor(*product.ranks))

    def reference(x: Tensor, y: Tensor) -> Tensor:
        return torch.einsum("zi,zj,ijk->zk", x, y, full.to(x))

    return reference


def index_tensor(rank1: int, rank2: int, rank_out: int) -> Tensor:
    """The product of basis tensors, `[3**rank1, 3**rank2, 3**rank_out]` in float64, as `CartesianProduct` words it."""
    joined, odd = divmod(rank1 + rank2 - rank_out, 2)
    full = torch.zeros(3**rank1, 3**rank2, 3**rank_out, dtype=torch.float64)
    free = rank1 - joined - odd
    middles = [((p,), (q,), (r,), s) for (p, q, r), s in _SYMBOL.items()] if odd else [((), (), (), 1)]
    for outer in combinations(range(3), repeat=rank_out - odd):
        left, right = outer[:free], outer[free:]
        for pairs in combinations(range(3), repeat=joined):
            for p, q, r, sign in middles:
                # The last index of x with the first of y, the one before with the second.
                x, y = (*left, *p, *reversed(pairs)), (*pairs, *q, *right)
                full[_place(x), _place(y), _place((*left, *r, *right))] += sign
    return full


def _place(indices: tuple[int, ...]) -> int:
    """Where an element lies, the last index fastest."""
    place = 0
    for index in indices:
        place = 3 * place + index
    return place
