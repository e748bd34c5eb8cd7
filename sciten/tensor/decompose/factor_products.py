"""A tensor times columns for all modes but one, which is all that alternating least squares needs of it.

`product[i, a] = sum over all other indices of x[..., i, ...] prod_k matrix_k[i_k, a]`, "matricised tensor times
Khatri-Rao product" (Kolda and Bader, SIAM Rev. 51, 455 (2009), section 3.4). Formats are never made full: the cost is
linear in their numbers and in the columns.
"""

from collections.abc import Sequence
from functools import singledispatch

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.formats import CP, Format, TensorTrain, TreeTensor, Tucker


@singledispatch
def product_but_one(x: Tensor | Format, matrices: Sequence[Tensor], mode: int) -> Tensor:
    """The product with the columns of all matrices but that of `mode`.

    Args:
        x: `[n_1, ..., n_d]`, a full tensor or a vector in any format, without a batch.
        matrices: `[n_k, columns]` for each mode; that of `mode` is not looked at.
        mode: which one stays.

    Returns:
        `[n_mode, columns]`.
    """
    raise ConfigError(f"product_but_one: expected a tensor or a low-rank format, got a {type(x).__name__}")


@product_but_one.register
def _(x: Tensor, matrices: Sequence[Tensor], mode: int) -> Tensor:
    if x.ndim == 1:
        return x[:, None].expand(-1, matrices[mode].shape[1])
    # The longest mode goes first, which leaves the least for the others.
    *others, last = sorted((k for k in range(x.ndim) if k != mode), key=lambda k: x.shape[k])
    product = x.permute(mode, *others, last) @ matrices[last]
    for k in reversed(others):
        product = torch.einsum("...na,na->...a", product, matrices[k])
    return product


@product_but_one.register
def _(x: CP, matrices: Sequence[Tensor], mode: int) -> Tensor:
    pairs = x.weights[:, None]
    for k, (factor, matrix) in enumerate(zip(x.factors, matrices, strict=True)):
        if k != mode:
            pairs = pairs * (factor.mT @ matrix)
    return x.factors[mode] @ pairs.expand(-1, matrices[mode].shape[1])


@product_but_one.register
def _(x: Tucker, matrices: Sequence[Tensor], mode: int) -> Tensor:
    small = [factor.mT @ matrix for factor, matrix in zip(x.factors, matrices, strict=True)]
    return x.factors[mode] @ product_but_one(x.core, small, mode)


@product_but_one.register
def _(x: TensorTrain, matrices: Sequence[Tensor], mode: int) -> Tensor:
    left = right = x.cores[0].new_ones(matrices[mode].shape[1], 1)  # [columns, r]
    pairs = list(zip(x.cores, matrices, strict=True))
    for core, matrix in pairs[:mode]:
        left = torch.einsum("anq,na->aq", torch.einsum("ap,pnq->anq", left, core), matrix)
    for core, matrix in reversed(pairs[mode + 1 :]):
        right = torch.einsum("pna,na->ap", torch.einsum("pnq,aq->pna", core, right), matrix)
    return torch.einsum("anq,aq->na", torch.einsum("ap,pnq->anq", left, x.cores[mode]), right)


@product_but_one.register
def _(x: TreeTensor, matrices: Sequence[Tensor], mode: int) -> Tensor:
    columns = matrices[mode].shape[1]
    leaf = x.cores[x.tree.leaves[mode]]
    found: list[
        Tensor
    ] = []  # of each node [columns, s, r]: s is the rank of the leaf that stays, if that is below
    for node, core in zip(x.tree.nodes, x.cores, strict=True):
        if node.mode == mode:
            eye = torch.eye(leaf.shape[-1], dtype=leaf.dtype, device=leaf.device)
            found.append(eye.expand(columns, -1, -1))
        elif node.mode is not None:
            found.append((matrices[node.mode].mT @ core).unsqueeze(-2))
        else:
            found.append(_through(core, [found[child] for child in node.children]))
    return leaf @ found[-1][..., 0].mT


def _through(core: Tensor, below: Sequence[Tensor]) -> Tensor:
    """A core `[r_1, ..., r_m, r]` with what is below it, `[columns, s, r_k]`, of which one at most has s above one."""
    first, *others = below
    result = first @ core.flatten(1)
    for child in others:
        rest = result.unflatten(-1, (child.shape[-1], -1))  # [columns, s, r_k, ...]
        result = torch.einsum("aspr,atp->astr", rest, child).flatten(1, 2)
    return result
