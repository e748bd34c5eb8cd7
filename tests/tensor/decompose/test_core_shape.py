"""The oracle is a search through all ranks."""

from collections.abc import Callable
from itertools import product
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.decompose.core_shape import (
    ExactRanks,
    GreedyRanks,
    core_shape,
    higher_order_singular_values,
)

METHODS = pytest.mark.parametrize("method", [GreedyRanks(), ExactRanks()], ids=["greedy", "exact"])


def spectra(shape: tuple[int, ...], decay: float, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.rand(n, generator=generator, dtype=torch.float64) * decay ** torch.arange(n)).sort(
            descending=True
        )[0]
        for n in shape
    ]


def least_cost(singular_values: list[Tensor], budget: int) -> float:
    lengths = [len(s) for s in singular_values]
    tails = [[float(s[r:].square().sum()) for r in range(len(s) + 1)] for s in singular_values]
    return min(
        sum(tail[r] for tail, r in zip(tails, ranks, strict=True))
        for ranks in product(*(range(1, n + 1) for n in lengths))
        if prod(ranks) + sum(n * r for n, r in zip(lengths, ranks, strict=True)) <= budget
    )


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple),
    decay=st.sampled_from([0.1, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 100),
    share=st.floats(0, 1),
)
def test_exact_is_the_best_of_all(shape: tuple[int, ...], decay: float, seed: int, share: float) -> None:
    singular_values = spectra(shape, decay, seed)
    least, most = 1 + sum(shape), prod(shape) + sum(n * n for n in shape)
    budget = least + int(share * (most - least))
    exact = core_shape(singular_values, budget)
    greedy = core_shape(singular_values, budget, method=GreedyRanks())
    best = least_cost(singular_values, budget)
    assert exact.bound == pytest.approx(best, rel=1e-8, abs=1e-14)
    assert greedy.bound >= exact.bound
    for found in (exact, greedy):
        assert found.size == prod(found.ranks) + sum(n * r for n, r in zip(shape, found.ranks, strict=True))
        assert found.size <= budget


@METHODS
def test_the_bound_is_one_of_the_error(method: GreedyRanks | ExactRanks) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(9, 8, 7, 3, generator=generator, dtype=torch.float64)
    for budget in (100, 300, 800):
        found = core_shape(higher_order_singular_values(x), budget, shape=x.shape, method=method)
        tucker = found.decompose(x)
        assert tucker.ranks == found.ranks and tucker.stored == found.size <= budget
        error = float((tucker.full() - x).square().sum())
        assert error <= found.bound * (1 + 1e-12)
        assert found.bound <= 4 * error  # as many times as there are modes


def test_a_large_budget_loses_nothing() -> None:
    found = core_shape(spectra((5, 4, 3), 0.5, 0), 10**6)
    assert found.bound == 0 and found.ranks == (5, 4, 3)


def test_values_of_unfoldings() -> None:
    x = torch.randn(3, 4, 20, generator=torch.Generator().manual_seed(1), dtype=torch.complex128)
    found = higher_order_singular_values(x)
    assert [len(s) for s in found] == [3, 4, 12]
    for s in found:
        assert float(s.norm()) == pytest.approx(float(x.norm()))


def test_a_mode_longer_than_its_spectrum_costs_its_length() -> None:
    x = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = core_shape(higher_order_singular_values(x), 200, shape=x.shape)
    assert found.size == prod(found.ranks) + 2 * found.ranks[0] + 20 * found.ranks[1] + 3 * found.ranks[2]


def test_ranks_of_wide_range() -> None:
    """Twenty orders of magnitude in the costs: what is small is not lost in a gap of the solver."""
    singular_values = [
        10.0 ** -torch.arange(8, dtype=torch.float64),
        10.0 ** -torch.arange(0, 16, 2).double(),
    ]
    for budget in (17, 40, 60, 90, 120):
        found = core_shape(singular_values, budget)
        assert found.bound == pytest.approx(least_cost(singular_values, budget), rel=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: core_shape([torch.ones(3), torch.ones(4)], 7), "a budget of at least 8"),
        (lambda: core_shape([torch.ones(3)], 7, shape=(3, 4)), "singular values of each of 2 modes, got 1"),
        (lambda: core_shape([], 7), "core_shape: expected singular values"),
        (lambda: core_shape([torch.arange(3.0)], 70), "descending"),
        (lambda: core_shape([torch.tensor([torch.nan])], 70), "finite singular values"),
        (lambda: core_shape([torch.ones(3)], 70, shape=(2,)), "1 to 2 finite singular values"),
    ],
)
def test_what_does_not_fit_is_named(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()
