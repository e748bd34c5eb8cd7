"""Complex tensors as real ones with a last axis of two, real and imaginary parts, and their contraction.

What is stored and multiplied is real, so that compilers, lower precisions and optimisers treat it as any other tensor.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from sciten.tensor.contract import plan
from sciten.tensor.tracing import constant, is_traced

_TYPICAL_BATCH = 8


@dataclass(frozen=True)
class _Step:
    """One product of a contraction.

    Args:
        positions: which of the tensors so far.
        expression: of these; where something is summed over, with axes for the parts.
        last_first: whether the second of them comes first in it.
        summed: whether something is summed over.
    """

    positions: tuple[int, ...]
    expression: str
    last_first: bool
    summed: bool


def contract_pairs(expression: str, *operands: Tensor) -> Tensor:
    """The contraction of complex tensors given and returned as pairs.

    The order is that of the fewest operations, as in `sciten.tensor.contract`. A product of two complex tensors is one
    real contraction, where the smaller of the two is written as the matrices [[a, b], [-b, a]] of its numbers a + ib;
    where nothing is summed over, as with the ranks of CP, numbers are multiplied with numbers.

    Args:
        expression: as of `sciten.tensor.contract`, without the axis of two and without "...".
        operands: `[..., 2]`; the first axis of the first is the batch, which no other operand has.

    Raises:
        ConfigError: the expression does not fit the operands.
    """
    left, shapes = list(operands), [tuple(operand.shape[:-1]) for operand in operands]
    if is_traced(operands[0]) and shapes[0]:
        # Recorded programs may be run with other batches, and the size of this one may be a symbol.
        shapes[0] = (_TYPICAL_BATCH, *shapes[0][1:])
    for step in _program(expression, *shapes):
        chosen = [left[position] for position in step.positions]
        left = [operand for position, operand in enumerate(left) if position not in step.positions]
        if step.last_first:
            chosen.reverse()
        if step.summed:
            left.append(torch.einsum(step.expression, chosen[0], *map(_as_matrices, chosen[1:])))
        else:
            left.append(_number_by_number(step.expression, *chosen))
    return left[0]


def as_pairs(tensor: Tensor) -> Tensor:
    """`[..., 2]` of a complex tensor."""
    return torch.view_as_real(tensor.resolve_conj()).contiguous()


def as_complex(pairs: Tensor) -> Tensor:
    """The complex tensor of `[..., 2]`."""
    return torch.view_as_complex(pairs.contiguous())


@constant
def _program(expression: str, *shapes: tuple[int, ...]) -> tuple[_Step, ...]:
    return _planned(expression, *shapes)  # apart, since compilers look through caches


@lru_cache(maxsize=1024)
def _planned(expression: str, *shapes: tuple[int, ...]) -> tuple[_Step, ...]:
    steps, sizes = [], [prod(shape) for shape in shapes]
    for step in plan(expression, *shapes).steps:
        chosen = [sizes[position] for position in step.positions]
        sizes = [size for position, size in enumerate(sizes) if position not in step.positions]
        sizes.append(step.entries)
        last_first = len(chosen) == 2 and chosen[0] < chosen[1]
        terms, result = step.expression.split("->")
        if len(chosen) == 2 and set(terms) - {","} <= set(result):
            ordered = ",".join(reversed(terms.split(","))) if last_first else terms
            steps.append(_Step(step.positions, f"{ordered}->{result}", last_first, summed=False))
        else:
            found = _with_parts(step.expression, last_first)
            steps.append(_Step(step.positions, found, last_first, summed=True))
    return tuple(steps)


def _number_by_number(expression: str, first: Tensor, second: Tensor) -> Tensor:
    """The product of two tensors whose indices are all among the result's."""
    terms, result = expression.split("->")
    one, other = (_aligned(*pair, result) for pair in zip((first, second), terms.split(","), strict=True))
    if one.dtype in (torch.float32, torch.float64) and not is_traced(one):
        return torch.view_as_real(as_complex(one) * as_complex(other))  # in one walk over memory
    (a, b), (c, d) = one.unbind(-1), other.unbind(-1)
    return torch.stack([a * c - b * d, a * d + b * c], -1)


def _aligned(pairs: Tensor, letters: str, result: str) -> Tensor:
    """The axes in the order of the result's, those that are not there of length one."""
    order = [letters.index(letter) for letter in result if letter in letters]
    return pairs.permute(*order, -1)[tuple(slice(None) if letter in letters else None for letter in result)]


def _as_matrices(pairs: Tensor) -> Tensor:
    """`[..., 2, 2]`: from the parts of another factor to those of the product."""
    real, imaginary = pairs.unbind(-1)
    return torch.stack([pairs, torch.stack([-imaginary, real], -1)], -2)


def _with_parts(expression: str, last_first: bool) -> str:
    """The expression with axes for the parts: of one operand, or of the larger one and of the other's matrices."""
    terms, result = expression.split("->")
    inner, outer = [letter for letter in "zyxwvutsrqponmlkjihgfedcba" if letter not in expression][:2]
    operands = terms.split(",")
    if len(operands) == 1:
        return f"{terms}{inner}->{result}{inner}"
    first, second = reversed(operands) if last_first else operands
    return f"{first}{inner},{second}{inner}{outer}->{result}{outer}"
