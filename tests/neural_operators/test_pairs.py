"""Contraction of complex tensors as pairs, beside torch's complex one."""

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from sciten.errors import ConfigError
from sciten.neural_operators.pairs import as_complex, as_pairs, contract_pairs

CASES: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ab,bc->ac", [(3, 4), (4, 5)]),
    ("ab,bc->ac", [(3, 2), (2, 50)]),
    ("bxi,iox->bxo", [(2, 3, 4), (4, 5, 3)]),
    ("bxi,AB,iA,xB->bxA", [(2, 3, 4), (2, 3), (4, 2), (3, 3)]),
    ("bxi,A,iA,oA,xA->bxo", [(2, 3, 4), (6,), (4, 6), (5, 6), (3, 6)]),
    ("ab->b", [(3, 4)]),
    ("ab,ba->ab", [(3, 4), (4, 3)]),
    ("b,acb->cab", [(3,), (4, 2, 3)]),
    ("a,b->ba", [(3,), (4,)]),
    ("bA,A,xA->bxA", [(2, 6), (6,), (3, 6)]),
]


@pytest.mark.parametrize(("expression", "shapes"), CASES)
def test_products_are_those_of_complex_numbers(expression: str, shapes: list[tuple[int, ...]]) -> None:
    operands = [torch.randn(*shape, dtype=torch.complex128) for shape in shapes]
    found = as_complex(contract_pairs(expression, *(as_pairs(operand) for operand in operands)))
    torch.testing.assert_close(found, torch.einsum(expression, *operands))


# Recorded programs hold for any batch, which is the first index and that of no other operand.
BATCHED = [case for case in CASES if case[0][0] not in case[0].split("->")[0][1:]]


@pytest.mark.parametrize(("expression", "shapes"), BATCHED)
def test_recorded_programs_have_real_numbers_and_the_same_products_and_gradients(
    expression: str, shapes: list[tuple[int, ...]]
) -> None:
    operands = [torch.randn(*shape, 2, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def product_and_gradients(*pairs: Tensor) -> tuple[Tensor, ...]:
        found = contract_pairs(expression, *pairs)
        return found, *torch.autograd.grad(found.square().sum(), pairs)

    recorded = make_fx(product_and_gradients)(*operands)
    for node in recorded.graph.nodes:
        if isinstance(node.meta.get("val"), Tensor):
            assert not node.meta["val"].is_complex()
    for found, wanted in zip(recorded(*operands), product_and_gradients(*operands), strict=True):
        torch.testing.assert_close(found, wanted)


def test_gradients_are_those_of_finite_differences() -> None:
    operands = [torch.randn(*shape, 2, dtype=torch.float64, requires_grad=True) for shape in ((2, 3), (3, 2))]
    assert torch.autograd.gradcheck(lambda a, b: contract_pairs("ab,bc->ac", a, b), operands)
    assert torch.autograd.gradcheck(lambda a, b: contract_pairs("ab,ba->ba", a, b), operands)


def test_conjugates_are_resolved() -> None:
    tensor = torch.randn(3, dtype=torch.complex128).conj()
    torch.testing.assert_close(as_complex(as_pairs(tensor)), tensor)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match="contract"):
        contract_pairs("ab,bc->ac", torch.zeros(2, 3, 2), torch.zeros(4, 5, 2))
