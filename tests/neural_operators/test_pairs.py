"""Contraction of complex tensors as pairs, beside torch's complex one."""

import pytest
import torch

from sciten.errors import ConfigError
from sciten.neural_operators.pairs import as_complex, as_pairs, contract_pairs


@pytest.mark.parametrize(
    ("expression", "shapes"),
    [
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
    ],
)
def test_products_are_those_of_complex_numbers(expression: str, shapes: list[tuple[int, ...]]) -> None:
    operands = [torch.randn(*shape, dtype=torch.complex128) for shape in shapes]
    found = as_complex(contract_pairs(expression, *(as_pairs(operand) for operand in operands)))
    torch.testing.assert_close(found, torch.einsum(expression, *operands))


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
