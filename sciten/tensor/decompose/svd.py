"""Decompositions of full tensors by singular values: Tucker, tensor train, tree.

Each keeps a relative error, ‖x - result‖ ≤ tolerance ‖x‖, because the squares of what its steps cut add up; the ranks
are within a factor of the square root of the number of steps of the best ones. Gradients are as those of
`linalg.leading_space`.
"""

from collections.abc import Sequence
from math import prod, sqrt

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.formats.tensor_train import TensorTrain
from sciten.tensor.formats.tree import Tree
from sciten.tensor.formats.tree_tensor import TreeTensor
from sciten.tensor.formats.tucker import Tucker
from sciten.tensor.linalg import leading_space


def hosvd(
    tensor: Tensor,
    tolerance: float = 1e-12,
    *,
    ranks: Sequence[int | None] | None = None,
    sequential: bool = True,
    n_batch: int = 0,
) -> Tucker:
    """The higher-order singular value decomposition.

    De Lathauwer, De Moor and Vandewalle (SIAM J. Matrix Anal. Appl. 21, 1253 (2000)); sequentially truncated, each mode
    after those before it were cut, which is faster and seldom worse (Vannieuwenhoven, Vandebril and Meerbergen, SIAM J.
    Sci. Comput. 34, A1027 (2012)).

    Args:
        tensor: `[*batch, n_1, ..., n_d]`.
        tolerance: relative error.
        ranks: largest rank of each mode, whatever the error.
        sequential: False for the spaces of the whole tensor.
        n_batch: how many axes are a batch.

    Raises:
        ConfigError: entries are not finite, or an argument is out of range.
    """
    d = _modes("hosvd", tensor, tolerance, n_batch)
    most = _bounds("hosvd", ranks, d)
    bound = _bound(tensor, tolerance, d, n_batch)
    core, factors = tensor, []
    for mode in range(d):
        source = core if sequential else tensor
        matrix = _unfolded(source, n_batch + mode, n_batch)
        space = leading_space(matrix, tolerance=bound, rank=most[mode])
        factors.append(space)
        core = _projected(core, space, n_batch + mode, n_batch)
    return Tucker(core, tuple(factors))


def tt_svd(
    tensor: Tensor,
    tolerance: float = 1e-12,
    *,
    ranks: int | Sequence[int | None] | None = None,
    n_batch: int = 0,
) -> TensorTrain:
    """The tensor train of a full tensor (Oseledets, SIAM J. Sci. Comput. 33, 2295 (2011), Algorithm 1).

    Args:
        tensor: `[*batch, n_1, ..., n_d]`.
        tolerance: relative error.
        ranks: largest rank of each of the d - 1 bonds, or of all of them, whatever the error.
        n_batch: how many axes are a batch.

    Raises:
        ConfigError: entries are not finite, or an argument is out of range.
    """
    d = _modes("tt_svd", tensor, tolerance, n_batch)
    most = [ranks] * (d - 1) if isinstance(ranks, int) else _bounds("tt_svd", ranks, d - 1)
    bound = _bound(tensor, tolerance, d - 1, n_batch)
    batch, shape = tensor.shape[:n_batch], tensor.shape[n_batch:]
    rest = tensor.reshape(*batch, 1, -1)
    cores = []
    for n, rank in zip(shape, most, strict=False):
        matrix = rest.reshape(*batch, rest.shape[-2] * n, -1)
        space = leading_space(matrix, tolerance=bound, rank=rank)
        cores.append(space.unflatten(-2, (rest.shape[-2], n)))
        rest = space.mH @ matrix
    return TensorTrain((*cores, rest.unsqueeze(-1)))


def tree_svd(
    tensor: Tensor,
    tree: Tree,
    tolerance: float = 1e-12,
    *,
    rank: int | None = None,
    n_batch: int = 0,
) -> TreeTensor:
    """The tree tensor network of a full tensor, cut from the leaves to the root.

    Grasedyck, SIAM J. Matrix Anal. Appl. 31, 2029 (2010), in its faster variant: every node is cut after those below
    it.

    Args:
        tensor: `[*batch, n_1, ..., n_d]`.
        tree: with d leaves.
        tolerance: relative error.
        rank: largest rank of any bond, whatever the error.
        n_batch: how many axes are a batch.

    Raises:
        ConfigError: entries are not finite, or an argument is out of range.
    """
    d = _modes("tree_svd", tensor, tolerance, n_batch)
    if tree.n_modes != d:
        raise ConfigError(f"tree_svd: expected a tree with {d} leaves, got {tree}")
    bound = _bound(tensor, tolerance, len(tree.nodes) - 1, n_batch)
    rest, axes = tensor, [tree.leaves[mode] for mode in range(d)]  # which node each axis belongs to
    cores: list[Tensor] = []
    for place, node in enumerate(tree.nodes):
        if node.parent is None:
            order = [n_batch + axes.index(child) for child in node.children]
            return TreeTensor(tree, (*cores, rest.permute(*range(n_batch), *order).unsqueeze(-1)))
        own = list(node.children) or [place]
        others = [axis for axis in axes if axis not in own]
        order = [n_batch + axes.index(axis) for axis in (*own, *others)]
        moved = rest.permute(*range(n_batch), *order)
        lengths = moved.shape[n_batch : n_batch + len(own)]
        matrix = moved.reshape(*moved.shape[:n_batch], prod(lengths), -1)
        space = leading_space(matrix, tolerance=bound, rank=rank)
        cores.append(space.unflatten(-2, lengths))
        rest = (space.mH @ matrix).reshape(*tensor.shape[:n_batch], -1, *moved.shape[n_batch + len(own) :])
        axes = [place, *others]
    raise AssertionError("a tree has a root")


def _modes(name: str, tensor: Tensor, tolerance: float, n_batch: int) -> int:
    if not 0 <= tolerance < 1:
        raise ConfigError(f"{name}: expected a tolerance from 0 to 1, got {tolerance}")
    if not 0 <= n_batch < tensor.ndim or 0 in tensor.shape:
        raise ConfigError(
            f"{name}: expected a tensor with entries and at least one axis after a batch of {n_batch}, got "
            f"{list(tensor.shape)}"
        )
    return tensor.ndim - n_batch


def _bounds(name: str, ranks: Sequence[int | None] | None, count: int) -> list[int | None]:
    found: list[int | None] = [None] * count if ranks is None else list(ranks)
    if len(found) != count or any(r is not None and r < 1 for r in found):
        raise ConfigError(f"{name}: expected {count} ranks of at least 1, got {ranks}")
    return found


def _bound(tensor: Tensor, tolerance: float, cuts: int, n_batch: int) -> Tensor:
    norms = torch.linalg.vector_norm(tensor.detach().flatten(n_batch), dim=-1)
    return norms * (tolerance / sqrt(max(1, cuts)))


def _unfolded(core: Tensor, axis: int, n_batch: int) -> Tensor:
    """The matrix with an axis for rows and all others for columns."""
    moved = core.movedim(axis, n_batch)
    return moved.reshape(*moved.shape[: n_batch + 1], -1)


def _projected(core: Tensor, space: Tensor, axis: int, n_batch: int) -> Tensor:
    moved = core.movedim(axis, n_batch)
    product = space.mH @ _unfolded(core, axis, n_batch)
    return product.reshape(*moved.shape[:n_batch], space.shape[-1], *moved.shape[n_batch + 1 :]).movedim(
        n_batch, axis
    )
