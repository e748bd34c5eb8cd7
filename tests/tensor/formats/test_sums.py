from functools import reduce
from math import exp, lgamma, log, prod
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sciten.errors import ConfigError
from sciten.tensor import TensorTrain
from sciten.tensor.formats import round_sum
from sciten.tensor.formats.sums import _sketch, _sketched, _swept


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def graded(shape: tuple[int, ...], count: int, ratio: float, **options: Any) -> list[TensorTrain]:
    """Terms whose norms fall, so that some are below the tolerance."""
    generator = seeded()
    return [TensorTrain.random(shape, 1, generator=generator, **options) * ratio**k for k in range(count)]


def dense(terms: list[TensorTrain]) -> Tensor:
    return reduce(torch.add, [term.full() for term in terms])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple),
    st.sampled_from([torch.float64, torch.complex128]),
    st.sampled_from([(), (2,), (2, 3)]),
    st.sampled_from([0.0, 1e-12, 1e-8, 1e-2, 0.3, 0.9]),
    st.integers(0, 100),
)
@example((4, 2, 2, 1, 4), torch.float64, (2, 3), 1e-12, 82)  # a bond with as many columns as its rank
def test_the_error_is_kept(
    shape: tuple[int, ...], dtype: torch.dtype, batch: tuple[int, ...], tolerance: float, seed: int
) -> None:
    terms = graded(shape, 6, 0.2, dtype=dtype, batch_shape=batch)
    found = round_sum(terms, tolerance, generator=seeded(seed))
    expected = dense(terms)
    error, norm = (t.flatten(len(batch)).norm(dim=-1) for t in (found.full() - expected, expected))
    assert bool((error <= (tolerance + 1e-13) * norm).all())


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-8, 1e-11])
def test_ranks_are_about_those_of_singular_values(tolerance: float) -> None:
    terms = graded((8,) * 6, 40, 0.4)
    best = reduce(TensorTrain.__add__, terms).round(tolerance)
    found = round_sum(terms, tolerance, generator=seeded())
    assert float((found.full() - dense(terms)).norm()) <= tolerance * float(dense(terms).norm())
    assert max(found.ranks) <= max(best.ranks) + 1 < 40


@pytest.mark.parametrize("ratio", [0.05, 0.5, 0.7])
def test_columns_are_added_until_the_error_is_kept(ratio: float) -> None:
    """Singular values fall slowly or fast, and tolerances lie between those that fit a number of columns."""
    terms = graded((5,) * 5, 40, ratio)
    expected = dense(terms)
    for exponent in range(1, 25):
        tolerance = 10 ** (-0.4 * exponent)
        found = round_sum(terms, tolerance, generator=seeded(exponent))
        assert float((found.full() - expected).norm()) <= tolerance * float(expected.norm())


def test_a_sum_of_equal_terms_has_their_rank() -> None:
    term = TensorTrain.random((6, 5, 4, 6), [3, 4, 2], generator=seeded())
    found = round_sum([term] * 30, 1e-10, generator=seeded())
    assert found.ranks == (1, 3, 4, 2, 1)
    torch.testing.assert_close(found.full(), 30 * term.full())


def test_a_rank_alone_is_nearly_the_best() -> None:
    terms = graded((8,) * 5, 30, 0.5)
    best = reduce(TensorTrain.__add__, terms).round(0.0, rank=6)
    found = round_sum(terms, rank=6, generator=seeded())
    assert found.ranks == (1, 6, 6, 6, 6, 1)
    errors = [float((x.full() - dense(terms)).norm()) for x in (found, best)]
    assert errors[0] <= 1.5 * errors[1]


def test_a_rank_bounds_what_a_tolerance_asks_for() -> None:
    found = round_sum(graded((5,) * 4, 20, 0.9), 1e-10, rank=3, generator=seeded())
    assert max(found.ranks) == 3


def test_sums_that_cancel() -> None:
    """The columns are increased to where no error is left: the estimate cannot get below rounding errors."""
    x, small = (TensorTrain.random((6,) * 5, 4, generator=seeded(k)) for k in (0, 1))
    found = round_sum([x, small * 1e-9, -x], 1e-4, generator=seeded())
    assert float((found.full() - 1e-9 * small.full()).norm()) <= 2e-4 * 1e-9 * float(small.norm())
    assert max(found.ranks) == 4
    zero = round_sum([x, -x], 1e-4, generator=seeded())
    assert float(zero.norm()) <= 1e-12 * float(x.norm())
    assert set(round_sum([x * 0, x * 0], 1e-4, generator=seeded()).ranks) == {1}


def test_operators() -> None:
    merged = graded((6, 6, 6), 8, 0.1)
    terms = [TensorTrain(tuple(c.unflatten(1, (2, 3)) for c in x.cores), operator=True) for x in merged]
    found = round_sum(terms, 1e-6, generator=seeded())
    assert found.operator and found.modes == ((2, 3),) * 3
    assert float((found.full() - dense(terms)).norm()) <= 1e-6 * float(dense(terms).norm())


def test_many_modes() -> None:
    """In 60 modes of length two, with the error from the norm of the difference."""
    terms = [TensorTrain.random((2,) * 60, 2, generator=seeded(k)) * 0.1**k for k in range(8)]
    found = round_sum(terms, 1e-5, generator=seeded())
    total = reduce(TensorTrain.__add__, terms)
    assert float((total - found).norm()) <= 1e-5 * float(total.norm())
    assert max(found.ranks) <= max(total.round(1e-5).ranks) + 1


class Largest(TorchDispatchMode):
    """Watches how large the tensors are that are made."""

    numbers = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        for one in result if isinstance(result, tuple | list) else [result]:
            if isinstance(one, Tensor):
                self.numbers = max(self.numbers, one.numel())
        return result


def test_the_cores_of_the_sum_are_not_formed() -> None:
    terms = [TensorTrain.random((10,) * 5, 4, generator=seeded(k % 5)) for k in range(100)]
    with Largest() as watch:
        found = round_sum(terms, 1e-8, generator=seeded())
    assert max(found.ranks) == 20
    assert watch.numbers < (100 * 4) ** 2  # even one slice of a core of the sum


def test_estimates_are_those_of_what_the_projections_lose() -> None:
    terms = [x._chain() for x in graded((6,) * 4, 12, 0.5)]
    expected = dense([TensorTrain(tuple(x)) for x in terms])
    estimates, errors = [], []
    for seed in range(40):
        generator = seeded(seed)
        sketches, tests = (_sketched(terms, [n] * 3, generator) for n in (4, 20))
        cores, missed = _swept(terms, sketches, tests)
        estimates.append(torch.stack(missed).square().sum())
        errors.append((TensorTrain(tuple(cores)).full() - expected).norm().square())
    ratios = torch.stack(estimates) / torch.stack(errors)
    assert float(ratios.mean()) == pytest.approx(1, abs=0.15)
    assert float(ratios.min()) > 1 / 25


def test_sketches_are_products_with_their_columns() -> None:
    train = TensorTrain.random((2, 3, 4), 2, generator=seeded())
    sketch = _sketch(train.cores, [5, 6], seeded(1))
    last = sketch[1][..., 0]  # [6, 4]
    columns = torch.einsum("anb,bm->anm", sketch[0], last)  # [5, 3, 4]
    (found,) = _sketched([train.cores], [5, 6], seeded(1))
    torch.testing.assert_close(
        train.cores[0][0] @ found[0], torch.einsum("inm,anm->ia", train.full(), columns)
    )
    torch.testing.assert_close(found[1], train.cores[2][..., 0] @ last.T)
    wide = _sketch(TensorTrain.ones((2, 30, 30)).cores, [200, 50], seeded())
    assert float(torch.einsum("anb,bmc->anm", *wide).square().mean()) == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize("d", [2, 3, 6, 10, 60, 200])
def test_the_stated_probability_bounds_that_of_a_wrong_estimate(d: int) -> None:
    """Chernoff's bound for a product of averages of squared normal numbers to be below 1/25, at each bond."""
    samples = max(20, 4 * d)
    half = samples / 2
    total = 0.0
    for averages in range(1, d):
        powers = np.linspace(0.1, half - 0.1, 200).tolist()
        bounds = (
            s * log(1 / 25) + averages * (s * log(half) + lgamma(half - s) - lgamma(half)) for s in powers
        )
        total += exp(min(bounds))
    assert total < 4e-5 * d


def test_it_does_what_its_seed_says() -> None:
    terms = graded((4,) * 4, 5, 0.5)
    first, second = (round_sum(terms, 1e-6, generator=seeded(3)) for _ in range(2))
    assert all(map(torch.equal, first.cores, second.cores))
    assert prod(first.shape) == 256


X = TensorTrain.random((2, 3), 2, generator=seeded())


@pytest.mark.parametrize(
    ("terms", "options", "message"),
    [
        ([], {"tolerance": 0.1}, "at least one term"),
        ([X], {}, "a tolerance or a rank, got neither"),
        ([X], {"tolerance": 1.5}, "a tolerance from 0 to 1, got 1.5"),
        ([X], {"rank": 0}, "a rank of at least 1, got 0"),
        ([X, X.kron(X)], {"rank": 1}, "round_sum expects equal modes"),
        ([X, 1], {"rank": 1}, "round_sum expects another one, got a int"),
        ([X * float("nan"), X], {"tolerance": 0.1}, "expected finite entries"),
        (
            [TensorTrain(tuple(core.clone().requires_grad_() for core in X.cores))],
            {"rank": 1},
            "terms without gradients.*add them and `round` the sum",
        ),
    ],
)
def test_what_does_not_fit_is_named(terms: list, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        round_sum(terms, **options, generator=seeded())
