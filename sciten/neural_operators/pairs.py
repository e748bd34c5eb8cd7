"""Complex tensors as real ones with a last axis of two, real and imaginary parts, and their contraction.

What is stored and multiplied is real, so that compilers, lower precisions and optimisers treat it as any other tensor.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from sciten.tensor.contract import Step, plan
from sciten.tensor.tracing import constant, is_traced

_TYPICAL_BATCH = 8
_COMPLEX = (torch.float32, torch.float64)  # which have complex numbers


@dataclass(frozen=True)
class _Step:
    """One contraction of one or two tensors.

    Args:
        positions: which of the tensors so far.
        expression: of complex tensors, in the order of the positions.
        with_parts: the same of real ones, the second as matrices; None where nothing is summed over.
        last_first: whether the second of them comes first in that.
    """

    positions: tuple[int, ...]
    expression: str
    with_parts: str | None
    last_first: bool


def contract_pairs(expression: str, *operands: Tensor) -> Tensor:
    """The contraction of complex tensors given and returned as pairs.

    The order is that of the fewest operations, as in `sciten.tensor.contract`. Where torch has complex numbers of this
    precision the products are theirs. In recorded programs, whose compilers know none, and in lower precisions a
    product of two complex tensors is one real contraction, where the smaller of the two is written as the matrices
    [[a, b], [-b, a]] of its numbers a + ib; where nothing is summed over, as with the ranks of CP, numbers are
    multiplied with numbers.

    Args:
        expression: as of `sciten.tensor.contract`, without the axis of two and without "...".
        operands: `[..., 2]`; the first axis of the first is the batch, which no other operand has.

    Raises:
        ConfigError: the expression does not fit the operands.
    """
    shapes, traced = [tuple(operand.shape[:-1]) for operand in operands], is_traced(operands[0])
    if traced and shapes[0]:
        # Recorded programs may be run with other batches, and the size of this one may be a symbol.
        shapes[0] = (_TYPICAL_BATCH, *shapes[0][1:])
    native = operands[0].dtype in _COMPLEX and not traced
    left = [as_complex(operand) for operand in operands] if native else list(operands)
    for step in _program(expression, *shapes):
        chosen = [left[position] for position in step.positions]
        left = [operand for position, operand in enumerate(left) if position not in step.positions]
        left.append(torch.einsum(step.expression, *chosen) if native else _product(step, chosen))
    return torch.view_as_real(left[0]) if native else left[0]


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
    planned = plan(expression, *shapes).steps
    for step, (positions, terms, result) in zip(planned, _batches_first(planned, len(shapes)), strict=True):
        chosen = [sizes[position] for position in positions]
        sizes = [size for position, size in enumerate(sizes) if position not in positions]
        sizes.append(step.entries)
        last_first = len(chosen) == 2 and chosen[0] < chosen[1]
        ordered = terms[::-1] if last_first else terms
        summed = len(terms) == 1 or not set("".join(terms)) <= set(result)
        with_parts = _with_parts(ordered, result) if summed else None
        steps.append(_Step(positions, f"{','.join(terms)}->{result}", with_parts, last_first))
    return tuple(steps)


def _batches_first(steps: Sequence[Step], count: int) -> Iterator[tuple[tuple[int, ...], list[str], str]]:
    """Positions, indices of the operands and of the result of each step, such that no product waits for a copy.

    Where a result is summed over in a later step, the indices that both operands and the result of that step have come
    first in it, as batched products of matrices want them. A product has the indices of its first operand first.
    """
    parsed = [(step.expression.split("->")[0].split(","), step.expression.split("->")[1]) for step in steps]
    all_terms, results = [terms for terms, _ in parsed], [result for _, result in parsed]
    left: list[int | None] = [None] * count  # which step made it
    for k, step in enumerate(steps):
        made = [left[position] for position in step.positions]
        left = [one for position, one in enumerate(left) if position not in step.positions] + [k]
        terms, result = all_terms[k], results[k]
        if len(terms) == 1 or set("".join(terms)) <= set(result):
            continue
        shared = set(terms[0]) & set(terms[1]) & set(result)
        for place, source in enumerate(made):
            if source is not None:
                order = sorted(range(len(terms[place])), key=lambda n: terms[place][n] not in shared)
                terms[place], results[source] = (
                    "".join(letters[n] for n in order) for letters in (terms[place], results[source])
                )
    for step, terms, result in zip(steps, all_terms, results, strict=True):
        own = [letter for letter in result if sum(letter in term for term in terms) == 1]
        swapped = len(terms) == 2 and bool(own) and own[0] in terms[1]
        positions = tuple(step.positions)
        yield (positions[::-1], terms[::-1], result) if swapped else (positions, terms, result)


def _product(step: _Step, chosen: Sequence[Tensor]) -> Tensor:
    """That of real tensors with an axis of two."""
    if step.with_parts is None:
        return _number_by_number(step.expression, *chosen)
    first, *others = reversed(chosen) if step.last_first else chosen
    return torch.einsum(step.with_parts, first, *map(_as_matrices, others))


def _number_by_number(expression: str, first: Tensor, second: Tensor) -> Tensor:
    """The product of two tensors whose indices are all among the result's."""
    terms, result = expression.split("->")
    one, other = (_aligned(*pair, result) for pair in zip((first, second), terms.split(","), strict=True))
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


def _with_parts(terms: Sequence[str], result: str) -> str:
    """The expression with axes for the parts: of one operand, or of one and of the other's matrices."""
    used = "".join(terms)
    inner, outer = [letter for letter in "zyxwvutsrqponmlkjihgfedcba" if letter not in used][:2]
    if len(terms) == 1:
        return f"{terms[0]}{inner}->{result}{inner}"
    first, second = terms
    return f"{first}{inner},{second}{inner}{outer}->{result}{outer}"
