"""Oracles are the functions themselves, on all places of small grids and on others of large ones."""

from collections.abc import Callable
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor import CP, TensorTrain
from sciten.tensor.decompose.cross import Greedy, Maxvol, apply, tt_cross
from sciten.tensor.decompose.cross.entries import Method
from sciten.tensor.decompose.cross.maxvol import maxvol
from sciten.tensor.decompose.svd import hosvd

METHODS = pytest.mark.parametrize("method", [Maxvol(), Greedy()], ids=["maxvol", "greedy"])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def everywhere(shape: tuple[int, ...]) -> Tensor:
    return torch.stack(torch.unravel_index(torch.arange(prod(shape)), shape), 1)


def largest_error(found: TensorTrain, function: Callable[[Tensor], Tensor]) -> float:
    """Of all entries, relative to the largest one."""
    values = function(everywhere(found.shape)).reshape(found.shape)
    return float((found.full() - values).abs().max() / values.abs().max())


def kink(indices: Tensor) -> Tensor:
    """Others converge on this one to something that is wrong by 3.8e-4."""
    return 1 / (0.01 + (indices.sum(1).double() / 9 - 2.5).abs())


@METHODS
@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple),
    rank=st.integers(1, 3),
    dtype=st.sampled_from([torch.float64, torch.complex128]),
    seed=st.integers(0, 1000),
)
def test_trains_are_found_again(
    method: Method, shape: tuple[int, ...], rank: int, dtype: torch.dtype, seed: int
) -> None:
    x = TensorTrain.random(shape, rank, generator=generator(seed), dtype=dtype)
    found = tt_cross(x.at, shape, 1e-9, method=method)
    assert found.converged and found.message == "" and found.error <= 1e-9
    assert found.tensor.dtype == dtype and found.tensor.shape == shape
    assert largest_error(found.tensor, x.at) <= 1e-9


@METHODS
def test_ranks_are_those_of_the_function(method: Method) -> None:
    x = TensorTrain.random([6] * 8, 5, generator=generator(3))
    found = tt_cross(x.at, x.shape, 1e-10, method=method)
    assert found.converged and found.tensor.ranks == (1, *[5] * 7, 1)
    assert float((found.tensor - x).norm() / x.norm()) < 1e-9
    assert found.evaluations < 10**5 < prod(x.shape) / 10


@METHODS
@pytest.mark.parametrize("seed", range(3))
def test_a_kink_is_found_or_the_result_says_that_it_is_wrong(method: Method, seed: int) -> None:
    shape = (10,) * 6
    found = tt_cross(kink, shape, 1e-10, method=method, generator=generator(seed))
    error = largest_error(found.tensor, kink)
    assert error <= 1e-10 if found.converged else found.error > 1e-10
    assert found.converged


@METHODS
def test_what_cannot_be_resolved_is_reported(method: Method) -> None:
    shape = (10,) * 6
    found = tt_cross(kink, shape, 1e-10, method=method, max_rank=12)
    assert not found.converged and max(found.tensor.ranks) <= 12
    assert "the largest rank, 12, is reached" in found.message and "max_rank" in found.message
    true = largest_error(found.tensor, kink)
    assert 1e-10 < found.error <= true * (1 + 1e-9) and found.error > 0.03 * true

    noise = torch.randn(prod(shape), generator=generator(), dtype=torch.float64)
    weights = torch.tensor([10**k for k in range(6)])
    found = tt_cross(lambda i: noise[i @ weights], shape, 1e-3, method=method, max_evaluations=10**5)
    assert not found.converged and found.evaluations <= 10**5
    assert "100000 evaluations were not enough" in found.message and found.error > 0.1


def test_too_few_evaluations_for_anything_leave_nothing() -> None:
    found = tt_cross(kink, (10,) * 6, max_evaluations=100)
    assert not found.converged and found.error == torch.inf and float(found.tensor.norm()) == 0


WEIGHTS = 2 ** torch.arange(29, -1, -1)
QUANTISED: dict[str, Callable[[Tensor], Tensor]] = {
    "sin": lambda k: torch.sin(1e-7 * k),
    "exp": lambda k: torch.exp(-k / 2.0**30),
    "complex exp": lambda k: torch.exp(1e-6j * k),
    "inverse": lambda k: 1 / (1 + k),
    "step": lambda k: k >= 123456789,
    "early step": lambda k: k < 5,
    "root": lambda k: torch.sqrt(k / 2.0**30),
}


@METHODS
@pytest.mark.parametrize("name", list(QUANTISED))
def test_quantised_vectors_of_a_billion_entries(method: Method, name: str) -> None:
    def function(bits: Tensor) -> Tensor:
        return QUANTISED[name]((bits @ WEIGHTS).double())

    found = tt_cross(function, [2] * 30, 1e-9, method=method)
    # All integers near ends, powers of two and the steps, beside random ones.
    marks = [0, 2**30 - 1, 123456789, *(2**k for k in range(30))]
    near = (torch.tensor(marks)[:, None] + torch.arange(-20, 21)).flatten().clamp(0, 2**30 - 1)
    places = torch.cat([near, torch.randint(2**30, (10**4,), generator=generator(9))])
    bits = places[:, None] // WEIGHTS % 2
    values = function(bits) * 1.0
    error = (found.tensor.at(bits) - values).abs().max() / values.abs().double().max()
    assert found.converged, found.message
    assert float(error) <= 1e-9
    assert max(found.tensor.ranks) <= 30
    if name in ("exp", "complex exp", "sin"):
        assert max(found.tensor.ranks) == (2 if name == "sin" else 1)


@METHODS
def test_peaks_on_a_desert_of_zeros(method: Method) -> None:
    shape = (10,) * 6
    peak = torch.tensor([[3, 1, 4, 1, 5, 9]])

    def function(indices: Tensor) -> Tensor:
        return (indices - peak).square().sum(1).lt(5).double() * (2.0 + indices[:, 2])

    found = tt_cross(function, shape, 1e-10, method=method)
    if not found.converged:  # three in ten thousand places are not zero
        assert "give places" in found.message
    found = tt_cross(function, shape, 1e-10, method=method, start=peak)
    assert found.converged
    assert largest_error(found.tensor, function) <= 1e-10


@METHODS
def test_a_corner_that_nothing_points_to(method: Method) -> None:
    shape = (10,) * 6

    def function(indices: Tensor) -> Tensor:
        return torch.exp(-0.1 * indices.sum(1).double()) + 0.01 * (indices == 9).all(1)

    for seed in range(3):
        found = tt_cross(function, shape, method=method, generator=generator(seed))
        assert found.converged and found.tensor.ranks == (1, *[2] * 5, 1)
        assert largest_error(found.tensor, function) <= 1e-10


def test_zeros_are_believed_where_all_of_them_were_seen() -> None:
    def zero(indices: Tensor) -> Tensor:
        return torch.zeros(len(indices), dtype=torch.complex64)

    found = tt_cross(zero, (30, 40, 5))
    assert found.tensor.dtype == torch.complex64
    assert found.converged and found.error == 0 and float(found.tensor.norm()) == 0
    found = tt_cross(zero, (300, 40, 50))
    assert not found.converged and "values were zero" in found.message and "start" in found.message


@METHODS
@pytest.mark.parametrize("shape", [(1,), (7,), (2, 1, 3), (1, 1), (5000,), (200, 300)])
def test_small_and_odd_shapes(method: Method, shape: tuple[int, ...]) -> None:
    def function(indices: Tensor) -> Tensor:
        return (indices.double() + 1).prod(1) + 3

    found = tt_cross(function, shape, 1e-12, method=method)
    assert found.converged
    assert largest_error(found.tensor, function) <= 1e-12
    constant = tt_cross(lambda i: torch.full((len(i),), -2), shape, method=method).tensor
    assert set(constant.ranks) == {1}
    torch.testing.assert_close(constant.full(), torch.full(shape, -2.0, dtype=torch.float64))


def test_values_that_hide_beside_one_large_entry() -> None:
    shape = (16,) * 4

    def function(indices: Tensor) -> Tensor:
        return torch.exp(-((indices - 7.0) ** 2).sum(1) * 20) + 1e-6 * torch.cos(indices.sum(1).double())

    found = tt_cross(function, shape, 1e-9)
    assert found.converged
    assert largest_error(found.tensor, function) <= 1e-9


def test_functions_are_called_in_few_batches_and_on_int64() -> None:
    calls = []

    def function(indices: Tensor) -> Tensor:
        assert indices.dtype == torch.int64
        calls.append(len(indices))
        return (1 + indices.double().sum(1)).sqrt()

    found = tt_cross(function, (50,) * 5, 1e-9)
    assert found.converged and sum(calls) == found.evaluations
    assert len(calls) < 200


def test_a_train_that_could_not_be_verified_is_not_called_right() -> None:
    x = TensorTrain.random([10] * 6, 4, generator=generator())
    whole = tt_cross(x.at, x.shape)
    found = tt_cross(x.at, x.shape, max_evaluations=whole.evaluations - 1)
    assert whole.converged and not found.converged
    assert "were not enough to verify this" in found.message
    torch.testing.assert_close(found.tensor.full(), x.full())


def test_the_same_generator_gives_the_same_train() -> None:
    a, b = (tt_cross(kink, (10,) * 6, 1e-3, generator=generator(5)).tensor for _ in range(2))
    assert all(map(torch.equal, a.cores, b.cores))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_rows_of_large_volume(dtype: torch.dtype) -> None:
    matrix = torch.randn(60, 7, generator=generator(), dtype=dtype)
    rows, coefficients = maxvol(matrix)
    assert len(set(rows.tolist())) == 7
    assert float(coefficients.abs().max()) <= 1.05 + 1e-9
    torch.testing.assert_close(coefficients @ matrix[rows], matrix)
    torch.testing.assert_close(coefficients[rows], torch.eye(7, dtype=dtype))


def test_functions_of_tensors_in_any_format() -> None:
    shape = (6, 7, 8)
    x = CP.random(shape, 2, generator=generator())
    y = hosvd(torch.rand(shape, generator=generator(), dtype=torch.float64) + 1)
    positive = apply(lambda a: a * a + 1, [x])
    assert positive.converged
    torch.testing.assert_close(positive.tensor.full(), x.full() ** 2 + 1)
    root = apply(torch.sqrt, [positive.tensor])
    torch.testing.assert_close(root.tensor.full(), (x.full() ** 2 + 1).sqrt())
    quotient = apply(torch.div, [x, y])
    torch.testing.assert_close(quotient.tensor.full(), x.full() / y.full())


def test_nothing_is_recorded_for_gradients() -> None:
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    found = tt_cross(lambda i: scale * (1 + i.sum(1)), (3, 4))
    assert not any(core.requires_grad for core in found.tensor.cores)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: tt_cross(kink, ()), "tt_cross: expected a shape"),
        (lambda: tt_cross(kink, (3, 0)), "tt_cross: expected a shape"),
        (lambda: tt_cross(kink, (3, 3), 0), "tt_cross: expected a tolerance between 0 and 1, got 0"),
        (lambda: tt_cross(kink, (3, 3), max_rank=0), "max_rank and max_evaluations of at least 1"),
        (lambda: tt_cross(lambda i: i, (3, 3)), r"return values \[9\] for indices \[9, 2\], got \[9, 2\]"),
        (lambda: tt_cross(lambda i: 1.0, (3, 3)), "got a float"),  # type: ignore[arg-type,return-value]
        (
            lambda: tt_cross(lambda i: 1 / (i.sum(1) - 3).double(), (1, 5)),
            r"expected finite values, got inf at the index \(0, 3\)",
        ),
        (
            lambda: tt_cross(lambda i: (i.sum(1) - 1.0).sqrt(), (2, 2)),
            r"expected finite values, got nan at the index \(0, 0\)",
        ),
        (lambda: tt_cross(kink, (3, 3), start=torch.tensor([[0, 3]])), "start within the shape"),
        (lambda: tt_cross(kink, (3, 3), start=torch.tensor([0, 1])), r"start as int64 indices \[m, 2\]"),
        (lambda: apply(torch.sqrt, []), "apply: expected at least one tensor"),
        (
            lambda: apply(torch.add, [TensorTrain.ones([2, 3]), TensorTrain.ones([3, 2])]),
            "apply: expected vectors without a batch, of equal modes",
        ),
        (lambda: apply(torch.sqrt, [TensorTrain.identity([2, 3])]), "apply: expected vectors"),
        (lambda: apply(torch.sqrt, [-TensorTrain.ones([2, 3])]), "apply: expected finite values, got nan"),
        (lambda: tt_cross(kink, [50.0, 3]), r"a shape of modes of at least one index, got \[50\.0, 3\]"),  # type: ignore[list-item]
        (lambda: tt_cross(kink, 5), "a shape of modes of at least one index, got 5"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_named(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()
