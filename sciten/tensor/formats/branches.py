"""Arithmetic of trees of cores, on which `TreeTensor` and `Tucker` stand.

The core of a leaf is `[..., n, r]`, that of another node `[..., r_1, ..., r_m, r]` with the ranks towards its children
and towards its parent; the root has r = 1. Cores are listed as `Tree.nodes` are, children before parents.
"""

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor

from sciten.tensor.formats.tree import Tree
from sciten.tensor.linalg import leading_space

Cores = Sequence[Tensor]


def absorb(core: Tensor, matrices: Sequence[Tensor | None], n_batch: int) -> Tensor:
    """A core with `[..., k, r]` matrices multiplied onto the axes after the batch, one by one; None leaves an axis."""
    for place, matrix in enumerate(matrices):
        if matrix is None:
            continue
        moved = core.movedim(n_batch + place, -1)
        product = moved.reshape(*core.shape[:n_batch], -1, moved.shape[-1]) @ matrix.mT
        core = product.reshape(*moved.shape[:-1], matrix.shape[-2]).movedim(-1, n_batch + place)
    return core


def add(tree: Tree, left: Cores, right: Cores, n_batch: int) -> list[Tensor]:
    """The sum: ranks add up, but for that of the root."""
    cores = []
    for node, a, b in zip(tree.nodes, left, right, strict=True):
        first = n_batch if node.children else a.ndim - 1  # leaves share their mode
        last = a.ndim if node.parent is not None else a.ndim - 1
        shape = [
            n + m if first <= axis < last else n
            for axis, (n, m) in enumerate(zip(a.shape, b.shape, strict=True))
        ]
        core = a.new_zeros(shape)
        if first < last:
            begin = tuple(slice(0, n) for n in a.shape)
            end = tuple(
                slice(n, None) if first <= axis < last else slice(None) for axis, n in enumerate(a.shape)
            )
            core = _placed(core, begin, a)
            core = _placed(core, end, b)
        else:
            core = a + b
        cores.append(core)
    return cores


def _placed(core: Tensor, where: tuple[slice, ...], part: Tensor) -> Tensor:
    padding = [
        pad
        for place, total, size in reversed(list(zip(where, core.shape, part.shape, strict=True)))
        for pad in ((place.start or 0), total - (place.start or 0) - size)
    ]
    return core + torch.nn.functional.pad(part, padding)


def multiply(tree: Tree, left: Cores, right: Cores, n_batch: int) -> list[Tensor]:
    """The product entry by entry: ranks multiply."""
    cores = []
    for node, a, b in zip(tree.nodes, left, right, strict=True):
        if node.children:
            cores.append(kron(a, b, n_batch))
        else:
            cores.append(torch.einsum("...na,...nb->...nab", a, b).flatten(-2))
    return cores


def kron(a: Tensor, b: Tensor, n_batch: int) -> Tensor:
    """The Kronecker product of two cores over all axes after the batch."""
    axes = a.ndim - n_batch
    batch = a.shape[:n_batch]
    left = a.reshape(*batch, *(n for length in a.shape[n_batch:] for n in (length, 1)))
    right = b.reshape(*batch, *(n for length in b.shape[n_batch:] for n in (1, length)))
    sizes = [a.shape[n_batch + k] * b.shape[n_batch + k] for k in range(axes)]
    return (left * right).reshape(*batch, *sizes)


def inner(tree: Tree, left: Cores, right: Cores, n_batch: int) -> Tensor:
    """The sum over all entries of conj(left) * right."""
    pairs: list[
        Tensor
    ] = []  # for each node conj(left)^T right of what hangs below it, [..., r_left, r_right]
    for node, a, b in zip(tree.nodes, left, right, strict=True):
        below = absorb(b, [pairs[child] for child in node.children], n_batch)
        rows = a.flatten(n_batch, -2), below.flatten(n_batch, -2)
        pairs.append(rows[0].mH @ rows[1])
    return pairs[-1][..., 0, 0]


def full(tree: Tree, cores: Cores, n_batch: int) -> Tensor:
    """The full tensor, `[*batch, n_1, ..., n_d]`."""
    values: list[Tensor] = []  # [..., entries below, r]
    orders: list[tuple[int, ...]] = []
    for node, core in zip(tree.nodes, cores, strict=True):
        below = absorb(core, [values[child] for child in node.children], n_batch)
        values.append(below.flatten(n_batch, -2))
        own = () if node.mode is None else (node.mode,)
        orders.append((*own, *(mode for child in node.children for mode in orders[child])))
    order = orders[-1]
    lengths = [cores[tree.leaves[mode]].shape[-2] for mode in order]
    tensor = values[-1][..., 0].reshape(*cores[0].shape[:n_batch], *lengths)
    places = [n_batch + order.index(mode) for mode in range(len(order))]
    return tensor.permute(*range(n_batch), *places)


def entries(tree: Tree, cores: Cores, indices: Tensor, n_batch: int) -> Tensor:
    """Entries at `[n_places, d]` indices, `[*batch, n_places]`."""
    rows: list[Tensor] = []  # [..., places, r]
    for node, core in zip(tree.nodes, cores, strict=True):
        if node.mode is not None:
            rows.append(core.index_select(-2, indices[:, node.mode]))
            continue
        first, *others = node.children
        found = rows[first] @ core.flatten(n_batch + 1)
        for child in others:
            matrix = found.unflatten(-1, (rows[child].shape[-1], -1))
            found = (rows[child].unsqueeze(-2) @ matrix).squeeze(-2)
        rows.append(found)
    return rows[-1][..., 0]


def triangular_factors(tree: Tree, cores: Cores, n_batch: int) -> list[Tensor]:
    """For each node T, `[..., k, r]`, of what hangs below it as a matrix Q T with orthonormal columns in Q."""
    factors: list[Tensor] = []
    for node, core in zip(tree.nodes, cores, strict=True):
        below = absorb(core, [factors[child] for child in node.children], n_batch)
        factors.append(torch.linalg.qr(below.flatten(n_batch, -2), mode="r").R)
    return factors


def surroundings(tree: Tree, cores: Cores, below: Sequence[Tensor], n_batch: int) -> list[Tensor]:
    """For each node Z, `[..., r, s]`, of all that does not hang below it as a matrix Z Q with orthonormal rows in Q.

    `below` are the `triangular_factors`.
    """
    factors: list[Tensor] = [core.new_ones(*core.shape[:n_batch], 1, 1) for core in cores]
    for place in reversed(range(len(cores))):
        node = tree.nodes[place]
        for position, child in enumerate(node.children):
            others = [None if c == child else below[c] for c in node.children]
            core = absorb(cores[place], [*others, factors[place].mT], n_batch)
            rows = core.movedim(n_batch + position, n_batch).flatten(n_batch + 1)
            factors[child] = torch.linalg.qr(rows.mH, mode="r").R.mH
    return factors


def grams(tree: Tree, cores: Cores, n_batch: int) -> list[Tensor]:
    """Z Z^H for the `surroundings` Z, as polynomials of the cores: a gradient can flow into them."""
    below: list[Tensor] = []  # T^H T
    for node, core in zip(tree.nodes, cores, strict=True):
        through = absorb(core, [below[child] for child in node.children], n_batch)
        below.append(core.flatten(n_batch, -2).mH @ through.flatten(n_batch, -2))
    found = [core.new_ones(*core.shape[:n_batch], 1, 1) for core in cores]
    for place in reversed(range(len(cores))):
        node = tree.nodes[place]
        for position, child in enumerate(node.children):
            others = [None if c == child else below[c] for c in node.children]
            through = absorb(cores[place], [*others, found[place].mT], n_batch)
            rows = through.movedim(n_batch + position, n_batch).flatten(n_batch + 1)
            plain = cores[place].movedim(n_batch + position, n_batch).flatten(n_batch + 1)
            found[child] = rows @ plain.mH
    return found


def norm(tree: Tree, cores: Cores, n_batch: int) -> Tensor:
    """The Frobenius norm, by orthogonalisation."""
    return triangular_factors(tree, cores, n_batch)[-1].abs()[..., 0, 0]


def rounded(
    tree: Tree, cores: Cores, tolerance: float, most: Sequence[int | None], n_batch: int
) -> list[Tensor]:
    """The tree with the least ranks within a relative error; `most` bounds the rank above each node.

    From the leaves to the root each node keeps the leading space of what hangs below it (Grasedyck, SIAM J. Matrix
    Anal. Appl. 31, 2029 (2010)); the squares of what is cut add up.
    """
    differentiable = torch.is_grad_enabled() and any(core.requires_grad for core in cores)
    with torch.no_grad():
        below = triangular_factors(tree, cores, n_batch)
        around = surroundings(tree, cores, below, n_batch)
        bound = below[-1].abs()[..., 0, 0] * (tolerance / sqrt(max(1, len(cores) - 1)))
    weights: Sequence[Tensor | None] = grams(tree, cores, n_batch) if differentiable else [None] * len(cores)
    result: list[Tensor] = []
    passed: list[Tensor] = []  # what each node hands to its parent, [..., new rank, rank]
    for place, (node, core) in enumerate(zip(tree.nodes, cores, strict=True)):
        core = absorb(core, [passed[child] for child in node.children], n_batch)
        if node.parent is None:
            return [*result, core]
        matrix = core.flatten(n_batch, -2)
        space = leading_space(
            matrix, tolerance=bound, rank=most[place], right=around[place], gram=weights[place]
        )
        result.append(space.reshape(*core.shape[:-1], space.shape[-1]))
        passed.append(space.mH @ matrix)
    raise AssertionError("a tree has a root")
