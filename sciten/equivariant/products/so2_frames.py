"""Into the frames of edges and back, features sorted by order on the way.

In the frame of an edge, SO(2) about the edge mixes only the orders +m and -m. So the features are handed over as one
block per m, `[n_edges, 1, l = 0..lmax, channels]` for m = 0 and `[n_edges, (+m, -m), l = m..lmax, channels]` else, on
which mixing degrees and channels is a matrix product without a copy. On a fast executor rotating, sorting and radial
weights are one pass over memory; the plain way, one batched matrix product per degree, is what it is held to.
"""

from collections.abc import Sequence
from functools import cache
from math import sqrt

import torch
from torch import Tensor

from sciten.equivariant.edge_frames import EdgeFrames
from sciten.tensor.multilinear import Executor, Multilinear, Operand, Term, evaluate
from sciten.tensor.multilinear.apply import default_executor
from sciten.tensor.multilinear.reference import Reference
from sciten.tensor.tracing import constant, is_traced

#: With more matrix entries a kernel takes too long to compile (lmax = mmax = 7 and lmax = 12, mmax = 2 are below).
_KERNEL_ENTRIES = 900


def signs(m: int) -> tuple[int, ...]:
    """The orders that a block holds, in its order."""
    return (m, -m) if m else (0,)


def block_size(lmax: int, m: int) -> int:
    """Components in the block of order m."""
    return len(signs(m)) * (lmax - m + 1)


def radial_size(lmax: int, mmax: int) -> int:
    """Radial weights per channel: one for each m and l, the same for +m and -m, ordered by m and then l."""
    return sum(lmax - m + 1 for m in range(mmax + 1))


def into_frames(
    features: Tensor,
    frames: EdgeFrames,
    radial: Tensor | None,
    lmax: int,
    mmax: int,
    executor: Executor | None,
) -> Sequence[Tensor]:
    """Blocks of orders 0..mmax, `[n_edges, block_size, channels]`.

    Args:
        features: `[n_edges, (lmax + 1)**2, channels]`.
        frames: of the edges.
        radial: factors of the blocks, `[n_edges, radial_size, channels]`.
        lmax, mmax: highest degree of the features and highest order of the blocks. Given, not taken from the shape:
            while a program is recorded that may be a symbol.
        executor: who computes, by default the fastest one; the reference stands for the plain way.
    """
    executor = executor or _default(lmax, mmax, features)
    if isinstance(executor, Reference):
        return _into_frames(features, frames, radial, lmax, mmax)
    map_ = into_frames_map(lmax, mmax, radial is not None)
    factors = [] if radial is None else [radial]
    return evaluate(map_, [*_matrices(frames, lmax, mmax), features, *factors], executor=executor)


def out_of_frames(
    blocks: Sequence[Tensor], frames: EdgeFrames, lmax: int, rescale: bool, executor: Executor | None
) -> Tensor:
    """Features `[n_edges, (lmax + 1)**2, channels]` from blocks, orders beyond them taken to be zero.

    With `rescale` a degree l above mmax is multiplied by sqrt((2l + 1) / (2 mmax + 1)), so that it keeps its variance.
    """
    mmax = len(blocks) - 1
    executor = executor or _default(lmax, mmax, blocks[0])
    if isinstance(executor, Reference):
        return _out_of_frames(blocks, frames, lmax, rescale)
    map_ = out_of_frames_map(lmax, mmax, rescale)
    (features,) = evaluate(map_, [*_matrices(frames, lmax, mmax), *blocks], executor=executor)
    return features


def _default(lmax: int, mmax: int, like: Tensor) -> Executor | None:
    """None where a program is recorded: whoever runs it chooses."""
    entries = sum((2 * min(l, mmax) + 1) * (2 * l + 1) for l in range(1, lmax + 1))
    if entries > _KERNEL_ENTRIES:
        return Reference()
    return None if is_traced(like) else default_executor(like)


def _into_frames(
    features: Tensor, frames: EdgeFrames, radial: Tensor | None, lmax: int, mmax: int
) -> list[Tensor]:
    rotated = [frames.rows(l, mmax) @ features[:, l * l : (l + 1) ** 2] for l in range(lmax + 1)]
    blocks = []
    start = 0
    for m in range(mmax + 1):
        kept = [rotated[l][:, min(l, mmax) + s] for s in signs(m) for l in range(m, lmax + 1)]
        block = torch.stack(kept, 1)
        if radial is not None:
            factors = radial[:, start : start + lmax - m + 1]
            block = block * torch.cat([factors] * len(signs(m)), 1)
            start += lmax - m + 1
        blocks.append(block)
    return blocks


def _out_of_frames(blocks: Sequence[Tensor], frames: EdgeFrames, lmax: int, rescale: bool) -> Tensor:
    mmax = len(blocks) - 1
    features = []
    for l in range(lmax + 1):
        top = min(l, mmax)
        rows = [blocks[abs(m)][:, _place(lmax, l, m)] for m in range(-top, top + 1)]
        rotated = frames.rows(l, mmax).mT @ torch.stack(rows, 1)
        features.append(rotated * _scale(l, mmax) if rescale else rotated)
    return torch.cat(features, 1)


def _place(lmax: int, l: int, m: int) -> int:
    """Where degree l and order m lie in the block of |m|."""
    return l - abs(m) + (lmax + m + 1 if m < 0 else 0)


def _scale(l: int, mmax: int) -> float:
    return sqrt((2 * l + 1) / (2 * min(l, mmax) + 1))


def _matrices(frames: EdgeFrames, lmax: int, mmax: int) -> list[Tensor]:
    return [frames.rows(l, mmax).flatten(1) for l in range(1, lmax + 1)]


def _matrix_operands(lmax: int, mmax: int) -> list[Operand]:
    return [Operand((2 * min(l, mmax) + 1) * (2 * l + 1), channels=False) for l in range(1, lmax + 1)]


def _entry(l: int, m: int, column: int, mmax: int) -> list[tuple[int, int]]:
    """An entry of the matrix of degree l as a factor; that of degree zero is one."""
    return [(l - 1, (m + min(l, mmax)) * (2 * l + 1) + column)] if l else []


@cache
@constant
def into_frames_map(lmax: int, mmax: int, radial: bool) -> Multilinear:
    """Arguments: the rows of the Wigner matrices of degrees 1..lmax, features, radial factors if there are any.
    Results: one block for each m = 0..mmax."""
    terms = []
    start = 0
    for m in range(mmax + 1):
        for l in range(m, lmax + 1):
            factors = [(lmax + 1, start + l - m)] if radial else []
            for order in signs(m):
                for k in range(2 * l + 1):
                    value = [*_entry(l, order, k, mmax), (lmax, l * l + k), *factors]
                    terms.append(Term(1.0, tuple(value), (m, _place(lmax, l, order))))
        start += lmax - m + 1
    return Multilinear(
        arguments=(
            *_matrix_operands(lmax, mmax),
            Operand((lmax + 1) ** 2),
            *([Operand(radial_size(lmax, mmax))] if radial else []),
        ),
        results=tuple(Operand(block_size(lmax, m)) for m in range(mmax + 1)),
        terms=tuple(terms),
    ).ready_to_record()


@cache
@constant
def out_of_frames_map(lmax: int, mmax: int, rescale: bool) -> Multilinear:
    """Arguments: the rows of the Wigner matrices of degrees 1..lmax, and one block for each m = 0..mmax.
    Result: features."""
    terms = []
    for l in range(lmax + 1):
        top = min(l, mmax)
        for m in range(-top, top + 1):
            for k in range(2 * l + 1):
                factors = (*_entry(l, m, k, mmax), (lmax + abs(m), _place(lmax, l, m)))
                terms.append(Term(_scale(l, mmax) if rescale else 1.0, factors, (0, l * l + k)))
    return Multilinear(
        arguments=(
            *_matrix_operands(lmax, mmax),
            *(Operand(block_size(lmax, m)) for m in range(mmax + 1)),
        ),
        results=(Operand((lmax + 1) ** 2),),
        terms=tuple(terms),
    ).ready_to_record()
