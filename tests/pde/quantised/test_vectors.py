import cmath
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciten.errors import ConfigError
from sciten.pde.quantised import bits, constant, cosine, exponential, polynomial, ramp, sine, unit
from tests.pde.quantised import dense

levels_ = st.integers(1, 6)
numbers = st.floats(-2, 2)


def points(levels: int, start: float, step: float) -> torch.Tensor:
    return start + step * torch.arange(2**levels, dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(levels_, numbers, numbers, numbers)
def test_functions_have_their_values(levels: int, rate: float, start: float, step: float) -> None:
    x = points(levels, start, step / 2**levels)
    options = {"start": start, "step": step / 2**levels}
    for found, expected in (
        (ramp(levels, **options), x),
        (exponential(levels, rate, **options), (rate * x).exp()),
        (sine(levels, rate, **options), (rate * x).sin()),
        (cosine(levels, rate, **options), (rate * x).cos()),
        (constant(levels, rate), torch.full_like(x, rate)),
    ):
        torch.testing.assert_close(dense.vector(found), expected, rtol=1e-13, atol=1e-14)


@settings(max_examples=40, deadline=None)
@given(levels_, st.lists(numbers, min_size=1, max_size=6), numbers, numbers)
def test_polynomials_have_their_values(
    levels: int, coefficients: list[float], start: float, step: float
) -> None:
    x = points(levels, start, step / 2**levels)
    expected = sum(c * x**p for p, c in enumerate(coefficients))
    found = polynomial(levels, coefficients, start, step / 2**levels)
    torch.testing.assert_close(dense.vector(found), expected, rtol=1e-12, atol=1e-11)
    assert max(found.ranks) <= len(coefficients)


def test_ranks_are_those_of_addition_theorems() -> None:
    for found, rank in (
        (unit(60, 7), 1),
        (constant(60), 1),
        (exponential(60, -1.0, step=2.0**-60), 1),
        (ramp(60), 2),
        (sine(60, 3.0, step=2.0**-60), 2),
        (cosine(60, 3.0, step=2.0**-60), 2),
        (polynomial(60, [1.0, 2.0, 3.0, 4.0], step=2.0**-60), 4),
    ):
        assert max(found.ranks) == rank


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**60 - 1))
def test_they_are_accurate_on_2_to_the_60_points(index: int) -> None:
    levels, h = 60, 2.0**-60
    place = bits(torch.tensor([[index]]), levels)
    x = float(Fraction(index, 2**60))
    assert float(ramp(levels, 1.0, h).at(place)) == pytest.approx(1 + x, rel=1e-15)
    assert float(ramp(levels).at(place)) == pytest.approx(float(index), rel=1e-15)
    assert float(polynomial(levels, [0.5, 2.0, 1.0], 0.0, h).at(place)) == pytest.approx(
        0.5 + 2 * x + x * x, rel=1e-14
    )
    assert float(exponential(levels, -3.0, 0.5, h).at(place)) == pytest.approx(
        math.exp(-3 * (0.5 + x)), rel=1e-13
    )
    assert float(sine(levels, 20.0, 0.5, h).at(place)) == pytest.approx(math.sin(20 * (0.5 + x)), abs=1e-13)
    assert float(cosine(levels, 20.0, 0.5, h).at(place)) == pytest.approx(math.cos(20 * (0.5 + x)), abs=1e-13)
    assert float(unit(levels, index).at(place)) == 1


@settings(max_examples=20, deadline=None)
@given(levels_.flatmap(lambda levels: st.tuples(st.just(levels), st.integers(-(2**levels), 2**levels - 1))))
def test_unit_vectors_are_one_at_their_index(given_: tuple[int, int]) -> None:
    levels, index = given_
    expected = torch.zeros(2**levels, dtype=torch.float64)
    expected[index] = 1
    torch.testing.assert_close(dense.vector(unit(levels, index)), expected, rtol=0, atol=0)


def test_rates_and_coefficients_may_be_complex() -> None:
    x = points(4, 0.25, 0.1)
    wave = exponential(4, 1 + 2j, 0.25, 0.1, dtype=torch.complex128)
    expected = torch.tensor([cmath.exp((1 + 2j) * float(one)) for one in x], dtype=torch.complex128)
    torch.testing.assert_close(dense.vector(wave), expected)
    parabola = polynomial(4, [1j, 0.0, 1.0], 0.25, 0.1, dtype=torch.complex128)
    torch.testing.assert_close(dense.vector(parabola), x**2 + 1j)
    assert constant(2, 1j, dtype=torch.complex64).dtype == torch.complex64
    assert ramp(2, dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: unit(3, 8), "unit: expected an index from -8 to 7, got 8"),
        (lambda: unit(0, 0), "unit: expected at least one level"),
        (lambda: polynomial(3, []), "at least one coefficient"),
        (lambda: exponential(3, 1j), "exponential: expected a complex dtype for the value 1j"),
        (lambda: constant(3, 1j), "constant: expected a complex dtype"),
        (lambda: sine(0, 1.0), "sine: expected at least one level"),
    ],
)
def test_what_does_not_fit_is_named(wrong, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()
