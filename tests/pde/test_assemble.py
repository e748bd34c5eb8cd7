from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sciten.pde import (
    Dirichlet,
    Grid,
    Neumann,
    Operator,
    Periodic,
    Robin,
    advection,
    divergence,
    gradient,
    laplacian,
    local_operator,
    potential,
)
from sciten.pde.assemble import AffineMap, assemble, separable_matrices
from sciten.pde.boundary import Condition
from sciten.pde.fields import sample
from sciten.pde.solvers.exponential_sums import kronecker_sum
from sciten.tensor import TensorTrain

BOUNDS = [(0.0, 1.0), (-1.0, 1.0)]


def parabola(x: Tensor) -> Tensor:
    return 1 + 2 * x[:, 0] - x[:, 1] + x[:, 0] * x[:, 1] + 3 * x[:, 0] ** 2 - x[:, 1] ** 2


def slope(axis: int) -> Callable[[Tensor], Tensor]:
    if axis == 0:
        return lambda x: 2 + x[:, 1] + 6 * x[:, 0]
    return lambda x: -1 + x[:, 0] - 2 * x[:, 1]


def neumann(axis: int, outward: float) -> Neumann:
    return Neumann(lambda x: outward * slope(axis)(x))


def applied(affine: AffineMap, field: TensorTrain) -> Tensor:
    image = (affine.matrix @ field).full()
    return image if affine.offset is None else image + affine.offset.full()


@pytest.mark.parametrize(
    "conditions",
    [
        [Dirichlet(parabola)] * 2,
        [(neumann(axis, -1.0), neumann(axis, 1.0)) for axis in (0, 1)],
        [(neumann(0, -1.0), Dirichlet(parabola)), (Dirichlet(parabola), neumann(1, 1.0))],
    ],
    ids=["Dirichlet", "Neumann", "mixed"],
)
@pytest.mark.parametrize("grid", [Grid.uniform, Grid.chebyshev], ids=["uniform", "Chebyshev"])
def test_parabolas_with_their_boundary_data_are_differentiated_exactly(
    grid: Callable[..., Grid], conditions: list[Condition]
) -> None:
    on = grid(BOUNDS, [5, 6], conditions)
    places = torch.cartesian_prod(*on.points())
    field = sample(parabola, on.points())
    torch.testing.assert_close(
        applied(assemble(laplacian(on)), field),
        torch.full((5, 6), 4.0, dtype=torch.float64),
        rtol=0,
        atol=1e-8,
    )
    drift = 2 * slope(0)(places) - places[:, 0] * slope(1)(places)
    operator = advection(on, [2.0, lambda x: -x[:, 0]])
    torch.testing.assert_close(applied(assemble(operator), field).flatten(), drift, rtol=0, atol=1e-8)


def test_zero_data_add_nothing() -> None:
    grid = Grid.uniform(BOUNDS, 4, [(Dirichlet(), Neumann()), Robin(1.0, 2.0)])
    assert assemble(-laplacian(grid) + advection(grid, 1.0)).offset is None
    assert assemble(laplacian(Grid.uniform(BOUNDS, 4, [Dirichlet(1.0), Periodic()]))).offset is not None


@pytest.mark.parametrize("condition", [Neumann(), Periodic()], ids=["closed", "periodic"])
def test_what_flows_is_conserved(condition: Condition) -> None:
    """The sum of ∇·(k ∇u) over all points vanishes for every u where nothing leaves."""
    grid = Grid.uniform(BOUNDS, [5, 6], condition)
    matrix = assemble(divergence(lambda x: 2 + torch.cos(torch.pi * x.sum(-1)), gradient(grid))).matrix
    ones = TensorTrain.ones([5, 6])
    assert float((matrix.mT @ ones).norm()) < 1e-10 * float(matrix.norm())
    assert float((matrix - matrix.mT).norm()) < 1e-10 * float(matrix.norm())


def test_ranks_are_known_beforehand() -> None:
    """2 for a Laplacian, and twice the rank of k for a divergence, which has the rank of k at the faces besides."""
    grid = Grid.uniform([(0.0, 1.0)] * 5, 4)
    assert assemble(laplacian(grid)).matrix.ranks == (1, 2, 2, 2, 2, 1)
    k = lambda x: 1 + torch.sin(x.sum(-1))  # noqa: E731 - of rank 3
    assert max(assemble(divergence(k, gradient(grid))).matrix.ranks) == 6


def test_coefficients_are_sampled_once_for_all_terms_that_share_them() -> None:
    grid = Grid.uniform(BOUNDS, [4, 5])
    seen: list[int] = []

    def k(x: Tensor) -> Tensor:
        seen.append(len(x))
        return 1 + x[:, 0] * x[:, 1]

    assemble(divergence(k, gradient(grid)) + potential(grid, k) + advection(grid, k))
    assert sum(seen) == (4 + 5) * (5 + 6)  # unknowns and faces


def constant(grid: Grid) -> Operator:
    swap = torch.arange(float(grid.shape[1] ** 2), dtype=torch.float64).view(grid.shape[1], -1)
    return (
        -laplacian(grid)
        + advection(grid, [0.5, -2.0])
        + potential(grid, 3.0)
        + 0.1 * local_operator(grid, {1: swap})
    )


@pytest.mark.parametrize(
    "grid",
    [
        Grid.uniform(BOUNDS, [4, 5], [(Dirichlet(), Neumann()), Robin(2.0)]),
        Grid.chebyshev(BOUNDS, [4, 5], Neumann()),
        Grid.uniform(BOUNDS, [4, 5], Periodic()),
    ],
    ids=["mixed", "Chebyshev", "periodic"],
)
def test_separable_operators_are_the_sums_of_their_matrices(grid: Grid) -> None:
    operator = constant(grid)
    matrices = separable_matrices(operator)
    assert matrices is not None and [len(m) for m in matrices] == [4, 5]
    torch.testing.assert_close(kronecker_sum(matrices).full(), assemble(operator).matrix.full())


def test_other_operators_have_no_matrices_of_their_axes() -> None:
    grid = Grid.uniform(BOUNDS, 4)
    eye = torch.eye(4, dtype=torch.float64)
    for other in (potential(grid, lambda x: x[:, 0]), local_operator(grid, {0: eye, 1: eye})):
        assert separable_matrices(laplacian(grid) + other) is None


def test_complex_parts_make_the_whole_complex() -> None:
    grid = Grid.uniform(BOUNDS, [4, 5], [Dirichlet(1j), Dirichlet()])
    affine = assemble(laplacian(grid) + potential(grid, lambda x: 1j * x[:, 0]))
    assert affine.matrix.dtype == torch.complex128
    assert affine.offset is not None and affine.offset.dtype == torch.complex128
    real = assemble(laplacian(grid)).matrix.full()
    torch.testing.assert_close(affine.matrix.full().real, real)
