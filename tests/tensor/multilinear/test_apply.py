import warnings

import pytest
import torch

from sciten.errors import ConfigError
from sciten.tensor.multilinear import Index, Multilinear, Operand, Term, evaluate
from sciten.tensor.multilinear.executors import _warn_once, default_executor
from sciten.tensor.multilinear.reference import Reference
from tests.tensor.multilinear.maps import rich_arguments, rich_map


def test_reference_equals_a_dense_contraction() -> None:
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(3, 4, 2, 5, generator=generator, dtype=torch.float64)
    terms = tuple(
        Term(float(dense[i, j, l, k]), ((0, i), (1, j), (2, l)), (0, k))
        for i in range(3)
        for j in range(4)
        for l in range(2)
        for k in range(5)
    )
    map_ = Multilinear(
        (Operand(3, index="s"), Operand(4, channels=False), Operand(2)), (Operand(5, index="r"),), terms
    )
    arguments, indices = rich_arguments(batch=11, channels=3)
    arguments = arguments[:3]
    (result,) = evaluate(map_, arguments, indices, executor=Reference())
    a, b, c = arguments
    by_edge = torch.einsum("ijlk,eic,ej,elc->ekc", dense, a[indices["s"].rows], b, c)
    expected = torch.zeros(4, 5, 3, dtype=torch.float64).index_add(0, indices["r"].rows, by_edge)
    torch.testing.assert_close(result, expected, rtol=1e-13, atol=1e-13)


def test_derivatives_agree_with_finite_differences_to_second_order() -> None:
    arguments, indices = rich_arguments(batch=5, channels=2)

    def function(*values):
        return evaluate(rich_map(), values, indices, executor=Reference())

    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments)


def test_wrong_shapes_are_named() -> None:
    arguments, indices = rich_arguments(batch=5, channels=2)
    arguments[2] = arguments[2][:4]
    with pytest.raises(ConfigError, match=r"argument 2 of shape \[5, 2, 2\].*got \[4, 2, 2\]"):
        evaluate(rich_map(), arguments, indices)


def test_wrong_dtype_is_named() -> None:
    arguments, indices = rich_arguments(batch=5, channels=2)
    arguments[1] = arguments[1].float()
    with pytest.raises(ConfigError, match=r"argument 1.*float32"):
        evaluate(rich_map(), arguments, indices)


def test_missing_index_is_named() -> None:
    arguments, indices = rich_arguments(batch=5, channels=2)
    with pytest.raises(ConfigError, match="needs the index r"):
        evaluate(rich_map(), arguments, {"s": indices["s"]})


def test_index_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"rows in \[0, 3\), got 0 to 3"):
        Index(torch.tensor([0, 3]), 3)


def test_indices_of_unequal_length_are_refused() -> None:
    arguments, indices = rich_arguments(batch=5, channels=2)
    shorter = {**indices, "s": Index(indices["s"].rows[:3], indices["s"].size)}
    with pytest.raises(ConfigError, match=r"indices of one length, the batch, got \{'r': 5, 's': 3\}"):
        evaluate(rich_map(), arguments, shorter)


def test_an_index_on_another_device_is_refused() -> None:
    arguments, indices = rich_arguments(batch=5, channels=2)
    index = Index(indices["s"].rows, indices["s"].size)
    index.rows = index.rows.to("meta")
    with pytest.raises(ConfigError, match="the index s on cpu"):
        evaluate(rich_map(), arguments, {**indices, "s": index})


def test_a_fallback_says_once_why() -> None:
    arguments, indices = rich_arguments(batch=5, channels=2, dtype=torch.bfloat16)
    _warn_once.cache_clear()
    with pytest.warns(UserWarning, match=r"no compiled kernel for torch\.bfloat16 on cpu") as said:
        for _ in range(3):
            results = evaluate(rich_map(), arguments, indices)
    assert len(said) == 1
    for found, expected in zip(
        results, evaluate(rich_map(), arguments, indices, executor=Reference()), strict=True
    ):
        assert torch.equal(found, expected)


def test_shapes_alone_need_no_kernel_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(default_executor(torch.empty(2, device="meta")), Reference)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, i: ([], i, None), r"expected \d arguments, got 0"),
        (
            lambda a, i: ([a[0].to(torch.complex128), *a[1:]], i, None),
            "argument 0 to be a floating-point tensor",
        ),
        (lambda a, i: ([a[0].detach().numpy(), *a[1:]], i, None), "argument 0 .* got a ndarray"),
        (lambda a, i: (a, {name: index.rows for name, index in i.items()}, None), "to be an Index"),
        (lambda a, i: (a, i, "cpu"), "expected an executor such as .* got 'cpu'"),
        (lambda a, i: (a, i, Reference), "expected an executor such as .* got <class"),
    ],
)
def test_what_does_not_fit_is_named(change, message: str) -> None:
    arguments, indices, executor = change(*rich_arguments(batch=5, channels=2))
    with pytest.raises(ConfigError, match=message):
        evaluate(rich_map(), arguments, indices, executor=executor)
