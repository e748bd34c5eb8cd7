import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciten.errors import ConfigError
from sciten.tensor import contract
from sciten.tensor.contract import parse, plan


def by_definition(expression: str, *operands: torch.Tensor) -> torch.Tensor:
    """Sums over all values of all indices, entry by entry; without "..."."""
    inputs, output = expression.replace(" ", "").split("->")
    terms = inputs.split(",")
    lengths = {
        i: n for term, t in zip(terms, operands, strict=True) for i, n in zip(term, t.shape, strict=True)
    }
    dtype = np.complex128 if any(t.is_complex() for t in operands) else np.float64
    result = np.zeros([lengths[i] for i in output], dtype=dtype)
    arrays = [t.detach().numpy() for t in operands]
    for values in itertools.product(*(range(n) for n in lengths.values())):
        at = dict(zip(lengths, values, strict=True))
        entry = np.prod([a[tuple(at[i] for i in term)] for term, a in zip(terms, arrays, strict=True)])
        result[tuple(at[i] for i in output)] += entry
    return torch.from_numpy(result)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@st.composite
def problems(draw: st.DrawFn) -> tuple[str, list[torch.Tensor]]:
    """Expressions with repeated, free and summed indices, scalars and repeated output indices; lengths from one on."""
    letters = "abcDE"
    lengths = {letter: draw(st.integers(1, 3)) for letter in letters}
    terms = draw(st.lists(st.text(letters, max_size=3), min_size=1, max_size=4))
    present = sorted(set("".join(terms)))
    output = draw(st.text(present, max_size=3)) if present else ""
    dtype = draw(st.sampled_from([torch.float64, torch.complex128]))
    operands = [random(*(lengths[i] for i in term), seed=n, dtype=dtype) for n, term in enumerate(terms)]
    return f"{','.join(terms)}->{output}", operands


@settings(max_examples=150, deadline=None)
@given(problems())
def test_every_expression_is_what_its_definition_says(problem: tuple[str, list[torch.Tensor]]) -> None:
    expression, operands = problem
    torch.testing.assert_close(contract(expression, *operands), by_definition(expression, *operands))


@settings(max_examples=30, deadline=None)
@given(problems())
def test_gradients_are_those_of_finite_differences(problem: tuple[str, list[torch.Tensor]]) -> None:
    expression, operands = problem
    inputs = [operand.requires_grad_() for operand in operands]
    assert torch.autograd.gradcheck(lambda *given: contract(expression, *given), inputs)
    assert torch.autograd.gradgradcheck(lambda *given: contract(expression, *given), inputs)


@settings(max_examples=50, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_operands_commute(problem: tuple[str, list[torch.Tensor]], shuffled) -> None:
    expression, operands = problem
    inputs, output = expression.split("->")
    order = list(range(len(operands)))
    shuffled.shuffle(order)
    terms = inputs.split(",")
    swapped = f"{','.join(terms[n] for n in order)}->{output}"
    torch.testing.assert_close(
        contract(swapped, *(operands[n] for n in order)), contract(expression, *operands)
    )


@settings(max_examples=50, deadline=None)
@given(problems())
def test_contraction_distributes_over_sums(problem: tuple[str, list[torch.Tensor]]) -> None:
    expression, (first, *rest) = problem
    other = torch.randn_like(first)
    torch.testing.assert_close(
        contract(expression, first + other, *rest),
        contract(expression, first, *rest) + contract(expression, other, *rest),
    )


@pytest.mark.parametrize(
    ("inner", "outer", "flat"),
    [
        ("ij,jk->ik", "ik,kl->il", "ij,jk,kl->il"),
        ("ij,jk->ki", "ab,ac->bc", "ij,jk,kc->ic"),  # the result of the inner one under other names
        ("i,j->ij", "aa->", "i,i->"),  # a diagonal of the inner result joins two of its indices
        ("i->ii", "ab,bc->ac", "i,ic->ic"),  # a diagonal matrix
        ("i->iii", "aab->b", "i->i"),
        ("ij->i", "i,i->i", "ij,i->i"),
        (",->", ",ij->ij", ",,ij->ij"),
    ],
)
def test_nested_expressions_are_flat_ones(inner: str, outer: str, flat: str) -> None:
    terms = flat.split("->")[0].split(",")
    operands = [random(*[3] * len(term), seed=n) for n, term in enumerate(terms)]
    count = inner.split("->")[0].count(",") + 1
    nested = contract(outer, contract(inner, *operands[:count]), *operands[count:])
    torch.testing.assert_close(nested, contract(flat, *operands))


def test_unnamed_axes_are_counted_from_the_last() -> None:
    x, y = random(2, 3, 4, 5), random(3, 5, 6, seed=1)
    expected = torch.einsum("abij,bjk->abik", x, y)
    torch.testing.assert_close(contract("...ij,...jk->...ik", x, y), expected)
    torch.testing.assert_close(contract("...ij,...jk", x, y), expected)
    torch.testing.assert_close(contract("...ij,...jk->ik", x, y), expected.sum((0, 1)))
    torch.testing.assert_close(contract("i...->...i", x), x.movedim(0, -1))


def test_without_an_arrow_the_output_is_what_occurs_once() -> None:
    x, y = random(2, 3), random(3, 4, seed=1)
    torch.testing.assert_close(contract("bj,ja", x, y), (x @ y).T)
    torch.testing.assert_close(contract("ii", x[:, :2]), torch.trace(x[:, :2]))
    assert parse("aB,Bc...").output == ("...", "a", "c")


def test_dtypes_are_promoted_and_float32_stays() -> None:
    x, y = random(2, 3, dtype=torch.float32), random(3, 2, seed=1, dtype=torch.complex128)
    assert contract("ij,jk->ik", x, x.T).dtype == torch.float32
    torch.testing.assert_close(contract("ij,jk->ik", x, y), x.to(torch.complex128) @ y)


def test_paths_cost_what_the_best_order_costs() -> None:
    shapes = [(1000, 2), (2, 1000), (1000, 1)]
    best = plan("ij,jk,kl->il", *shapes)
    assert best.operations == 2 * (2 * 1000) + 2 * (
        1000 * 2
    )  # from the right; from the left it would be 6,000,000
    assert best.largest == 1000
    assert plan("ij,jk,kl->il", *shapes) is best


def test_empty_axes_sum_to_zero() -> None:
    assert torch.equal(
        contract("ij,jk->ik", random(2, 0), random(0, 3)), torch.zeros(2, 3, dtype=torch.float64)
    )


@pytest.mark.parametrize(
    ("expression", "shapes", "message"),
    [
        (
            "ij,jk->ix",
            [(2, 3), (3, 4)],
            "index 'x' of the output is in no operand\n    ij,jk->ix\n            \\^",
        ),
        ("i1->i", [(2, 2)], "expected a letter, .* got '1'\n    i1->i\n     \\^"),
        ("ij->->i", [(2, 2)], "expected a letter, .* got '-'\n    ij->->i\n        \\^"),
        ("......i->i", [(2, 2)], "at most once in a term\n    \\.\\.\\.\\.\\.\\.i->i\n    \\^  \\^"),
        (
            "ij,jk->ik",
            [(2, 3), (4, 5)],
            "'j' has length 3 in operand 0 and 4 in operand 1\n    ij,jk->ik\n     \\^ \\^",
        ),
        ("ii->i", [(1, 3)], "'i' has length 1 in operand 0 and 3 in operand 0"),
        ("...i,...i->i", [(2, 3), (4, 3)], "an axis of '...' has length 2 in operand 0 and 4 in operand 1"),
        ("ij,jk->ik", [(2, 3)], "expected 2 operands, got 1"),
        ("ij->i", [(2, 3, 4)], r"operand 0 has 3 axes, shape \[2, 3, 4\], but the expression names 2"),
        ("...ij->i", [(2,)], r"operand 0 has 1 axes, shape \[2\], but the expression names at least 2"),
    ],
)
def test_errors_point_at_the_place(expression: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("'...'", r"'\.\.\.'")):
        contract(expression, *(random(*shape) for shape in shapes))


def test_what_is_no_expression_or_tensor_is_named() -> None:
    with pytest.raises(ConfigError, match=r"expected an expression such as .* got a int"):
        contract(3, random(2))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected operand 1 to be a tensor, got a list"):
        contract("i,i->", random(2), [1.0, 2.0])  # type: ignore[arg-type]
