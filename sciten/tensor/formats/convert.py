"""Exact conversions among the formats, where they exist.

Sums of outer products are in every format; Tucker cores can be split further; a tensor train is the tree of a
caterpillar, and the other way round. To `CP` there is no exact way; `decompose.cp_als` finds one that is
near, and says how near.
"""

from functools import singledispatch

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.decompose.svd import tree_svd, tt_svd
from sciten.tensor.formats import branches, chains
from sciten.tensor.formats.base import Format
from sciten.tensor.formats.cp import CP
from sciten.tensor.formats.tensor_train import TensorTrain
from sciten.tensor.formats.tree import Tree
from sciten.tensor.formats.tree_tensor import TreeTensor
from sciten.tensor.formats.tucker import Tucker
from sciten.tensor.linalg import leading_space


@singledispatch
def to_tensor_train(x: Format) -> TensorTrain:
    """The same tensor as a train.

    From `CP` with all ranks equal to its own, from `Tucker` by splitting the core exactly (up to rounding errors), from
    a `TreeTensor` whose tree is a caterpillar.

    Raises:
        ConfigError: there is no direct way from this format, or this tree.
    """
    raise ConfigError(
        f"to_tensor_train: expected CP, Tucker, TensorTrain or TreeTensor, got a {type(x).__name__}"
    )


@to_tensor_train.register
def _(x: TensorTrain) -> TensorTrain:
    return x


@to_tensor_train.register
def _(x: CP) -> TensorTrain:
    if len(x.factors) == 1:
        return TensorTrain((x.full()[..., None, :, None],))
    first, *inner, last = x.factors
    cores = [(first * x.weights.unsqueeze(-2)).unsqueeze(-3)]
    cores += [torch.diag_embed(factor).movedim(-3, -2) for factor in inner]
    return TensorTrain((*cores, last.mT.unsqueeze(-1)))


@to_tensor_train.register
def _(x: Tucker) -> TensorTrain:
    core = tt_svd(x.core, n_batch=len(x.batch_shape))
    pairs = zip(x.factors, core.cores, strict=True)
    return TensorTrain(tuple(factor.unsqueeze(-3) @ small for factor, small in pairs))


@to_tensor_train.register
def _(x: TreeTensor) -> TensorTrain:
    if x.tree != Tree.caterpillar(x.tree.n_modes):
        raise ConfigError(
            f"to_tensor_train: expected the tree of a caterpillar, (((0, 1), 2), ...), got {x.tree}"
        )
    n_batch = len(x.batch_shape)
    nodes = [place for place, node in enumerate(x.tree.nodes) if node.children]
    leaves = [x.cores[place] for place in x.tree.leaves]
    if len(leaves) == 1:
        root = x.cores[-1] if not x.operator else x.cores[-1].unsqueeze(n_batch)
        return TensorTrain(((leaves[0] @ root).unsqueeze(n_batch),), x.operator)
    cores = [leaves[0].unsqueeze(n_batch)]
    for place, leaf in zip(nodes, leaves[1:], strict=True):
        flat = leaf.flatten(n_batch, -2)
        core = branches.absorb(x.cores[place], [None, flat], n_batch)  # [..., r, n, r']
        cores.append(core.unflatten(-2, leaf.shape[n_batch:-1]))
    return TensorTrain(tuple(cores), x.operator)


@singledispatch
def to_tucker(x: Format) -> Tucker:
    """The same tensor as a Tucker decomposition, from `CP`, whose core then is a diagonal, or from a star of a tree.

    Raises:
        ConfigError: there is no direct way from this format, or this tree.
    """
    raise ConfigError(f"to_tucker: expected CP, Tucker or TreeTensor, got a {type(x).__name__}")


@to_tucker.register
def _(x: Tucker) -> Tucker:
    return x


@to_tucker.register
def _(x: CP) -> Tucker:
    return Tucker(_superdiagonal(x.weights, len(x.factors)), x.factors)


@to_tucker.register
def _(x: TreeTensor) -> Tucker:
    if x.operator or x.tree != Tree.star(x.tree.n_modes):
        raise ConfigError(
            f"to_tucker: expected a vector on the tree of a star, (0, 1, ...), got {x!r} on {x.tree}"
        )
    return Tucker(x.cores[-1].squeeze(-1), x.cores[:-1])


@singledispatch
def to_tree_tensor(x: Format, tree: Tree) -> TreeTensor:
    """The same tensor on a tree: from `CP` and `Tucker` on any, from a train where the leaves are in order.

    From `CP`, and from a train on `Tree.caterpillar(d)`, the cores are those of the tensor; on other trees they are
    found by singular values, to the precision.

    Raises:
        ConfigError: there is no direct way from this format to this tree.
    """
    raise ConfigError(
        f"to_tree_tensor: expected CP, Tucker, TensorTrain or TreeTensor, got a {type(x).__name__}"
    )


@to_tree_tensor.register
def _(x: TreeTensor, tree: Tree) -> TreeTensor:
    if x.tree != tree:
        raise ConfigError(f"to_tree_tensor: expected a tensor on {tree}, got one on {x.tree}")
    return x


@to_tree_tensor.register
def _(x: CP, tree: Tree) -> TreeTensor:
    _require_modes(x, tree)
    ones = torch.ones_like(x.weights)
    cores = []
    for node in tree.nodes:
        if node.mode is not None:
            cores.append(x.factors[node.mode])
        elif node.parent is None:
            cores.append(_superdiagonal(x.weights, len(node.children)).unsqueeze(-1))
        else:
            cores.append(_superdiagonal(ones, len(node.children) + 1))
    return TreeTensor(tree, tuple(cores))


@to_tree_tensor.register
def _(x: Tucker, tree: Tree) -> TreeTensor:
    _require_modes(x, tree)
    small = tree_svd(x.core, tree, n_batch=len(x.batch_shape))
    pairs = zip(tree.nodes, small.cores, strict=True)
    return TreeTensor(
        tree, tuple(core if node.mode is None else x.factors[node.mode] @ core for node, core in pairs)
    )


@to_tree_tensor.register
def _(x: TensorTrain, tree: Tree) -> TreeTensor:
    _require_modes(x, tree)
    if tree != Tree.caterpillar(len(x)):
        return _grown(x, tree)
    n_batch = len(x.batch_shape)
    chain = [core.flatten(-3, -2) for core in x.cores] if x.operator else list(x.cores)
    leaves = [_identity_leaf(core, mode, n_batch) for core, mode in zip(chain, x.modes, strict=True)]
    if len(x) == 1:
        return TreeTensor(tree, (leaves[0], chain[0].squeeze(n_batch)), x.operator)
    cores = [x.cores[0].squeeze(n_batch)]
    for core, leaf in zip(chain[1:], leaves[1:], strict=True):
        cores += [leaf, core]
    return TreeTensor(tree, tuple(cores), x.operator)


def _grown(x: TensorTrain, tree: Tree) -> TreeTensor:
    """A train on a tree whose nodes hold neighbouring modes, in order.

    What hangs below a node is a piece of the train between two bonds, so that the product of their ranks bounds the
    rank above it. Each node keeps the space of its piece in which the whole tensor lies, to the precision: of the piece
    between the triangular factors of what is to the left and to the right of it.
    """
    if [node.mode for node in tree.nodes if node.mode is not None] != list(range(len(x))):
        raise ConfigError(f"to_tree_tensor: expected a tree with its leaves in order for a train, got {tree}")
    chain = [core.flatten(-3, -2) for core in x.cores] if x.operator else list(x.cores)
    turned = [core.transpose(-3, -1) for core in reversed(chain)]
    with torch.no_grad():
        right, left = chains.triangular_factors(chain), chains.triangular_factors(turned)[::-1]
        bound = right[0].abs()[..., 0, 0] * (10 * torch.finfo(x.cores[0].dtype).eps)
    grams: tuple[list[Tensor], list[Tensor]] | None = None
    if torch.is_grad_enabled() and any(core.requires_grad for core in chain):
        grams = chains.grams(turned)[::-1], chains.grams(chain)
    cores: list[Tensor] = []
    pieces: list[Tensor] = []  # [..., q, r, r'] for each node: its piece of the train in its own basis
    ends: list[tuple[int, int]] = []
    for node in tree.nodes:
        if node.mode is not None:
            ends.append((node.mode, node.mode + 1))
            piece = chain[node.mode].movedim(-2, -3)
            lengths = x.modes[node.mode]
        else:
            ends.append((ends[node.children[0]][0], ends[node.children[-1]][1]))
            piece = pieces[node.children[0]]
            for child in node.children[1:]:
                piece = torch.einsum("...pab,...qbc->...pqac", piece, pieces[child]).flatten(-4, -3)
            lengths = tuple(pieces[child].shape[-3] for child in node.children)
        matrix = piece.flatten(-2)  # [..., rows, r r']
        if node.parent is None:
            return TreeTensor(tree, (*cores, matrix.unflatten(-2, lengths)), x.operator)
        first, last = ends[-1]
        around = _products(left[first], right[last])
        gram = None if grams is None else _products(grams[0][first], grams[1][last])
        space = leading_space(matrix, tolerance=bound, right=around, gram=gram)
        cores.append(space.unflatten(-2, lengths))
        pieces.append((space.mH @ matrix).unflatten(-1, piece.shape[-2:]))
    raise AssertionError("a tree has a root")


def _products(a: Tensor, b: Tensor) -> Tensor:
    """The Kronecker product of matrices."""
    return torch.einsum("...as,...bt->...abst", a, b).flatten(-2).flatten(-3, -2)


def _identity_leaf(core: Tensor, mode: tuple[int, ...], n_batch: int) -> Tensor:
    n = core.shape[-2]
    eye = torch.eye(n, dtype=core.dtype, device=core.device).expand(*core.shape[:n_batch], n, n)
    return eye.unflatten(-2, mode)


def _require_modes(x: Format, tree: Tree) -> None:
    if tree.n_modes != len(x.modes):
        raise ConfigError(f"to_tree_tensor: expected a tree with {len(x.modes)} leaves, got {tree}")


def _superdiagonal(values: Tensor, axes: int) -> Tensor:
    """`[..., r]` to `[..., r, r, ...]`, zero where indices differ."""
    r = values.shape[-1]
    flat = values.new_zeros(*values.shape[:-1], r**axes)
    step = sum(r**k for k in range(axes))
    places = torch.arange(r, device=values.device) * step
    return flat.index_copy(-1, places, values).reshape(*values.shape[:-1], *[r] * axes)
