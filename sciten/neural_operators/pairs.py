"""Complex tensors as real ones with a last axis of two, real and imaginary parts, and their contraction.

What is stored is real, so that optimisers, compilers and lower precisions treat it as any other tensor; products are
of complex numbers where torch has them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, prod

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.contract import Step, plan
from sciten.tensor.tracing import constant, is_traced

_TYPICAL_BATCH = 8
_NATIVE = (torch.float32, torch.float64)  # parts of the complex numbers that torch multiplies


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
        operands: `[..., 2]`, of one precision; the first axis of the first is the batch, which no other operand has.

    Raises:
        ConfigError: the expression does not fit the operands, or has an index twice in the result.
    """
    shapes, traced = [tuple(operand.shape[:-1]) for operand in operands], is_traced(operands[0])
    if traced and shapes[0]:
        # Recorded programs may be run with other batches, and the size of this one may be a symbol.
        shapes[0] = (_TYPICAL_BATCH, *shapes[0][1:])
    # torch refuses to view some empty tensors as complex.
    native = not traced and all(operand.dtype in _NATIVE and operand.numel() for operand in operands)
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
    """The complex tensor of `[..., 2]`, a view where torch can have one: of parts side by side at even places."""
    *others, last = pairs.stride()
    if last != 1 or pairs.storage_offset() % 2 or any(stride % 2 for stride in others):
        pairs = pairs.clone(memory_format=torch.contiguous_format)
    return torch.view_as_complex(pairs)


@constant
def _program(expression: str, *shapes: tuple[int, ...]) -> tuple[_Step, ...]:
    return _planned(expression, *shapes)  # apart, since compilers look through caches


@lru_cache(maxsize=1024)
def _planned(expression: str, *shapes: tuple[int, ...]) -> tuple[_Step, ...]:
    planned = plan(expression, *shapes)
    if planned.diagonal is not None:
        raise ConfigError(f"contract_pairs: expected each index once in the result, got {expression!r}")
    steps, sizes = [], [prod(shape) for shape in shapes]
    ordered = _batches_first(planned.steps, len(shapes))
    for step, (positions, terms, result) in zip(planned.steps, ordered, strict=True):
        chosen = [sizes[position] for position in positions]
        sizes = [size for position, size in enumerate(sizes) if position not in positions]
        sizes.append(step.entries)
        last_first = len(chosen) == 2 and chosen[0] < chosen[1]
        with_parts = None
        if not _number_by_number_is_enough(terms, result):
            with_parts = _with_parts(terms[::-1] if last_first else terms, result)
        steps.append(_Step(positions, f"{','.join(terms)}->{result}", with_parts, last_first))
    return tuple(steps)


def _batches_first(steps: Sequence[Step], count: int) -> Iterator[tuple[tuple[int, ...], list[str], str]]:
    """Positions, indices of the operands and of the result of each step, so that fewer products need copies.

    A result that is summed over in a later step has first the indices which that one keeps of both its operands, in the
    order of its own result: batched products of matrices want them so. A product has the indices of its first operand
    first.
    """
    parsed = [step.expression.split("->") for step in steps]
    all_terms, results = [terms.split(",") for terms, _ in parsed], [result for _, result in parsed]
    left, made = list(range(-count, 0)), []  # which step made it; those that are given have negative numbers
    for k, step in enumerate(steps):
        made.append([left[position] for position in step.positions])
        left = [one for position, one in enumerate(left) if position not in step.positions] + [k]
    for k in reversed(range(len(steps))):
        terms, result = all_terms[k], results[k]
        if len(terms) == 1 or _number_by_number_is_enough(terms, result):
            continue
        places = {letter: n for n, letter in enumerate(result) if letter in terms[0] and letter in terms[1]}
        for place, source in enumerate(made[k]):
            if source >= 0:
                order = _sorted_by(terms[place], places)
                terms[place] = "".join(terms[place][n] for n in order)
                results[source] = "".join(results[source][n] for n in order)
    for step, terms, result in zip(steps, all_terms, results, strict=True):
        own = [letter for letter in result if sum(letter in term for term in terms) == 1]
        swapped = len(terms) == 2 and bool(own) and own[0] in terms[1]
        yield (step.positions[::-1], terms[::-1], result) if swapped else (step.positions, terms, result)


def _sorted_by(letters: str, places: Mapping[str, int]) -> list[int]:
    """The order in which those that have a place come first."""
    return sorted(range(len(letters)), key=lambda n: places.get(letters[n], inf))


def _number_by_number_is_enough(terms: Sequence[str], result: str) -> bool:
    """Whether it is a product of two, of which nothing is summed over and no diagonal taken."""
    return len(terms) == 2 and all(set(term) <= set(result) and len(set(term)) == len(term) for term in terms)


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
