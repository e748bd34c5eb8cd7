from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde import (
    AMEn,
    Bits,
    ExponentialSums,
    Grid,
    Neumann,
    Periodic,
    Problem,
    Robin,
    advection,
    divergence,
    gradient,
    laplacian,
    potential,
    solve,
)
from sciten.pde.assemble import assemble, separable_matrices
from sciten.pde.singular import regularised, require_balance
from sciten.pde.solvers.solution import Solution, trusted
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


DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])


@DTYPES
@pytest.mark.parametrize("separable", [True, False])
def test_ranges_are_found_from_the_adjoint(dtype: torch.dtype, separable: bool) -> None:
    """A map of constants to zero whose adjoint has another null vector; its matrices are not needed to find it."""
    a = torch.tensor([[1.0, -1.0], [2.0, -2.0]], dtype=dtype)
    matrix = TensorTrain.rank_one([a], operator=True)
    b = TensorTrain((torch.tensor([1.0, 2.0], dtype=dtype).view(1, 2, 1),))  # in the range
    regular, balanced, note = regularised(matrix, b, (2,), [a] if separable else None)
    torch.testing.assert_close(balanced.full(), b.full())
    assert "up to a constant" in note
    torch.testing.assert_close(a @ torch.linalg.solve(regular.full(), b.full()), b.full())
    with pytest.raises(ConfigError, match="does not add up to zero"):
        regularised(matrix, TensorTrain.ones([2], dtype=dtype), (2,), [a] if separable else None)


@DTYPES
def test_operators_without_known_range_are_refused(dtype: torch.dtype) -> None:
    """Constants are in the range of this nilpotent matrix, so that nothing projects onto them along it."""
    a = torch.tensor([[1.0, -1.0], [1.0, -1.0]], dtype=dtype)
    with pytest.raises(ConfigError, match="is not known"):
        regularised(TensorTrain.rank_one([a], operator=True), TensorTrain.ones([2], dtype=dtype), (2,))


@pytest.mark.parametrize(
    ("value", "format_"),
    [
        (np.zeros((16, 16)), TensorTrain),
        (np.zeros((16, 16)), Bits()),
        (lambda x: 0 * x[:, 0], TensorTrain),
        (lambda x: 0 * x[:, 0], Bits(interleave=True)),
        (0.0, Bits(interleave=True)),
    ],
)
def test_potentials_that_vanish_leave_constants_undetermined(value: Any, format_: Any) -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 16, Neumann())
    operator = -laplacian(grid) + potential(grid, value)
    solution = solve(Problem(operator, lambda x: x[:, 0] - 0.5), format=format_)
    assert solution.converged and "up to a constant" in solution.message
    assert isinstance(solution.field, TensorTrain) and float(solution.field.norm()) < 16
    assert abs(float(solution.field.sum())) < 1e-6
    with pytest.raises(ConfigError, match="does not add up to zero"):
        solve(Problem(operator, 1.0), format=format_)


@pytest.mark.parametrize("levels", [4, 20])
@pytest.mark.parametrize("value", [1.0, lambda x: 1 + 0 * x[:, 0]], ids=["number", "function"])
def test_potentials_determine_the_field_on_fine_grids_too(levels: int, value: Any) -> None:
    """Beside differences of neighbours 2^-20 apart a potential is below the precision."""
    grid = Grid.uniform([(0.0, 1.0)], 2**levels, Neumann())
    solution = solve(Problem(-laplacian(grid) + potential(grid, value), 2.0), format=Bits())
    assert solution.converged and "constant" not in solution.message
    found = solution.field.at(Bits().indices(grid, torch.tensor([[0], [7], [2**levels - 1]])))
    torch.testing.assert_close(found, torch.full((3,), 2.0, dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", [1e-13, 1e-15])
def test_nearly_singular_operators_do_not_claim_to_converge(scale: float) -> None:
    """Their residual is small because entries agree in all their digits."""
    grid = Grid.uniform([(0.0, 1.0)] * 2, 16, Neumann())
    operator = -laplacian(grid) + potential(grid, lambda x: scale * (1 + x[:, 0]))
    solution = solve(Problem(operator, lambda x: x[:, 0] - 0.3))
    assert not solution.converged


def test_small_residuals_of_large_multiples_of_a_null_vector_are_not_trusted() -> None:
    matrix = assemble(-laplacian(Grid.uniform([(0.0, 1.0)] * 2, 16, Neumann()))).matrix
    b = matrix @ TensorTrain.random([16, 16], 2, generator=torch.Generator().manual_seed(0))
    for size, expected in ((1.0, True), (1e6, True), (1e14, False)):
        field = TensorTrain.ones([16, 16]) * size
        solution = Solution(field, True, 1e-9, 0.0, 1, "")
        found = trusted(solution, matrix, b, 1e-8)
        assert found.converged is expected
        assert expected or "rounding errors of the field" in found.message


LEANING = [(Robin(1.0), Robin(-0.5))]  # which 1 + x fulfils


@pytest.mark.parametrize("chebyshev", [False, True])
@pytest.mark.parametrize("solver", [None, AMEn(), ExponentialSums()], ids=["default", "AMEn", "sums"])
def test_null_vectors_other_than_constants_are_found(chebyshev: bool, solver: Any) -> None:
    make = Grid.chebyshev if chebyshev else Grid.uniform
    grid = make([(0.0, 1.0)], 12, LEANING)
    x = grid.points()[0]
    dense = separable_matrices(-laplacian(grid))
    assert dense is not None
    torch.testing.assert_close(dense[0] @ (1 + x), 0 * x, rtol=0, atol=1e-9)
    source = dense[0] @ torch.cos(x)
    solution = solve(Problem(-laplacian(grid), source), solver=solver)
    assert solution.converged and "maps to zero, a space of dimension 1" in solution.message
    torch.testing.assert_close(dense[0] @ solution.field.full(), source, rtol=1e-6, atol=1e-6)
    with pytest.raises(ConfigError, match="null space"):
        solve(Problem(-laplacian(grid), lambda x: 1 + x[:, 0]), solver=solver)


def test_advection_without_diffusion_has_more_null_vectors_than_constants() -> None:
    """Central differences on periodic points do not see what alternates either."""
    grid = Grid.uniform([(0.0, 1.0)] * 2, 8, Periodic())
    with pytest.raises(ConfigError, match=r"a space of \d+ fields to zero, not only constants"):
        solve(Problem(advection(grid, [3.0, 1.0]), lambda x: torch.sin(2 * torch.pi * x[:, 0])))


@pytest.mark.parametrize("solver", [None, AMEn()], ids=["default", "AMEn"])
def test_diffusion_in_one_direction_is_free_in_the_other(solver: Any) -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, [16, 6], Neumann())
    operator = -divergence([1.0, 0.0], gradient(grid))
    exact = lambda x: torch.cos(torch.pi * x[:, 0]) * (1 + x[:, 1])  # noqa: E731
    solution = solve(Problem(operator, lambda x: torch.pi**2 * exact(x)), solver=solver)
    assert solution.converged and "a space of dimension 6" in solution.message
    expected = exact(torch.cartesian_prod(*grid.points())).reshape(16, 6)
    torch.testing.assert_close(solution.field.full(), expected, rtol=0, atol=0.01)
    torch.testing.assert_close(
        solution.field.full().sum(0), torch.zeros(6, dtype=torch.float64), atol=1e-7, rtol=0
    )
    for source in (1.0, lambda x: x[:, 1] - 0.5):  # the mean of the second is zero, but not along x
        with pytest.raises(ConfigError, match="null space"):
            solve(Problem(operator, source), solver=solver)


@pytest.mark.parametrize("format_", [TensorTrain, Bits()], ids=str)
@pytest.mark.parametrize("condition", [Neumann(), Periodic()])
def test_drift_that_varies_has_a_range_of_its_own(condition: Any, format_: Any) -> None:
    """(-Δ + b·∇) u = A v for some v gives v back, up to a constant; what is not in the range is refused."""
    grid = Grid.uniform([(0.0, 1.0)] * 2, 16, condition)
    drift = lambda x: 1 + 0.5 * torch.sin(2 * torch.pi * x[:, 0]) * torch.cos(2 * torch.pi * x[:, 1])  # noqa: E731
    operator = -laplacian(grid) + advection(grid, [drift, 1.0])
    x = torch.cartesian_prod(*grid.points())
    expected = (torch.cos(2 * torch.pi * x[:, 0]) * torch.sin(2 * torch.pi * x[:, 1])).reshape(16, 16)
    source = torch.einsum("abcd,cd->ab", assemble(operator).matrix.full(), expected)
    solution = solve(Problem(operator, source), format=format_)
    assert solution.converged and "up to a constant" in solution.message
    difference = solution.field.full().reshape(16, 16) - expected
    assert float((difference - difference.mean()).abs().max()) < 1e-6
    with pytest.raises(ConfigError, match="does not add up to zero"):
        solve(Problem(operator, 1.0), format=format_)


def test_balance_is_measured_against_the_grid() -> None:
    require_balance(1e-3, (16, 64))
    require_balance(5e-3, (2, 2))
    with pytest.raises(ConfigError, match="lies in its null space"):
        require_balance(2e-2, (2, 2), constants=False)
    for share, shape in [(2e-2, (2, 2)), (1e-2, (64, 64))]:
        with pytest.raises(ConfigError, match="does not add up to zero"):
            require_balance(share, shape)
