from math import prod

import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde import (
    Dirichlet,
    Grid,
    Neumann,
    Operator,
    Periodic,
    Robin,
    advection,
    divergence,
    given_operator,
    gradient,
    laplacian,
    local_operator,
    potential,
)
from sciten.pde.assemble import assemble, separable_matrices
from sciten.pde.differences import differences
from sciten.tensor import TensorTrain


def matrix(operator: Operator) -> Tensor:
    full = assemble(operator).matrix.full()
    size = prod(operator.grid.shape)
    return full.reshape(size, size)


def every_point(grid: Grid) -> Tensor:
    return torch.cartesian_prod(*grid.points()).reshape(-1, len(grid))


def k_of(x: Tensor) -> Tensor:
    return 1 + torch.exp(-x.square().sum(-1)) * (1 + 0.5 * torch.sin(2 * torch.pi * x.sum(-1)))


GRID = Grid.uniform(
    [(0.0, 1.0), (-1.0, 1.0), (0.0, 2.0)], [4, 5, 6], [Dirichlet(), Periodic(), (Neumann(), Robin(2.0))]
)
GRIDS = pytest.mark.parametrize(
    "grid", [GRID, Grid.chebyshev([(0.0, 1.0)] * 2, [5, 6], (Dirichlet(), Neumann()))]
)


@GRIDS
def test_the_laplacian_is_a_kronecker_sum(grid: Grid) -> None:
    expected = torch.zeros(1, 1, dtype=torch.float64)
    for axis in grid.axes:
        own = differences(axis)
        one = own.divergence @ own.gradient
        expected = torch.kron(expected, torch.eye(axis.n)) + torch.kron(torch.eye(len(expected)), one)
    torch.testing.assert_close(matrix(laplacian(grid)), expected)
    assert max(assemble(laplacian(grid)).matrix.ranks) == 2


def periodic_k(x: Tensor) -> Tensor:
    """Of period 2 in the second coordinate."""
    return 2 + torch.cos(torch.pi * x[:, 1]) * torch.exp(-x[:, 0])


@GRIDS
def test_divergence_is_assembled_as_densely(grid: Grid) -> None:
    size = prod(grid.shape)
    expected = torch.zeros(size, size, dtype=torch.float64)
    for a, axis in enumerate(grid.axes):
        own = differences(axis)
        places = list(grid.points())
        places[a] = own.faces
        towards = [torch.eye(n, dtype=torch.float64) for n in grid.shape]
        back = list(towards)
        towards[a], back[a] = own.gradient, own.divergence
        k = periodic_k(torch.cartesian_prod(*places).reshape(-1, len(grid)))
        expected += kron(back) @ torch.diag(k) @ kron(towards)
    found = matrix(divergence(periodic_k, gradient(grid)))
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def kron(matrices: list[Tensor]) -> Tensor:
    found = torch.ones(1, 1, dtype=torch.float64)
    for one in matrices:
        found = torch.kron(found, one)
    return found


@GRIDS
def test_advection_and_potential_multiply_entry_by_entry(grid: Grid) -> None:
    x = every_point(grid)
    velocities = [lambda x: 1 + x[:, 0] ** 2, *[2.0] * (len(grid) - 1)]
    expected = torch.zeros(len(x), len(x), dtype=torch.float64)
    for a, axis in enumerate(grid.axes):
        own = differences(axis)
        parts = [torch.eye(n, dtype=torch.float64) for n in grid.shape]
        parts[a] = own.average @ own.gradient
        b = velocities[a](x) if callable(velocities[a]) else torch.full((len(x),), 2.0, dtype=torch.float64)  # type: ignore[operator]
        expected += torch.diag(b) @ kron(parts)
    torch.testing.assert_close(matrix(advection(grid, velocities)), expected)  # type: ignore[arg-type]
    torch.testing.assert_close(matrix(potential(grid, k_of)), torch.diag(k_of(x)), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(matrix(potential(grid, 3.0)), 3 * torch.eye(len(x), dtype=torch.float64))


def test_operators_add_and_scale_and_share_coefficients() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 3, 4)
    k = divergence(k_of, gradient(grid))
    sum_of_all = -2.0 * k + advection(grid, 1.0) / 4 - potential(grid, k_of)
    expected = -2 * matrix(k) + matrix(advection(grid, 1.0)) / 4 - matrix(potential(grid, k_of))
    torch.testing.assert_close(matrix(sum_of_all), expected)
    rank = max(assemble(potential(grid, k_of)).matrix.ranks)
    assert max(assemble(k).matrix.ranks) == 2 * rank


def test_pair_interactions_and_given_operators() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 4, 3)
    a = [torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in range(4)]
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    total = laplacian(grid)
    expected = matrix(total)
    for i, j in pairs:
        total = total + (1 / (j - i)) * local_operator(grid, {i: a[i], j: a[j]})
        parts = [torch.eye(3, dtype=torch.float64)] * 4
        parts[i], parts[j] = a[i], a[j]
        expected = expected + kron(parts) / (j - i)
    torch.testing.assert_close(matrix(total), expected)
    again = given_operator(grid, assemble(total).matrix) * 2.0 + potential(grid, 1.0)
    torch.testing.assert_close(matrix(again), 2 * expected + torch.eye(81, dtype=torch.float64))


def test_long_range_pairs_compress_by_rounding() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 12, 2)
    number = torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64))
    total = sum(
        (
            0.5 ** (j - i) * local_operator(grid, {i: number, j: number})
            for i in range(12)
            for j in range(i + 1, 12)
        ),
        start=potential(grid, 0.0),
    )
    train = assemble(total).matrix
    assert max(train.round(1e-12).ranks) == 3  # exponentials are one state of an automaton
    assert float((train.round(1e-12) - train).norm()) < 1e-10


def test_separable_operators_are_recognised() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 4)
    simple = -laplacian(grid) + advection(grid, [1.0, 2.0]) + potential(grid, 3.0)
    found = separable_matrices(simple + local_operator(grid, {1: torch.eye(4, dtype=torch.float64)}))
    assert found is not None
    a, b = found
    eye = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(
        torch.kron(a, eye) + torch.kron(eye, b), matrix(simple) + torch.eye(16, dtype=torch.float64)
    )
    assert separable_matrices(simple + potential(grid, k_of)) is None
    assert separable_matrices(simple + local_operator(grid, {0: eye, 1: eye})) is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda g: laplacian(g) + 1.0, "another operator"),
        (lambda g: laplacian(g) + laplacian(Grid.uniform([(0, 1)] * 2, 5)), "operators on one grid"),
        (lambda g: laplacian(g) * "two", "expects a number"),
        (lambda g: divergence([1.0], gradient(g)), "one coefficient for each of 2"),
        (lambda g: divergence(TensorTrain.ones(g.shape), gradient(g)), "number or a function"),
        (lambda g: potential(g, "v"), "a number, a function of points"),
        (lambda g: local_operator(g, {2: torch.eye(4)}), "axes from 0 to 1"),
        (lambda g: local_operator(g, {0: torch.eye(5)}), r"a matrix \[4, 4\]"),
        (lambda g: given_operator(g, TensorTrain.ones([4, 4])), "an operator on"),
        (lambda g: assemble(potential(g, lambda x: x[:, 0] / 0)), "got inf or NaN at the point"),
        (lambda g: assemble(potential(g, lambda x: x)), r"to return values \[\d+\], got"),
        (lambda g: assemble(potential(g, TensorTrain.ones([4, 5]))), "values on the"),
    ],
)
def test_bad_operators_are_refused(make: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(Grid.uniform([(0, 1)] * 2, 4))  # type: ignore[operator]
