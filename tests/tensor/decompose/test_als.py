from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor import CP, TensorTrain, TreeTensor, Tucker
from sciten.tensor.decompose import CPResult, RandomStart, SingularStart, cp_als
from sciten.tensor.formats import Format, Tree
from sciten.tensor.formats.convert import to_tensor_train, to_tree_tensor, to_tucker


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def known(shape: tuple[int, ...] = (6, 5, 7), rank: int = 3, dtype: torch.dtype = torch.float64) -> CP:
    return CP.random(shape, rank, generator=seeded(7), dtype=dtype)


FORMS: dict[str, Callable[[CP], Any]] = {
    "full": CP.full,
    "CP": lambda x: x,
    "CP, needlessly": lambda x: x * 0.5 + x * 0.5,
    "Tucker": to_tucker,
    "TensorTrain": to_tensor_train,
    "TreeTensor": lambda x: to_tree_tensor(x, Tree.balanced(len(x.factors))),
}


def true_error(found: CPResult, dense: Tensor) -> float:
    return float((found.cp.full() - dense).norm() / dense.norm())


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_sums_of_outer_products_are_found(form: str, dtype: torch.dtype) -> None:
    x = known(dtype=dtype)
    found = cp_als(FORMS[form](x), 3, tolerance=1e-10, generator=seeded())
    assert found.converged and found.error <= 1e-10 and found.cp.dtype == dtype
    assert true_error(found, x.full()) <= 2e-10
    assert "is within 1.00e-10" in found.message
    # Up to order and scale the decomposition is unique (Kruskal).
    for factor, expected in zip(found.cp.factors, x.normalised().factors, strict=True):
        assert float((factor.mH @ expected).abs().amax(0).min()) == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("form", list(FORMS))
def test_the_error_is_the_true_one(form: str) -> None:
    x = known(rank=5)
    found = cp_als(FORMS[form](x), 2, max_iterations=30, generator=seeded())
    assert found.error == pytest.approx(true_error(found, x.full()), rel=1e-6)
    assert not found.converged and found.error > 0.05


def test_the_error_never_grows() -> None:
    x = torch.randn(5, 6, 4, generator=seeded(), dtype=torch.float64)
    for nonnegative in (False, True):
        errors = [
            cp_als(
                x.abs(), 3, max_iterations=n, attempts=1, generator=seeded(), nonnegative=nonnegative
            ).error
            for n in range(1, 15)
        ]
        assert all(b <= a * (1 + 1e-12) for a, b in pairwise(errors))


@pytest.mark.parametrize("start", [RandomStart(), SingularStart(), SingularStart(oversampling=0)])
def test_starts(start: RandomStart | SingularStart) -> None:
    x = known().full()
    found = cp_als(x, 3, start=start, generator=seeded(1), tolerance=1e-9)
    assert found.converged and true_error(found, x) <= 2e-9
    again = cp_als(x, 3, start=start, generator=seeded(1), tolerance=1e-9)
    assert torch.equal(found.cp.weights, again.cp.weights)


def test_the_singular_start_spans_the_unfoldings() -> None:
    x = known((8, 9, 10), 3)
    for factor, expected in zip(SingularStart().factors(x, 3, seeded()), x.factors, strict=True):
        torch.testing.assert_close(factor @ (factor.mT @ expected), expected)
    # Two columns of a mode of length two, then normal ones.
    short = known((2, 9, 10), 3)
    assert SingularStart().factors(short, 5, seeded())[0].shape == (2, 5)


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("rank", [4, 8, 40])
def test_a_rank_that_is_too_high_is_no_harm(form: str, rank: int) -> None:
    x = known(rank=2)
    found = cp_als(FORMS[form](x), rank, tolerance=1e-6, generator=seeded())
    assert all(bool(torch.isfinite(core).all()) for core in found.cp.cores)
    assert found.converged and true_error(found, x.full()) <= 2e-6


def test_one_mode_and_two() -> None:
    for dtype in (torch.float64, torch.complex128):
        vector = torch.randn(5, generator=seeded(), dtype=dtype)
        assert cp_als(vector, 2, generator=seeded()).converged
        matrix = torch.randn(6, 5, generator=seeded(), dtype=dtype)
        found = cp_als(matrix, 3, generator=seeded())
        # Of two modes the best one is that of singular values.
        assert found.error == pytest.approx(
            float(torch.linalg.svdvals(matrix)[3:].norm() / matrix.norm()), rel=1e-3
        )
        assert "rests at" in found.message


def test_a_tensor_without_a_best_approximation_says_so() -> None:
    """a⊗a⊗b + a⊗b⊗a + b⊗a⊗a has rank three, and is as near as one likes to sums of two (de Silva and Lim 2008)."""
    a, b = torch.eye(2, dtype=torch.float64)
    terms = [[a, a, b], [a, b, a], [b, a, a]]
    x = sum(torch.einsum("i,j,k->ijk", *term) for term in terms)
    assert isinstance(x, Tensor)
    found = cp_als(x, 2, max_iterations=300, tolerance=1e-10, generator=seeded())
    assert not found.converged and found.error < 0.1
    assert found.error == pytest.approx(true_error(found, x), rel=1e-6)
    assert "another start" in found.message
    assert cp_als(x, 3, tolerance=1e-6, max_iterations=3000, generator=seeded()).converged


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_scales_do_not_matter(form: str, scale: float) -> None:
    x = known(rank=2) * scale
    found = cp_als(FORMS[form](x), 5, tolerance=1e-6, generator=seeded())
    assert found.converged and true_error(found, x.full()) <= 2e-6


@pytest.mark.parametrize("form", ["full", "TensorTrain", "Tucker"])
def test_nonnegative_factors(form: str) -> None:
    x = known()
    x = CP(x.weights.abs(), tuple(factor.abs() for factor in x.factors))
    found = cp_als(
        FORMS[form](x), 3, nonnegative=True, tolerance=1e-5, max_iterations=3000, generator=seeded()
    )
    assert all(bool((core >= 0).all()) for core in found.cp.cores)
    assert found.converged and true_error(found, x.full()) <= 2e-5
    # Of what is negative everywhere nothing can be had.
    worst = cp_als(-x.full(), 2, nonnegative=True, max_iterations=10, generator=seeded())
    assert not worst.converged and worst.error == pytest.approx(1, abs=1e-6)
    assert all(bool((core >= 0).all()) and bool(torch.isfinite(core).all()) for core in worst.cp.cores)


def test_more_attempts_find_what_one_does_not() -> None:
    x = CP.random((10,) * 5, 5, generator=seeded(2)).full()
    options: dict[str, Any] = {"start": RandomStart(), "tolerance": 1e-8}
    once = cp_als(x, 5, attempts=1, generator=seeded(11), **options)
    often = cp_als(x, 5, attempts=9, generator=seeded(11), **options)
    assert not once.converged and once.error > 0.01 and often.converged
    # Without one that converges, the best of all.
    two = [cp_als(x, 2, attempts=n, generator=seeded(), **options).error for n in (1, 2, 3)]
    assert two[0] >= two[1] >= two[2] > 0.1


def test_columns_that_are_nearly_parallel() -> None:
    """Plain steps need thousands of iterations here."""
    x = CP.random((8, 8, 8), 3, generator=seeded(3))
    x = CP(x.weights, tuple(factor[:, :1] + 0.4 * factor for factor in x.factors))
    found = cp_als(x.full(), 3, tolerance=1e-8, max_iterations=1000, attempts=1, generator=seeded())
    assert found.converged and true_error(found, x.full()) <= 2e-8


def test_weights_descend_and_columns_have_unit_norm() -> None:
    found = cp_als(known(rank=4).full(), 4, generator=seeded()).cp
    assert bool((found.weights.diff() <= 0).all())
    for factor in found.factors:
        torch.testing.assert_close(factor.norm(dim=0), torch.ones(4, dtype=torch.float64))


def test_zero_and_single_precision() -> None:
    zero = cp_als(torch.zeros(3, 4, dtype=torch.float64), 2, generator=seeded())
    assert zero.converged and zero.error == 0 and not zero.cp.full().any()
    x = known().full().float()
    found = cp_als(x, 3, tolerance=1e-5, generator=seeded())
    assert found.converged and found.cp.dtype == torch.float32


def test_many_modes_are_not_made_full() -> None:
    """Of 10^20 entries."""
    x = known((10,) * 20, 2)
    found = cp_als(to_tensor_train(x), 2, tolerance=1e-9, generator=seeded())
    assert found.converged
    assert float((to_tensor_train(found.cp) - to_tensor_train(x)).norm()) <= 1e-8 * float(
        to_tensor_train(x).norm()
    )


X = TensorTrain.random((2, 3), 2, generator=seeded())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: cp_als(X, 0, generator=seeded()), "a rank and a number of iterations of at least 1.* got 0"),
        (lambda: cp_als(X, 1, attempts=0, generator=seeded()), "at least one attempt, got 0"),
        (lambda: cp_als(X, 1, tolerance=2.0, generator=seeded()), "a tolerance from 0 to 1"),
        (lambda: cp_als(X * float("nan"), 1, generator=seeded()), "expected finite entries"),
        (lambda: cp_als(TensorTrain.identity((2, 2)), 1, generator=seeded()), "a vector without a batch"),
        (
            lambda: cp_als(CP.random((2,), 1, generator=seeded(), batch_shape=(2,)), 1, generator=seeded()),
            "a vector without a batch",
        ),
        (
            lambda: cp_als(torch.ones(2, 2).long(), 1, generator=seeded()),
            "a real or complex tensor with entries",
        ),
        (lambda: cp_als(torch.ones(2, 2) * 1e-30, 1, generator=seeded()), "squares torch.float32 can hold"),
        (lambda: cp_als(torch.ones(()), 1, generator=seeded()), "with entries"),
        (
            lambda: cp_als(X.to(dtype=torch.complex128), 1, nonnegative=True, generator=seeded()),
            "a real tensor for nonnegative factors",
        ),
    ],
)
def test_what_does_not_fit_is_named(wrong, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()


def test_results_are_values() -> None:
    found: Format = cp_als(known().full(), 3, generator=seeded()).cp
    assert isinstance(found, CP) and isinstance(to_tucker(found), Tucker)
    assert isinstance(to_tree_tensor(found, Tree.balanced(3)), TreeTensor)
