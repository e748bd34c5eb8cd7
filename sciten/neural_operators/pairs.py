"""Complex tensors as real ones with a last axis of two, real and imaginary parts, and their contraction.

What is stored and multiplied is real, so that compilers, lower precisions and optimisers treat it as any other tensor.
"""

from functools import lru_cache

import torch
from torch import Tensor

from sciten.tensor.contract import plan


def contract_pairs(expression: str, *operands: Tensor) -> Tensor:
    """The contraction of complex tensors given and returned as pairs.

    The order is that of the fewest operations, as in `sciten.tensor.contract`. A product of two complex tensors is one
    real contraction, where the smaller of the two is written as the matrices [[a, b], [-b, a]] of its numbers a + ib.

    Args:
        expression: as of `sciten.tensor.contract`, without the axis of two and without "...".
        operands: `[..., 2]`.

    Raises:
        ConfigError: the expression does not fit the operands.
    """
    found = plan(expression, *(tuple(operand.shape[:-1]) for operand in operands))
    left = list(operands)
    for step in found.steps:
        chosen = [left[position] for position in step.positions]
        left = [operand for position, operand in enumerate(left) if position not in step.positions]
        left.append(_contracted(step.expression, chosen))
    return left[0]


def as_pairs(tensor: Tensor) -> Tensor:
    """`[..., 2]` of a complex tensor."""
    return torch.view_as_real(tensor.resolve_conj()).contiguous()


def as_complex(pairs: Tensor) -> Tensor:
    """The complex tensor of `[..., 2]`."""
    return torch.view_as_complex(pairs.contiguous())


def _contracted(expression: str, operands: list[Tensor]) -> Tensor:
    if len(operands) == 1:
        return torch.einsum(_with_parts(expression, 1), operands[0])
    first, second = operands
    if first.numel() < second.numel():
        terms, result = expression.split("->")
        expression = ",".join(reversed(terms.split(","))) + "->" + result
        first, second = second, first
    return torch.einsum(_with_parts(expression, 2), first, _as_matrices(second))


def _as_matrices(pairs: Tensor) -> Tensor:
    """`[..., 2, 2]`: from the parts of another factor to those of the product."""
    real, imaginary = pairs.unbind(-1)
    return torch.stack([pairs, torch.stack([-imaginary, real], -1)], -2)


@lru_cache(maxsize=1024)
def _with_parts(expression: str, count: int) -> str:
    """The expression with axes for the parts: of one operand, or of the first operand and the second's matrices."""
    terms, result = expression.split("->")
    free = [letter for letter in "zyxwvutsrqponmlkjihgfedcba" if letter not in expression]
    if count == 1:
        return f"{terms}{free[0]}->{result}{free[0]}"
    first, second = terms.split(",")
    return f"{first}{free[0]},{second}{free[0]}{free[1]}->{result}{free[1]}"
