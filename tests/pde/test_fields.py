from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.fields import as_field, evaluated, sample
from sciten.tensor import CP, TensorTrain

POINTS = [torch.linspace(0.0, 1.0, n, dtype=torch.float64) for n in (4, 3, 5)]
EVERY = torch.cartesian_prod(*POINTS)


def wave(x: Tensor) -> Tensor:
    return torch.sin(x[:, 0] + 2 * x[:, 1]) + x[:, 2] ** 2


def full(x: Tensor) -> Tensor:
    return wave(x).reshape(4, 3, 5)


def test_small_products_of_points_are_evaluated_everywhere_once() -> None:
    seen = []

    def counted(x: Tensor) -> Tensor:
        seen.append(len(x))
        return wave(x)

    torch.testing.assert_close(sample(counted, POINTS, 1e-12).full(), full(EVERY))
    assert sum(seen) == 60


def test_many_points_are_sampled_to_the_tolerance() -> None:
    points = [torch.linspace(0.0, 1.0, 30, dtype=torch.float64)] * 5
    seen = []

    def counted(x: Tensor) -> Tensor:
        seen.append(len(x))
        return 1 / (1 + x.sum(-1))

    train = sample(counted, points, 1e-8)
    indices = torch.randint(30, (500, 5), generator=torch.Generator().manual_seed(0))
    expected = 1 / (1 + points[0][indices].sum(-1))
    assert float((train.at(indices) - expected).norm() / expected.norm()) < 1e-7
    assert sum(seen) < 30**5 / 50


def test_what_cannot_be_resolved_is_refused() -> None:
    """Noise has no ranks but the full one."""
    points = [torch.linspace(0.0, 1.0, 280, dtype=torch.float64)] * 2
    with pytest.raises(ConfigError, match="conductivity: cross approximation did not resolve it"):
        sample(lambda x: torch.frac(1e4 * torch.sin(1e3 * x.square().sum(-1))), points, name="conductivity")


@pytest.mark.parametrize(
    "source",
    [
        wave,
        lambda x: wave(x).numpy(),
        full(EVERY),
        full(EVERY).numpy(),
        sample(wave, POINTS),
    ],
    ids=["function", "NumPy function", "tensor", "array", "train"],
)
def test_fields_are_the_same_in_whatever_form(source: Any) -> None:
    train = as_field(source, POINTS)
    assert train.dtype == torch.float64 and max(train.ranks) <= 3
    torch.testing.assert_close(train.full(), full(EVERY))


def test_other_formats_are_converted() -> None:
    factors = tuple(torch.rand(n, 2, dtype=torch.float64) for n in (4, 3, 5))
    source = CP(torch.tensor([1.0, -2.0], dtype=torch.float64), factors)
    train = as_field(source, POINTS)
    assert isinstance(train, TensorTrain)
    torch.testing.assert_close(train.full(), torch.einsum("k,ak,bk,ck->abc", source.weights, *factors))


@pytest.mark.parametrize("number", [2, -0.5, np.float32(3.0), 1j, 1 + 2j])
def test_numbers_are_constant_fields(number: Any) -> None:
    train = as_field(number, POINTS)
    assert max(train.ranks) == 1
    assert train.dtype == (torch.complex128 if isinstance(number, complex) else torch.float64)
    assert bool((train.full() == number).all())


def test_single_precision_is_raised_to_double_and_complex_stays_complex() -> None:
    values = full(EVERY)
    assert as_field(values.float(), POINTS).dtype == torch.float64
    assert as_field(values.to(torch.complex64), POINTS).dtype == torch.complex128
    assert evaluated(lambda x: x[:, 0].float(), EVERY, "f").dtype == torch.float64
    torch.testing.assert_close(evaluated(lambda x: 1j * x[:, 0], EVERY, "f"), 1j * EVERY[:, 0])


def test_bad_values_are_named_with_their_place() -> None:
    with pytest.raises(
        ConfigError, match=r"k: expected finite values, got inf or NaN at the point \[0.0, 0.5, 0.0\]"
    ):
        evaluated(lambda x: torch.where(x[:, 1] == 0.5, torch.nan, 1.0), EVERY, "k")
    with pytest.raises(
        ConfigError, match=r"k: expected a function of points \[60, 3\] to return values \[60\]"
    ):
        evaluated(lambda x: x, EVERY, "k")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (torch.ones(4, 3), r"on the \(4, 3, 5\) points of the grid, got \(4, 3\)"),
        (TensorTrain.ones([4, 3, 6]), "points of the grid"),
        (torch.full((4, 3, 5), torch.nan), "finite"),
        (TensorTrain.ones([4, 3, 5]) * torch.inf, "finite entries"),
        (float("nan"), "a finite number"),
        (None, "got a NoneType"),
    ],
)
def test_other_sources_are_refused(source: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        as_field(source, POINTS)
