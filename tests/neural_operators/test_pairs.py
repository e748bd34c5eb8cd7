"""Contraction of complex tensors as pairs, beside torch's complex one."""

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from sciten.errors import ConfigError
from sciten.neural_operators.pairs import _planned, as_complex, as_pairs, contract_pairs

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
    ("bxyi,AiB,BoC,CxD,DyE->bxyo", [(2, 7, 5, 8), (1, 8, 3), (3, 6, 4), (4, 7, 2), (2, 5, 1)]),
    ("bxyi,BCDE,iB,oC,xD,yE->bxyo", [(2, 7, 5, 8), (4, 3, 3, 2), (8, 4), (6, 3), (7, 3), (5, 2)]),
    ("bxyi,A,iA,oA,xA,yA->bxyo", [(2, 7, 5, 8), (9,), (8, 9), (6, 9), (7, 9), (5, 9)]),
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


def test_second_derivatives_are_those_of_finite_differences() -> None:
    shapes = ((2, 3, 2), (1, 2, 2), (2, 2, 2), (2, 3, 1))
    operands = [torch.randn(*shape, 2, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradgradcheck(
        lambda *pairs: contract_pairs("bxi,AiB,BoC,CxD->bxo", *pairs), operands
    )


def test_lower_precision_is_real() -> None:
    expression, shapes = "bxi,A,iA,oA,xA->bxo", [(2, 3, 4), (6,), (4, 6), (5, 6), (3, 6)]
    operands = [torch.randn(*shape, 2).bfloat16() for shape in shapes]
    found = contract_pairs(expression, *operands)
    wanted = contract_pairs(expression, *(operand.float() for operand in operands))
    assert found.dtype == torch.bfloat16
    assert float((found.float() - wanted).norm() / wanted.norm()) < 0.03


def test_no_sample_and_numbers_at_odd_places_are_taken() -> None:
    """Torch views neither as complex: an empty tensor in another order, and a part of a vector after one number."""
    weight = torch.randn(4 * 5 * 3 * 2 + 1)[1:].view(4, 5, 3, 2).requires_grad_()
    for batch in (0, 2):
        fields = torch.randn(batch, 2, 3, 4, requires_grad=True)
        found = contract_pairs("bxi,iox->bxo", fields.movedim(1, -1), weight)
        found.square().sum().backward()
        assert (
            found.shape == (batch, 3, 5, 2) and fields.grad is not None and fields.grad.shape == fields.shape
        )
        wanted = torch.einsum("bxi,iox->bxo", as_complex(fields.movedim(1, -1)), as_complex(weight))
        torch.testing.assert_close(as_complex(found), wanted)


@pytest.mark.parametrize(("expression", "shapes"), BATCHED)
def test_what_is_summed_over_later_is_a_batch_of_matrices(
    expression: str, shapes: list[tuple[int, ...]]
) -> None:
    left = [False] * len(shapes)  # whether it is a result, which may lie as one likes
    for step in _planned(expression, *shapes):
        terms, result = step.expression.split("->")
        for term, position in zip(terms.split(","), step.positions, strict=True):
            if left[position] and step.with_parts is not None and "," in terms:
                kept = [letter for letter in result if all(letter in one for one in terms.split(","))]
                assert list(term[: len(kept)]) == kept
        left = [one for position, one in enumerate(left) if position not in step.positions] + [True]


def test_conjugates_are_resolved() -> None:
    tensor = torch.randn(3, dtype=torch.complex128).conj()
    torch.testing.assert_close(as_complex(as_pairs(tensor)), tensor)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match="contract"):
        contract_pairs("ab,bc->ac", torch.zeros(2, 3, 2), torch.zeros(4, 5, 2))
    with pytest.raises(ConfigError, match="each index once"):
        contract_pairs("a->aa", torch.zeros(2, 2))
