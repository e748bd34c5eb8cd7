import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde import (
    AMEn,
    Bits,
    Dirichlet,
    ExponentialSums,
    Grid,
    Neumann,
    Operator,
    Periodic,
    Problem,
    RankOne,
    Robin,
    advection,
    divergence,
    given_operator,
    gradient,
    laplacian,
    local_operator,
    potential,
    solve,
)
from sciten.pde.assemble import assemble as assemble_modes
from sciten.pde.boundary import Condition
from sciten.pde.quantised.assemble import assemble, elliptic
from sciten.tensor import TensorTrain

ORDERS = pytest.mark.parametrize(
    "order", [Bits(interleave=True), Bits(interleave=False)], ids=["interleaved", "serial"]
)
PAIRS: list[tuple[Condition, Condition]] = [
    (Dirichlet(1.0), Neumann(lambda x: x.sum(-1))),
    (Robin(2.0, 0.5, 3.0), Dirichlet()),
    (Neumann(), Dirichlet(lambda x: x[:, 0] + 1)),
    (Periodic(), Periodic()),
]


def k(x: Tensor) -> Tensor:
    return 2 + torch.sin(2 * torch.pi * x).prod(-1)


def on_points(train: TensorTrain, grid: Grid, order: Bits) -> Tensor:
    """A train of bits as a full tensor on the points."""
    indices = torch.cartesian_prod(*(torch.arange(n) for n in grid.shape)).reshape(-1, len(grid))
    return train.at(order.indices(grid, indices)).reshape(grid.shape)


@ORDERS
@pytest.mark.parametrize("pair", PAIRS, ids=["DN", "RD", "ND", "PP"])
@pytest.mark.parametrize("d", [1, 2])
def test_operators_are_those_of_whole_dimensions(
    order: Bits, pair: tuple[Condition, Condition], d: int
) -> None:
    grid = Grid.uniform([(0.0, 1.0)] * d, 8, [pair] * d)

    def field(x: Tensor) -> Tensor:
        return torch.exp(x.sum(-1)) + x[:, 0]

    operators: list[Operator] = [
        laplacian(grid),
        -divergence(k, gradient(grid)) + advection(grid, 1.5),
        advection(grid, [lambda x: x[:, -1] + 1] * d) + potential(grid, k) - 2 * potential(grid, 1.0),
        local_operator(grid, {d - 1: torch.diag(grid.points()[-1]) + torch.ones(8, 8, dtype=torch.float64)}),
    ]
    u = order.field(grid, field, 1e-12)
    x = torch.cartesian_prod(*grid.points()).reshape(-1, d)
    torch.testing.assert_close(on_points(u, grid, order), field(x).reshape(grid.shape))
    for operator in operators:
        whole, bits = assemble_modes(operator, 1e-12), assemble(operator, order, 1e-12)
        expected = torch.tensordot(whole.matrix.full(), field(x).reshape(grid.shape), d)
        torch.testing.assert_close(on_points(bits.matrix @ u, grid, order), expected, rtol=1e-8, atol=1e-7)
        assert (whole.offset is None) == (bits.offset is None)
        if whole.offset is not None and bits.offset is not None:
            torch.testing.assert_close(
                on_points(bits.offset, grid, order), whole.offset.full(), rtol=1e-8, atol=1e-7
            )


@pytest.mark.parametrize(
    "pair", [(Dirichlet(), Neumann()), (Dirichlet(), Dirichlet()), (Neumann(), Dirichlet())]
)
@pytest.mark.parametrize("d", [1, 2])
def test_elliptic_forms_are_those_of_the_operator(pair: tuple[Condition, Condition], d: int) -> None:
    grid = Grid.uniform([(0.0, 1.0)] * d, 8, [pair] * d)
    operator = -2.0 * divergence(k, gradient(grid)) + potential(grid, k)
    form = elliptic(operator, 1e-12)
    assert form is not None
    a = assemble(operator, Bits(interleave=True), 1e-12).matrix.full().reshape(8**d, 8**d)
    c = form.multilevel.preconditioner.full().reshape(8**d, 8**d)
    expected = c.T @ a @ c
    found = form.matrix.full().reshape(8**d, 8**d)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))


def test_what_has_no_elliptic_form() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 8)
    for operator in (
        laplacian(grid),
        -laplacian(grid) + advection(grid, 1.0),
        -laplacian(grid) - laplacian(grid),
        -laplacian(Grid.uniform([(0.0, 1.0)] * 2, 8, Robin(1.0))),
        -1j * laplacian(grid),
    ):
        assert elliptic(operator) is None


@ORDERS
def test_fields_are_those_of_whole_dimensions(order: Bits) -> None:
    pair = (Dirichlet(1.0), Neumann(0.5))
    grid = Grid.uniform([(0.0, 1.0), (0.0, 2.0)], 16, [pair, Dirichlet(lambda x: 1 + x[:, 0] / 2)])
    problem = Problem(-divergence(k, gradient(grid)), lambda x: x[:, 0] * x[:, 1])
    whole, bits = solve(problem, solver=AMEn(1e-10)), solve(problem, format=order, solver=AMEn(1e-10))
    assert whole.converged and bits.converged, bits
    assert isinstance(bits.field, TensorTrain)
    torch.testing.assert_close(on_points(bits.field, grid, order), whole.field.full(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("levels", [6, 12, 20])
def test_fine_grids_keep_their_accuracy(levels: int) -> None:
    """-u″ = 1, u(0) = 0, u′(1) = 0; differences are exact for parabolas."""
    grid = Grid.uniform([(0.0, 1.0)], 2**levels, [(Dirichlet(), Neumann())])
    solution = solve(Problem(-laplacian(grid), 1.0), format=Bits(), solver=AMEn(1e-11))
    assert solution.converged and isinstance(solution.field, TensorTrain), solution.message
    axis = grid.axes[0]
    i = torch.linspace(0, axis.n - 1, 500, dtype=torch.float64).long()
    x = axis.first + axis.spacing * i.to(torch.float64)
    found = solution.field.at(Bits().indices(grid, i[:, None]))
    torch.testing.assert_close(found, x - x.square() / 2, rtol=1e-9, atol=1e-10)


def test_bad_uses_are_refused() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 8)
    train = assemble_modes(-laplacian(grid)).matrix
    for make, words in [
        (
            lambda: solve(Problem(-laplacian(Grid.uniform([(0.0, 1.0)], 12)), 1.0), format=Bits()),
            "power of two",
        ),
        (
            lambda: solve(Problem(-laplacian(Grid.chebyshev([(0.0, 1.0)], 8)), 1.0), format=Bits()),
            "Chebyshev",
        ),
        (lambda: solve(Problem(given_operator(grid, train), 1.0), format=Bits(True)), "cannot be split"),
        (
            lambda: solve(Problem(-laplacian(grid), 1.0), format=Bits(True), solver=ExponentialSums()),
            "use AMEn",
        ),
        (lambda: solve(Problem(-laplacian(grid), 1.0), format=Bits(), preconditioner=RankOne()), "their own"),
        (lambda: Bits(interleave=True).field(grid, torch.ones(8, 8), 1e-10), "interleaved bits"),
    ]:
        with pytest.raises(ConfigError, match=words):
            make()
