"""Ranks by number and by share of a dense weight, and how they are written and refused."""

from collections.abc import Sequence
from math import prod

import pytest
import torch

from sciten.errors import ConfigError
from sciten.neural_operators import CPFactors, Dense, Factorization, TTFactors, TuckerFactors
from sciten.neural_operators.factorizations import factorization_from


@pytest.mark.parametrize("kind", [CPFactors, TuckerFactors, TTFactors])
@pytest.mark.parametrize("share", [0.002, 0.01, 0.05, 0.2, 0.8])
def test_budgets_are_kept_and_used(kind: type[CPFactors], share: float) -> None:
    shape = (32, 32, 16, 9)
    size = sum(torch.Size(factor).numel() for factor in kind(share).shapes(shape))
    budget = share * torch.Size(shape).numel()
    assert size <= budget or max(kind(share).shapes(shape)[0]) == 1
    assert size >= 0.75 * budget


@pytest.mark.parametrize("share", [0.002, 0.01, 0.05, 0.2, 0.9])
def test_ranks_of_a_tensor_train_leave_no_room_for_one_more(share: float) -> None:
    shape = (24, 20, 16, 9)
    most = [24, 144, 9]
    ranks = [core[2] for core in TTFactors(share).shapes(shape)[:-1]]
    assert _numbers(shape, ranks) <= share * prod(shape)
    for k, rank in enumerate(ranks):
        assert rank <= most[k]
        more = [*ranks[:k], rank + 1, *ranks[k + 1 :]]
        assert rank == most[k] or _numbers(shape, more) > share * prod(shape)


def _numbers(shape: Sequence[int], ranks: Sequence[int]) -> int:
    bonds = [1, *ranks, 1]
    return sum(bonds[k] * n * bonds[k + 1] for k, n in enumerate(shape))


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected 4 ranks from 1 to at most"):
        TuckerFactors([9, 1, 1, 1]).shapes((4, 4, 4, 4))
    for factorization, otherwise in (
        (CPFactors(8.0), "a whole number of products"),
        (TuckerFactors(8), "a sequence of 3 ranks"),
        (TTFactors(1.5), "a sequence of 2 ranks"),
    ):
        with pytest.raises(
            ConfigError, match=f"share of the dense weight between 0 and 1, or {otherwise}, got "
        ):
            factorization.shapes((4, 4, 4))
    for kind in (CPFactors, TuckerFactors, TTFactors):
        with pytest.raises(ConfigError, match=r"expected \d ranks? from 1 to at most .* got "):
            kind(None).shapes((4, 4, 4))
    with pytest.raises(ConfigError, match="expected kind"):
        factorization_from({"kind": "Tuker"})
    with pytest.raises(ConfigError, match=r"expected kind .* got 'TuckerFactors'"):
        factorization_from("TuckerFactors")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "factorization",
    [Dense(), CPFactors(5), CPFactors(0.1), TuckerFactors([3, 2]), TTFactors(0.3)],
    ids=str,
)
def test_descriptions_describe(factorization: Factorization) -> None:
    assert factorization_from(factorization.description()) == factorization
