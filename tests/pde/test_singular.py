from typing import Any

import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde import AMEn, ExponentialSums, Grid, Neumann, Problem, advection, laplacian, solve
from sciten.pde.assemble import assemble, separable_matrices
from sciten.pde.singular import regularised, require_balance
from sciten.tensor import TensorTrain

LENGTHS = (1.0, 1.5, 0.8)


def u(x: Tensor) -> Tensor:
    return torch.exp(0.7 * x).prod(-1)


def neumann_grid(d: int, n: int) -> Grid:
    """Of Chebyshev axes with the derivatives of u on the faces."""
    return Grid.chebyshev(
        [(0.0, length) for length in LENGTHS[:d]],
        [n + k for k in range(d)],
        [(Neumann(lambda x: -0.7 * u(x)), Neumann(lambda x: 0.7 * u(x)))] * d,
    )


@pytest.mark.parametrize(
    "solver", [None, AMEn(1e-11), ExponentialSums(1e-10)], ids=["default", "AMEn", "sums"]
)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_neumann_problems_on_chebyshev_axes_are_of_spectral_order(d: int, solver: Any) -> None:
    """-Δu = -0.49 d u with the slopes of u, on odd and even numbers of points; known up to a constant."""
    errors = []
    for n in (5, 8, 12):
        grid = neumann_grid(d, n)
        solution = solve(Problem(-laplacian(grid), lambda x: -0.49 * d * u(x)), solver=solver)
        assert solution.converged, solution.message
        assert "up to a constant" in solution.message
        difference = solution.field.full() - u(torch.cartesian_prod(*grid.points()).reshape(-1, d)).reshape(
            grid.shape
        )
        errors.append(float((difference - difference.mean()).abs().max()))
    assert errors[0] > 30 * errors[1] and errors[2] < 1e-8


def means(matrix: TensorTrain, regular: TensorTrain, field: TensorTrain) -> float:
    """The mean of a field that was added to an operator."""
    added = regular - matrix
    return float(
        (added @ field).full().flatten()[0] / (added @ TensorTrain.ones(field.shape)).full().flatten()[0]
    )


@pytest.mark.parametrize("n", [7, 8])
def test_weights_are_those_of_the_quadrature_on_the_points(n: int) -> None:
    """Second derivatives of polynomials without slopes at the ends are those of integral zero, up to degree n - 1."""
    grid = Grid.chebyshev([(-1.0, 1.0)] * 2, n, Neumann())
    operator = -laplacian(grid)
    matrix = assemble(operator).matrix
    wave = TensorTrain.rank_one([torch.sin(torch.pi * p) for p in grid.points()])
    regular, balanced, note = regularised(matrix, wave, grid.shape, separable_matrices(operator))
    assert "mean zero" in note
    torch.testing.assert_close(balanced.full(), wave.full())
    integrals = [1.0, 0.0, 1 / 3, 0.0, 1 / 5, 0.0, 1 / 7]
    for i in range(n):
        powers = TensorTrain.rank_one([grid.points()[0] ** i, grid.points()[1] ** 2])
        assert means(matrix, regular, powers) == pytest.approx([*integrals, 0.0][i] / 3, abs=1e-10)


def test_incompatible_sources_are_refused_on_chebyshev_axes() -> None:
    for d in (1, 2):
        grid = neumann_grid(d, 9)
        for source in (1.0, lambda x: 0.3 - 0.49 * len(x.T) * u(x)):
            for solver in (None, AMEn()):
                with pytest.raises(ConfigError, match="does not add up to zero"):
                    solve(Problem(-laplacian(grid), source), solver=solver)


def test_neumann_problems_with_advection_are_of_second_order() -> None:
    """(-Δ + b·∇) u = f without slopes at the ends: what balances a source is weighted by exp(-b x)."""

    def source(x: Tensor) -> Tensor:
        return (torch.pi**2 * torch.cos(torch.pi * x) - 2 * torch.pi * torch.sin(torch.pi * x)).sum(-1)

    def error(n: int) -> float:
        grid = Grid.uniform([(0.0, 1.0)] * 2, n, Neumann())
        solution = solve(Problem(-laplacian(grid) + advection(grid, 2.0), source))
        assert solution.converged and "up to a constant" in solution.message
        wave = torch.cos(torch.pi * grid.points()[0])
        difference = solution.field.full() - wave[:, None] - wave
        return float((difference - difference.mean()).abs().max())

    assert 3.5 < error(16) / error(32) < 4.5


def test_regular_operators_are_left_as_they_are() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 5)
    matrix, b = assemble(-laplacian(grid)).matrix, TensorTrain.ones([5, 5])
    assert regularised(matrix, b, grid.shape) == (matrix, b, "")


def test_regular_systems_have_the_solutions_of_singular_ones() -> None:
    grid = Grid.uniform([(0.0, 1.0), (0.0, 2.0)], [4, 5], Neumann())
    matrix = assemble(-laplacian(grid)).matrix
    field = TensorTrain.random([4, 5], 3, generator=torch.Generator().manual_seed(0))
    regular, b, _ = regularised(matrix, matrix @ field, grid.shape)
    found = torch.linalg.solve(regular.full().reshape(20, 20), b.full().reshape(20))
    expected = field.full().reshape(20)
    torch.testing.assert_close(found, expected - expected.mean())


@pytest.mark.parametrize("complex_", [False, True])
def test_operators_without_known_range_are_refused(complex_: bool) -> None:
    """A map of constants to zero whose adjoint has another null vector, and no matrices to find it by."""
    a = torch.tensor([[1.0, -1.0], [2.0, -2.0]], dtype=torch.complex128 if complex_ else torch.float64)
    matrix = TensorTrain.rank_one([a], operator=True)
    b = TensorTrain((torch.tensor([1.0, 2.0], dtype=a.dtype).view(1, 2, 1),))  # in the range
    with pytest.raises(ConfigError, match="is not known"):
        regularised(matrix, b, (2,))
    regular, balanced, _ = regularised(matrix, b, (2,), [a])
    torch.testing.assert_close(balanced.full(), b.full())
    solution = torch.linalg.solve(regular.full(), b.full())
    torch.testing.assert_close(a @ solution, b.full())


def test_balance_is_measured_against_the_grid() -> None:
    require_balance(1e-3, (16, 64))
    require_balance(5e-3, (2, 2))
    for share, shape in [(2e-2, (2, 2)), (1e-2, (64, 64))]:
        with pytest.raises(ConfigError, match="does not add up to zero"):
            require_balance(share, shape)
