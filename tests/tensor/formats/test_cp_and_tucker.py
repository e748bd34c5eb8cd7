from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor import CP, Tucker

kinds = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([torch.float64, torch.complex128]),
        "batch_shape": st.sampled_from([(), (2,), (2, 3)]),
    }
)
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def cp(shape: tuple[int, ...], rank: int = 3, seed: int = 0, **options: object) -> CP:
    return CP.random(shape, rank, generator=torch.Generator().manual_seed(seed), **options)


def tucker(shape: tuple[int, ...], rank: int = 3, seed: int = 0, **options: object) -> Tucker:
    generator = torch.Generator().manual_seed(seed)
    return Tucker.random(shape, [rank] * len(shape), generator=generator, **options)


MAKERS = pytest.mark.parametrize("make", [cp, tucker])


def dense(x: CP | Tucker) -> Tensor:
    """Sums of outer products, entry by entry of the core."""
    result = x.factors[0].new_zeros(*x.batch_shape, *x.shape)
    core = x.core if isinstance(x, Tucker) else None
    places = np.ndindex(*x.ranks) if core is not None else [(a,) * len(x.factors) for a in range(x.ranks[0])]
    for place in places:
        term = core[(..., *place)] if core is not None else x.weights[..., place[0]]
        for factor, a in zip(x.factors, place, strict=True):
            column = factor[..., a]
            n_batch = len(x.batch_shape)
            term = term[..., None] * column.reshape(*x.batch_shape, *[1] * (term.ndim - n_batch), -1)
        result = result + term
    return result


@MAKERS
@settings(max_examples=30, deadline=None)
@given(shape=shapes, kind=kinds)
def test_the_algebra_is_that_of_full_tensors(
    make: Callable[..., CP | Tucker], shape: tuple[int, ...], kind: dict
) -> None:
    x, y = make(shape, 3, 0, **kind), make(shape, 2, 1, **kind)
    a, b = dense(x), dense(y)
    axes = tuple(range(len(x.batch_shape), a.ndim))
    torch.testing.assert_close(x.full(), a)
    places = torch.from_numpy(np.argwhere(np.ones(shape)))
    torch.testing.assert_close(x.at(places), a.flatten(len(x.batch_shape)))
    torch.testing.assert_close((x + y).full(), a + b)
    torch.testing.assert_close((x - 2.5 * y).full(), a - 2.5 * b)
    torch.testing.assert_close((x * y).full(), a * b)
    torch.testing.assert_close((-x / 4).full(), -a / 4)
    torch.testing.assert_close(x.inner(y), (a.conj() * b).sum(axes))
    torch.testing.assert_close(x.norm(), a.abs().square().sum(axes).sqrt())
    torch.testing.assert_close(x.conj().full(), a.conj())
    again = type(x).from_arrays(x.to_arrays())
    assert all(map(torch.equal, again.cores, x.cores))


@settings(max_examples=30, deadline=None)
@given(shape=shapes, kind=kinds, tolerance=st.sampled_from([0.0, 1e-10, 1e-2, 0.3, 0.9]))
def test_rounding_keeps_its_error(shape: tuple[int, ...], kind: dict, tolerance: float) -> None:
    x = tucker(shape, 4, **kind)
    rounded = x.round(tolerance)
    error = (rounded.full() - x.full()).flatten(len(x.batch_shape)).norm(dim=-1)
    assert bool((error <= (tolerance + 1e-14) * x.norm()).all())
    for factor in rounded.factors:
        identity = torch.eye(factor.shape[-1], dtype=factor.dtype)
        torch.testing.assert_close(factor.mH @ factor, identity.expand(*x.batch_shape, -1, -1))


def test_rounding_finds_the_ranks_of_sums() -> None:
    x = tucker((6, 5, 4), 2)
    assert (x + x).round().ranks == (2, 2, 2)
    assert (x + tucker((6, 5, 4), 1, 1)).round().ranks == (3, 3, 3)
    assert (x * 0).round().ranks == (1, 1, 1)
    assert x.round(ranks=[1, None, 2]).ranks[0] == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradients_of_rounding_are_those_of_finite_differences(dtype: torch.dtype) -> None:
    x = tucker((3, 4, 2), 1, dtype=dtype)
    sums = x + x * 0.5 + tucker((3, 4, 2), 1, 1, dtype=dtype)
    weights = tucker((3, 4, 2), 2, 9, dtype=dtype)

    def value(core: Tensor, *factors: Tensor) -> Tensor:
        rounded = Tucker(core, factors).round(1e-6, ranks=[2, 2, 2])
        return torch.stack([rounded.inner(weights), (rounded * rounded).inner(weights)])

    given = [t.clone().requires_grad_() for t in (sums.core, *sums.factors)]
    assert torch.autograd.gradcheck(value, given)


def test_columns_of_unit_norm() -> None:
    x = cp((3, 4), 3)
    found = CP(x.weights, (x.factors[0], x.factors[1] * torch.tensor([1.0, 0.0, 2.0]))).normalised()
    torch.testing.assert_close(found.factors[0].norm(dim=0), torch.ones(3).double())
    assert float(found.weights[1]) == 0
    torch.testing.assert_close(x.normalised().full(), x.full())


@MAKERS
def test_they_say_what_they_are(make: Callable[..., CP | Tucker]) -> None:
    text = repr(make((64, 32), 5))
    ranks, stored = ("(5,)", "485") if make is cp else ("(5, 5)", "505")
    assert (
        text
        == f"{make((2,), 1).__class__.__name__}(64 x 32, ranks={ranks}, float64, {stored} numbers for 2,048 entries)"
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: CP(torch.ones(2), ()), "CP: expected at least one factor"),
        (
            lambda: CP(torch.ones(2), (torch.ones(3, 3),)),
            r"CP: expected factor 0 of 2 columns.* got \[3, 3\]",
        ),
        (lambda: CP(torch.ones(2), (torch.ones(3, 2).double(),)), "CP: expected cores of one dtype"),
        (lambda: Tucker(torch.ones(2), ()), "Tucker: expected at least one factor"),
        (
            lambda: Tucker(torch.ones(2, 3), (torch.ones(4, 2), torch.ones(4, 2))),
            "Tucker: expected factor 1 of 3 columns",
        ),
        (lambda: Tucker(torch.ones(2), (torch.ones(4, 2), torch.ones(4, 2))), "Tucker: expected core"),
        (lambda: cp((2, 3)) + cp((3, 2)), r"CP: \+ expects equal modes"),
        (lambda: cp((2, 3)) + tucker((2, 3)), r"CP: \+ expects another one, got a Tucker"),
        (lambda: tucker((2, 3)).round(ranks=[1]), "ranks of at least 1 for 2 modes"),
        (lambda: cp((2, 3)).at(torch.tensor([[0, 3]])), "within the shape"),
        (lambda: CP.from_arrays({"n_factors": 1}), "'weights' is missing"),
    ],
)
def test_what_does_not_fit_is_named(wrong, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()
