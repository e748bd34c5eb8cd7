import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciten.errors import ConfigError
from sciten.pde.quantised import difference, laplacian, mirrored, ramp, tridiagonal, unit
from tests.pde.quantised import dense
from tests.pde.quantised.dense import DIRICHLET, NEUMANN, PERIODIC

entries = st.floats(-3, 3)
corners = st.none() | entries
LAPLACIANS = pytest.mark.parametrize(
    ("lower", "upper", "rank"),
    [
        (DIRICHLET, DIRICHLET, 3),
        (DIRICHLET, NEUMANN, 4),
        (NEUMANN, DIRICHLET, 4),
        (NEUMANN, NEUMANN, 5),
        (PERIODIC, PERIODIC, 3),
    ],
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), entries, entries, entries, corners, corners, st.booleans())
def test_entries_are_those_of_a_tridiagonal_matrix(
    levels: int, lower: float, diagonal: float, upper: float, first, last, periodic: bool
) -> None:
    n = 2**levels
    expected = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        expected[i, i] = diagonal
        for j, entry in ((i - 1, lower), (i + 1, upper)):
            if 0 <= j < n or periodic:
                expected[i, j % n] += entry
    if first is not None:
        expected[0, 0] = first
    if last is not None:
        expected[-1, -1] = last
    found = tridiagonal(levels, lower, diagonal, upper, first=first, last=last, periodic=periodic)
    torch.testing.assert_close(dense.matrix(found), expected, rtol=1e-14, atol=1e-15)


@LAPLACIANS
@pytest.mark.parametrize("levels", [1, 2, 3, 6])
def test_laplacians_have_their_ends(lower, upper, rank: int, levels: int) -> None:
    found = laplacian(levels, lower, upper)
    torch.testing.assert_close(dense.matrix(found), dense.laplacian(2**levels, lower, upper), rtol=0, atol=0)


@LAPLACIANS
def test_ranks_are_the_known_ones_and_the_least(lower, upper, rank: int) -> None:
    assert max(laplacian(60, lower, upper).ranks) == rank
    assert max(laplacian(8, lower, upper).round(1e-13).ranks) == rank


@pytest.mark.parametrize("row", [0, 1, 2**59, 2**59 - 1, 2**31 + 7, 2**60 - 1])
def test_entries_are_exact_on_2_to_the_60_points(row: int) -> None:
    found = tridiagonal(60, -1.0, 2.0, -3.0, first=5.0, last=7.0)
    diagonal = {0: 5.0, 2**60 - 1: 7.0}.get(row, 2.0)
    for column, entry in ((row - 1, -1.0), (row, diagonal), (row + 1, -3.0), (row ^ 2**45, 0.0)):
        if 0 <= column < 2**60:
            assert float(unit(60, row).inner(found @ unit(60, column))) == entry


def test_differences_make_the_laplacian() -> None:
    d = difference(5)
    assert max(d.ranks) == 2
    torch.testing.assert_close(dense.matrix(d.mT @ d), dense.laplacian(32, DIRICHLET, NEUMANN))
    around = difference(5, periodic=True)
    torch.testing.assert_close(dense.matrix(around.mT @ around), dense.laplacian(32, PERIODIC, PERIODIC))


def test_operators_and_vectors_are_mirrored() -> None:
    torch.testing.assert_close(
        dense.matrix(mirrored(difference(4))), dense.matrix(difference(4)).flip(0, 1), rtol=0, atol=0
    )
    torch.testing.assert_close(dense.vector(mirrored(ramp(4))), torch.arange(15.0, -1, -1).double())


def test_entries_may_be_complex_and_single() -> None:
    found = tridiagonal(3, 1j, 2.0, -1j, dtype=torch.complex64)
    assert found.dtype == torch.complex64
    expected = 2 * torch.eye(8, dtype=torch.complex64)
    expected += 1j * torch.diag(torch.ones(7), -1) - 1j * torch.diag(torch.ones(7), 1)
    torch.testing.assert_close(dense.matrix(found), expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: tridiagonal(0, 1, 1, 1), "tridiagonal: expected at least one level, got 0"),
        (lambda: tridiagonal(2, 1j, 1, 1), "a complex dtype for the value 1j, got torch.float64"),
        (lambda: tridiagonal(2, 1, 1, 1, dtype=torch.int64), "a real or complex dtype, got torch.int64"),
        (lambda: laplacian(2, PERIODIC, NEUMANN), "both ends periodic or neither, got periodic and Neumann"),
    ],
)
def test_what_does_not_fit_is_named(wrong, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()
