"""Arithmetic of chains of cores `[..., r, n, r']`, on which tensor trains stand."""

from collections.abc import Sequence
from math import prod, sqrt

import torch
from torch import Tensor

from sciten.tensor.linalg import leading_space, split

Chain = Sequence[Tensor]

#: Rows of a triangular factor of less than so many units of the precision, relative to the whole, are its errors.
_NOISE = 8


def add(left: Chain, right: Chain) -> list[Tensor]:
    """The sum: cores side by side, so that ranks add up."""
    if len(left) == 1:
        return [left[0] + right[0]]
    last = len(left) - 1
    cores = []
    for k, (a, b) in enumerate(zip(left, right, strict=True)):
        if k == 0:
            cores.append(torch.cat([a, b], -1))
        elif k == last:
            cores.append(torch.cat([a, b], -3))
        else:
            above = torch.cat([a, a.new_zeros(*a.shape[:-1], b.shape[-1])], -1)
            below = torch.cat([b.new_zeros(*b.shape[:-1], a.shape[-1]), b], -1)
            cores.append(torch.cat([above, below], -3))
    return cores


def multiply(left: Chain, right: Chain) -> list[Tensor]:
    """The product entry by entry: ranks multiply."""
    cores = []
    for a, b in zip(left, right, strict=True):
        # Written once, in order: einsum would multiply in another order and copy.
        core = a[..., :, None, :, :, None] * b[..., None, :, :, None, :]
        cores.append(core.flatten(-2).flatten(-4, -3))
    return cores


def inner(left: Chain, right: Chain) -> Tensor:
    """The sum over all entries of conj(left) * right."""
    pairs = left[0].new_ones(*left[0].shape[:-3], 1, 1)
    for a, b in zip(left, right, strict=True):
        through = torch.einsum("...ac,...cnd->...and", pairs, b)
        pairs = torch.einsum("...anb,...and->...bd", a.conj(), through)
    return pairs[..., 0, 0]


def norm(chain: Chain) -> Tensor:
    """The Frobenius norm, by orthogonalisation from the right."""
    return triangular_factors(chain)[0].abs()[..., 0, 0]


def triangular_factors(chain: Chain) -> list[Tensor]:
    """For each k the factor Z, `[..., r, s]`, of the cores from k on as a matrix Z Q with orthonormal rows in Q.

    The last one, after all cores, is one.
    """
    factor = chain[0].new_ones(*chain[0].shape[:-3], 1, 1)
    factors = [factor]
    for core in reversed(chain):
        rows = (core @ factor.unsqueeze(-3)).flatten(-2)  # [..., r, n s]
        factor = _without_noise(torch.linalg.qr(rows.mH, mode="r").R).mH
        factors.append(factor)
    return factors[::-1]


def _without_noise(triangular: Tensor) -> Tensor:
    """A triangular factor `[..., s, r]` without rows that are as small as its rounding errors.

    Sums have many where later terms repeat earlier ones, as in x + x, and all that follows is cheaper without them.
    """
    norms = torch.linalg.vector_norm(triangular, dim=-1)
    limit = _NOISE * torch.finfo(norms.dtype).eps * torch.linalg.vector_norm(norms, dim=-1, keepdim=True)
    needed = int((norms > limit).nonzero()[..., -1].max()) + 1 if bool((norms > limit).any()) else 1
    return triangular[..., :needed, :]


def grams(chain: Chain) -> list[Tensor]:
    """Z Z^H for the factors Z of `triangular_factors`, as polynomials of the cores: a gradient can flow into them."""
    gram = chain[0].new_ones(*chain[0].shape[:-3], 1, 1)
    found = [gram]
    for core in reversed(chain):
        through = core @ gram.unsqueeze(-3)
        gram = torch.einsum("...anc,...bnc->...ab", through, core.conj())
        found.append(gram)
    return found[::-1]


def rounded(chain: Chain, tolerance: float, most: Sequence[int | None]) -> list[Tensor]:
    """The chain with the least ranks within a relative error, and at most those given; see `TensorTrain.round`."""
    differentiable = torch.is_grad_enabled() and any(core.requires_grad for core in chain)
    with torch.no_grad():
        factors = triangular_factors(chain)
        bound = factors[0].abs()[..., 0, 0] * (tolerance / sqrt(max(1, len(chain) - 1)))
    weights: Sequence[Tensor | None] = grams(chain) if differentiable else [None] * len(factors)
    cores = []
    core = chain[0]
    for k, rank in enumerate(most):
        matrix = core.flatten(-3, -2)
        space = leading_space(matrix, tolerance=bound, rank=rank, right=factors[k + 1], gram=weights[k + 1])
        cores.append(space.unflatten(-2, core.shape[-3:-1]))
        # Cores are [..., r, n, r']: a product from the left runs over the first of these axes.
        core = torch.einsum("...ab,...bnc->...anc", space.mH @ matrix, chain[k + 1])
    return [*cores, core]


def reshaped(cores: Chain, shape: Sequence[int]) -> list[Tensor]:
    """The chain of the same entries in another shape of as many entries."""
    result: list[Tensor] = []
    left, wanted = list(cores), list(shape)
    while wanted:
        core = left.pop(0) if left else cores[-1].new_ones(*cores[-1].shape[:-3], 1, 1, 1)
        lengths = [wanted.pop(0)]
        while (
            prod(lengths) != core.shape[-2]
        ):  # take up old modes and new ones until they hold equally many entries
            if prod(lengths) < core.shape[-2]:
                lengths.append(wanted.pop(0))
            else:
                core = _merged(core, left.pop(0))
        result += _cut(core, lengths)
    for core in left:  # modes of length one
        result[-1] = _merged(result[-1], core)
    return result


def _merged(left: Tensor, right: Tensor) -> Tensor:
    return torch.einsum("...anb,...bmc->...anmc", left, right).flatten(-3, -2)


def _cut(core: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    """A core cut into several, the last index running fastest."""
    cores = []
    for n in lengths[:-1]:
        matrix = core.unflatten(-2, (n, -1)).flatten(-4, -3).flatten(-2)  # [..., r n, rest r']
        precision = torch.finfo(matrix.dtype).eps * max(matrix.shape[-2:])
        left, right = split(matrix, tolerance=precision * torch.linalg.matrix_norm(matrix.detach()))
        cores.append(left.unflatten(-2, (-1, n)))
        core = right.unflatten(-1, (-1, core.shape[-1]))
    return [*cores, core]
