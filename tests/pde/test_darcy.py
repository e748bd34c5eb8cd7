"""Darcy's equation: second order, and the discrete maximum principle."""

from itertools import pairwise
from math import log2, pi

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from sciten.errors import ConfigError, DataError, DivergenceError
from sciten.pde.darcy import darcy_matrix, every_nth, log_normal, piecewise, solve_darcy
from sciten.pde.spectral import PERMEABILITY

# Over twelve decades.
COEFFICIENTS = arrays.arrays(
    np.float64,
    st.tuples(st.integers(4, 7), st.integers(4, 7)),
    elements=st.floats(-6, 6).map(lambda exponent: 10.0**exponent),
)


def manufactured(n: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Smooth a and u, with f = -∇·(a∇u) by hand."""
    x = torch.linspace(0, 1, n, dtype=torch.float64)[:, None]
    y = torch.linspace(0, 1, m, dtype=torch.float64)
    a = torch.exp(torch.sin(pi * x) * torch.cos(2 * pi * y))
    ax = a * pi * torch.cos(pi * x) * torch.cos(2 * pi * y)
    ay = -a * 2 * pi * torch.sin(pi * x) * torch.sin(2 * pi * y)
    u = torch.sin(pi * x) * torch.sin(3 * pi * y)
    ux, uy = (
        pi * torch.cos(pi * x) * torch.sin(3 * pi * y),
        3 * pi * torch.sin(pi * x) * torch.cos(3 * pi * y),
    )
    return a, u, -(ax * ux + ay * uy) + a * 10 * pi**2 * u


def test_smooth_problems_are_of_second_order() -> None:
    errors = []
    for n in (33, 65, 129):
        a, u, f = manufactured(n, n + 4)
        errors.append(float((solve_darcy(a, f) - u).abs().max()))
    assert [log2(one / two) for one, two in pairwise(errors)] == pytest.approx([2, 2], abs=0.25)


def test_between_layers_the_resistances_add_up() -> None:
    a = torch.ones(9, 5, dtype=torch.float64)
    a[3:] = 100.0
    matrix = darcy_matrix(a.numpy()).toarray().reshape(7, 3, 7, 3)
    # Half a spacing of each layer, 1/8 in all, and along the layers 1/4.
    assert matrix[1, 1, 2, 1] == pytest.approx(-(8**2) / (0.5 / 1 + 0.5 / 100))
    assert matrix[1, 1, 1, 2] == pytest.approx(-(4**2))
    assert matrix[4, 1, 4, 2] == pytest.approx(-(4**2) * 100)


def test_the_laplacian_of_a_unit_coefficient_is_that_of_the_textbooks() -> None:
    """Against its dense eigenbasis of sines."""
    n = 12
    modes = torch.arange(1, n - 1, dtype=torch.float64)
    sines = (2 / (n - 1)) ** 0.5 * torch.sin(pi * modes[:, None] * modes / (n - 1))
    values = (2 * (n - 1) * torch.sin(pi * modes / (2 * (n - 1)))) ** 2
    f = sines @ torch.ones(n - 2, n - 2, dtype=torch.float64) @ sines
    expected = sines @ (f / (values[:, None] + values)) @ sines
    found = solve_darcy(torch.ones(n, n))
    torch.testing.assert_close(found[1:-1, 1:-1], expected)
    assert not bool(torch.cat([found[0], found[-1], found[:, 0], found[:, -1]]).any())


@settings(max_examples=50, deadline=None)
@given(coefficient=COEFFICIENTS)
def test_the_matrix_is_a_symmetric_m_matrix(coefficient: np.ndarray) -> None:
    matrix = darcy_matrix(coefficient).toarray()
    assert np.array_equal(matrix, matrix.T)
    off = matrix - np.diag(np.diag(matrix))
    assert (np.diag(matrix) > 0).all() and (off <= 0).all()
    # Dominant, and strictly so beside the boundary, which every point is joined to.
    surplus = matrix.sum(axis=1).reshape(np.array(coefficient.shape) - 2)
    assert (surplus >= -1e-12 * np.abs(matrix).max()).all() and surplus[0].min() > 0
    scaled = matrix / np.sqrt(np.outer(np.diag(matrix), np.diag(matrix)))
    inverse = np.linalg.inv(scaled)
    assert (inverse >= -1e-10 * np.abs(inverse).max()).all()


@settings(max_examples=50, deadline=None)
@given(coefficient=COEFFICIENTS, data=st.data())
def test_solutions_obey_the_maximum_principle(coefficient: np.ndarray, data: st.DataObject) -> None:
    a = torch.from_numpy(coefficient)
    source = torch.from_numpy(
        data.draw(arrays.arrays(np.float64, coefficient.shape, elements=st.floats(0.0, 1.0)))
    )
    u, more = solve_darcy(a, source), solve_darcy(a, source + 1.0)
    rounding = 1e-9 * float(more.max())
    assert float(u.min()) >= -rounding
    assert bool((more >= u - rounding).all()) and float(more[1:-1, 1:-1].min()) > 0
    # Where nothing is put in there is no inner maximum.
    inner, quiet = u[1:-1, 1:-1], source[1:-1, 1:-1] == 0
    around = torch.stack([u[:-2, 1:-1], u[2:, 1:-1], u[1:-1, :-2], u[1:-1, 2:]]).amax(0)
    assert bool((inner <= around + rounding)[quiet].all())


@pytest.mark.parametrize("shape", [(0, 5, 6), (2, 0, 5, 6)])
def test_no_samples_have_no_solutions(shape: tuple[int, ...]) -> None:
    found = solve_darcy(torch.ones(shape))
    assert found.shape == shape and found.dtype == torch.float64


def test_two_valued_and_log_normal_coefficients_of_a_random_field() -> None:
    field = PERMEABILITY.sample(61, seed=0, samples=range(3))
    two, exponential = piecewise(field), log_normal(field)
    assert two.unique().tolist() == [3.0, 12.0] and bool(((two == 12) == (field >= 0)).all())
    torch.testing.assert_close(exponential.log(), field)
    u = solve_darcy(torch.stack([two, exponential]))
    assert u.shape == (2, 3, 61, 61) and float(u[..., 1:-1, 1:-1].min()) > 0
    # The compliance, the sum of f u, falls where any coefficient rises.
    plain = float(solve_darcy(torch.ones(61, 61)).sum())
    for one in u[0]:
        assert plain / 12 < float(one.sum()) < plain / 3
    torch.testing.assert_close(solve_darcy(4 * two[0]), u[0, 0] / 4)


def test_every_nth_point_of_a_finer_solution_converges_to_one_function() -> None:
    field = lambda n: PERMEABILITY.sample(n, seed=1, modes=8)[0]  # noqa: E731
    fields = [every_nth(solve_darcy(log_normal(field(10 * k + 1))), k) for k in (2, 4, 8)]
    errors = [float((one - two).abs().max()) for one, two in pairwise(fields)]
    assert log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.4)
    with pytest.raises(ConfigError, match=r"divides \[20\]"):
        every_nth(torch.zeros(2, 21, 21), 3)


@pytest.mark.parametrize(
    ("coefficient", "source", "words"),
    [
        (
            torch.zeros(5, 5),
            1.0,
            r"positive coefficient .* got 0.0 and 1.0 at the point \(0, 0\) of sample 0",
        ),
        (torch.full((2, 5, 5), float("nan")), 1.0, "got nan"),
        (torch.ones(5, 5), float("inf"), "finite source"),
        (torch.ones(5), 1.0, r"\[..., n, m\]"),
        (torch.ones(5, 3), 1.0, "at least 4 points"),
    ],
)
def test_bad_input_is_named(coefficient: Tensor, source: float, words: str) -> None:
    with pytest.raises(DataError, match=words):
        solve_darcy(coefficient, source)


@pytest.mark.parametrize("scale", [5e-324, 2.0**-1000, 2.0**1000])
def test_the_units_of_source_and_coefficient_do_not_matter(scale: float) -> None:
    a, _, f = manufactured(9, 8)
    one = solve_darcy(a, f.sign())
    torch.testing.assert_close(solve_darcy(a, scale * f.sign()), scale * one, rtol=1e-12, atol=1e-323)
    if scale > 1e-300:
        torch.testing.assert_close(solve_darcy(scale * a, f.sign()), one / scale, rtol=1e-12, atol=0.0)
    with pytest.raises(DivergenceError, match="other units"):
        solve_darcy(1e-20 * a, 1e300)


def test_coefficients_beyond_double_precision_are_refused() -> None:
    a = torch.full((6, 6), 1e-300, dtype=torch.float64)
    a[2:4] = 1e300
    with pytest.raises(DivergenceError, match="too strongly for double precision"):
        solve_darcy(a, 1e300)
