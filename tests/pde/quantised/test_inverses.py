from fractions import Fraction

import pytest
import torch

from sciten.errors import ConfigError
from sciten.pde.quantised import constant, difference, inverse_laplacian, laplacian, ramp, summation, unit
from tests.pde.quantised import dense
from tests.pde.quantised.dense import DIRICHLET, NEUMANN, PERIODIC

INVERTIBLE = pytest.mark.parametrize(
    ("lower", "upper", "rank"),
    [(DIRICHLET, DIRICHLET, 5), (DIRICHLET, NEUMANN, 4), (NEUMANN, DIRICHLET, 4)],
)


def green(lower, upper, n: int, i: int, j: int) -> Fraction:
    """Entries of the inverse, with i and j from 0, in exact arithmetic."""
    if lower is NEUMANN:
        i, j = n - 1 - i, n - 1 - j
    smaller, larger = min(i, j) + 1, max(i, j) + 1
    if (lower, upper) == (DIRICHLET, DIRICHLET):
        return Fraction(smaller * (n + 1 - larger), n + 1)
    return Fraction(smaller)


@INVERTIBLE
@pytest.mark.parametrize("levels", [1, 2, 3, 6])
def test_they_are_inverse_and_all_entries_are_accurate(lower, upper, rank: int, levels: int) -> None:
    n = 2**levels
    found = dense.matrix(inverse_laplacian(levels, lower, upper))
    torch.testing.assert_close(found @ dense.laplacian(n, lower, upper), torch.eye(n).double())
    exact = [[float(green(lower, upper, n, i, j)) for j in range(n)] for i in range(n)]
    torch.testing.assert_close(found, torch.tensor(exact, dtype=torch.float64), rtol=1e-14, atol=0)


@INVERTIBLE
def test_ranks_are_the_known_ones_and_the_least(lower, upper, rank: int) -> None:
    assert max(inverse_laplacian(60, lower, upper).ranks) == rank
    assert max(inverse_laplacian(8, lower, upper).round(1e-13).ranks) == rank


@INVERTIBLE
@pytest.mark.parametrize("levels", [30, 60])
def test_entries_are_accurate_on_many_points(lower, upper, rank: int, levels: int) -> None:
    """Also next to the ends, where min(i, j) - i j / (n + 1) would lose all digits."""
    n = 2**levels
    found = inverse_laplacian(levels, lower, upper)
    places = [0, 1, n // 3, n // 2 - 1, n // 2, n - 2, n - 1]
    for i in places:
        for j in places:
            entry = float(unit(levels, i).inner(found @ unit(levels, j)))
            assert entry == pytest.approx(float(green(lower, upper, n, i, j)), rel=1e-13, abs=0)


def test_they_solve_on_2_to_the_30_points() -> None:
    """-u'' = 1 with u(0) = u(1) = 0: the discrete solution i (n + 1 - i) / 2 is exact."""
    levels, n = 30, 2**30
    u = inverse_laplacian(levels, DIRICHLET, DIRICHLET) @ constant(levels)
    exact = 0.5 * (ramp(levels, 1.0) * ramp(levels, float(n), -1.0))
    assert float((u - exact).norm() / exact.norm()) < 1e-13


def test_sums_are_the_inverse_of_differences() -> None:
    assert max(summation(60).ranks) == 2
    for levels in (1, 5):
        n = 2**levels
        torch.testing.assert_close(dense.matrix(summation(levels)), torch.ones(n, n).double().tril())
        product = dense.matrix(difference(levels) @ summation(levels))
        torch.testing.assert_close(product, torch.eye(n).double(), rtol=0, atol=0)


def test_the_inverse_is_that_of_the_train() -> None:
    product = laplacian(6, NEUMANN, DIRICHLET) @ inverse_laplacian(6, NEUMANN, DIRICHLET)
    torch.testing.assert_close(dense.matrix(product), torch.eye(64).double())


@pytest.mark.parametrize("ends", [(NEUMANN, NEUMANN), (PERIODIC, PERIODIC)])
def test_singular_ones_are_refused(ends) -> None:
    with pytest.raises(ConfigError, match="without which the Laplacian is singular, got"):
        inverse_laplacian(3, *ends)
    with pytest.raises(ConfigError, match="at least one level"):
        inverse_laplacian(0, DIRICHLET, DIRICHLET)
