from collections.abc import Callable
from math import log2
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde import (
    ALS,
    GMRES,
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
from sciten.pde.boundary import Condition
from sciten.pde.fields import sample
from sciten.tensor import CP, TensorTrain, TreeTensor
from sciten.tensor.decompose import chebyshev_tucker
from sciten.tensor.formats import Tree
from sciten.tensor.formats.convert import to_tree_tensor


def u(x: Tensor) -> Tensor:
    """With all derivatives at hand: a product of exponentials and a wave."""
    return torch.exp(0.5 * x[:, 0]) * torch.sin(x[:, 1] + 1)


def du(x: Tensor, axis: int) -> Tensor:
    if axis == 0:
        return 0.5 * u(x)
    return torch.exp(0.5 * x[:, 0]) * torch.cos(x[:, 1] + 1)


def laplacian_of_u(x: Tensor) -> Tensor:
    return (0.25 - 1.0) * u(x)


def with_data(kind: str, axis: int, outward: float) -> Condition:
    if kind == "dirichlet":
        return Dirichlet(u)
    if kind == "neumann":
        return Neumann(lambda x: outward * du(x, axis))
    return Robin(2.0, 0.5, lambda x: 2.0 * u(x) + 0.5 * outward * du(x, axis))


def conditions(lower: str, upper: str) -> list[tuple[Condition, Condition]]:
    return [(with_data(lower, axis, -1.0), with_data(upper, axis, 1.0)) for axis in (0, 1)]


def error(operator: Callable[[Grid], Operator], source: Callable[[Tensor], Tensor], grid: Grid) -> float:
    solution = solve(Problem(operator(grid), source))
    assert solution.converged, solution.message
    expected = u(torch.cartesian_prod(*grid.points())).reshape(grid.shape)
    difference = solution.field.full() - expected
    if "up to a constant" in solution.message:
        difference = difference - difference.mean()
    return float(difference.abs().max())


KINDS = ["dirichlet", "neumann", "robin"]
PAIRS = pytest.mark.parametrize(("lower", "upper"), [(a, b) for a in KINDS for b in KINDS])


@PAIRS
def test_poisson_is_of_second_order_for_all_conditions_with_data(lower: str, upper: str) -> None:
    errors = [
        error(
            lambda grid: -laplacian(grid),
            lambda x: -laplacian_of_u(x),
            Grid.uniform([(0.0, 1.0), (-0.5, 1.0)], n, conditions(lower, upper)),
        )
        for n in (16, 32)
    ]
    assert log2(errors[0] / errors[1]) > 1.8


@PAIRS
def test_chebyshev_is_of_spectral_order(lower: str, upper: str) -> None:
    grid = Grid.chebyshev([(0.0, 1.0), (-0.5, 1.0)], 14, conditions(lower, upper))
    assert error(lambda grid: -laplacian(grid), lambda x: -laplacian_of_u(x), grid) < 1e-8


@pytest.mark.parametrize("kind", KINDS)
def test_variable_coefficients_with_advection_are_of_second_order(kind: str) -> None:
    def k(x: Tensor) -> Tensor:
        return 1 + 0.5 * x[:, 0] * x[:, 1]

    def operator(grid: Grid) -> Operator:
        return (
            -divergence(k, gradient(grid)) + advection(grid, [1.0, lambda x: x[:, 0]]) + potential(grid, 1.0)
        )

    def source(x: Tensor) -> Tensor:
        diffusion = k(x) * laplacian_of_u(x) + 0.5 * x[:, 1] * du(x, 0) + 0.5 * x[:, 0] * du(x, 1)
        return -diffusion + du(x, 0) + x[:, 0] * du(x, 1) + u(x)

    errors = [
        error(operator, source, Grid.uniform([(0.0, 1.0), (-0.5, 1.0)], n, conditions(kind, kind)))
        for n in (16, 32)
    ]
    assert log2(errors[0] / errors[1]) > 1.8


def test_periodic_problems_are_of_second_order() -> None:
    def errors(n: int) -> float:
        grid = Grid.uniform([(0.0, 1.0)] * 2, n, Periodic())
        wave = lambda x: torch.sin(2 * torch.pi * x[:, 0]) * torch.cos(4 * torch.pi * x[:, 1])  # noqa: E731
        solution = solve(Problem(-laplacian(grid), lambda x: 20 * torch.pi**2 * wave(x)))
        assert solution.converged
        return float((solution.field.full() - sample(wave, grid.points()).full()).abs().max())

    assert log2(errors(16) / errors(32)) > 1.9


def test_face_values_are_pinned() -> None:
    """Discrete harmonic polynomials are reproduced exactly up to the faces, where nothing is approximated."""
    grid = Grid.uniform([(0.0, 1.0)] * 3, 7, Dirichlet(lambda x: 1 + x[:, 0] * x[:, 1] - 2 * x[:, 2]))
    solution = solve(Problem(-laplacian(grid), 0.0))
    x = torch.cartesian_prod(*grid.points())
    torch.testing.assert_close(
        solution.field.full().reshape(-1), 1 + x[:, 0] * x[:, 1] - 2 * x[:, 2], rtol=1e-7, atol=1e-7
    )


@pytest.mark.parametrize("d", [1, 3, 6])
def test_poisson_in_many_dimensions_against_a_dense_eigenbasis(d: int) -> None:
    n = 6 if d > 3 else 12
    grid = Grid.uniform([(0.0, 1.0)] * d, n)
    solution = solve(Problem(-laplacian(grid), 1.0))
    i = torch.arange(1, n + 1, dtype=torch.float64)
    modes = torch.sin(torch.pi * i[:, None] * i / (n + 1)) * (2 / (n + 1)) ** 0.5
    values = (2 * (n + 1) * torch.sin(torch.pi * i / (2 * (n + 1)))) ** 2
    total, f = torch.zeros([n] * d, dtype=torch.float64), torch.ones([n] * d, dtype=torch.float64)
    for axis in range(d):
        total = total + values.reshape([-1 if a == axis else 1 for a in range(d)])
        f = torch.tensordot(f, modes, ([0], [0]))
    expected = f / total
    for _ in range(d):
        expected = torch.tensordot(expected, modes, ([0], [1]))
    assert solution.converged and solution.residual <= 1e-8
    torch.testing.assert_close(solution.field.full(), expected, rtol=1e-7, atol=1e-9)


def variable(grid: Grid) -> Operator:
    def k(x: Tensor) -> Tensor:
        return 1 + torch.exp(-(x - 0.5).square().sum(-1)) * (1 + 0.5 * torch.sin(2 * torch.pi * x.sum(-1)))

    return -divergence(k, gradient(grid)) + advection(grid, 1.0)


@pytest.mark.parametrize("solver", [AMEn(), ALS(10), GMRES(1e-6, restart=60)], ids=["AMEn", "ALS", "GMRES"])
def test_all_solvers_find_the_same(solver: AMEn | ALS | GMRES) -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 3, 10)
    solution = solve(Problem(variable(grid), 1.0), solver=solver)
    reference = solve(Problem(variable(grid), 1.0), solver=AMEn(1e-11))
    assert solution.converged and reference.converged, (solution, reference)
    assert float((solution.field - reference.field).norm() / reference.field.norm()) < 1e-5


def test_complex_problems() -> None:
    """Helmholtz with absorption: (−Δ − k² − iγ) u = f."""
    grid = Grid.uniform([(0.0, 1.0)] * 2, 20, [(Dirichlet(), Neumann(0.5)), Dirichlet(1.0 + 1.0j)])
    operator = -laplacian(grid) + potential(grid, -4.0 - 5.0j) + 1j * advection(grid, 1.0)
    one, other = (
        solve(Problem(operator, lambda x: torch.exp(1j * x[:, 0])), solver=s)
        for s in (AMEn(), GMRES(1e-6, restart=100))
    )
    assert one.converged and one.field.dtype == torch.complex128
    torch.testing.assert_close(one.field.full(), other.field.full(), rtol=1e-4, atol=1e-5)


def test_sources_may_be_arrays_trains_and_numpy_functions() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 8)
    f = lambda x: np.exp(x[:, 0].numpy()) * x[:, 1].numpy()  # noqa: E731
    x = torch.cartesian_prod(*grid.points())
    dense = f(x).reshape(8, 8)
    found = [
        solve(Problem(-laplacian(grid), source)).field.full()
        for source in (f, dense, torch.from_numpy(dense), sample(f, grid.points()))
    ]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


@pytest.mark.parametrize("k", [1.0, lambda x: 1 + x[:, 0] ** 2], ids=["constant", "variable"])
def test_pure_neumann_problems_are_solved_up_to_a_constant(k: object) -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 20, Neumann())
    operator = -divergence(k, gradient(grid))  # type: ignore[arg-type]
    solution = solve(Problem(operator, lambda x: torch.cos(torch.pi * x[:, 0])))
    assert solution.converged and "up to a constant" in solution.message
    assert abs(float(solution.field.sum())) < 1e-8
    with pytest.raises(ConfigError, match="does not add up to zero"):
        solve(Problem(operator, 1.0))
    # Data that balance the source: a unit source leaves through the faces.
    open_grid = Grid.uniform([(0.0, 1.0)] * 2, 20, Neumann(-0.25))
    if k == 1.0:
        assert solve(Problem(-laplacian(open_grid), 1.0)).converged


def test_singular_problems_without_known_range_are_refused() -> None:
    """Collocation with a coefficient that varies: the null vector of its adjoint is no product."""
    grid = Grid.chebyshev([(0.0, 1.0)] * 2, 8, Neumann())
    operator = -divergence(lambda x: 1 + x[:, 0] * x[:, 1], gradient(grid))
    with pytest.raises(ConfigError, match="maps constants to zero"):
        solve(Problem(operator, lambda x: torch.cos(torch.pi * x[:, 0])))


def test_exponential_sums_refuse_what_they_cannot() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 8)
    with pytest.raises(ConfigError, match="act on one axis each"):
        solve(Problem(variable(grid), 1.0), solver=ExponentialSums())
    with pytest.raises(ConfigError, match="positive real parts"):
        solve(Problem(laplacian(grid), 1.0), solver=ExponentialSums())


def test_sources_that_cannot_be_used_are_refused() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 8)
    for source, words in [
        (lambda x: x[:, 0] * float("nan"), "inf or NaN"),
        (torch.ones(8, 9), "on the"),
        ("f", "expected a number"),
        (torch.full((8, 8), float("inf")), "inf"),
    ]:
        with pytest.raises(ConfigError, match=words):
            solve(Problem(-laplacian(grid), source))  # type: ignore[arg-type]


@pytest.mark.parametrize("operator", [lambda grid: -laplacian(grid), variable], ids=["separable", "variable"])
def test_solutions_go_on_trees(operator: Callable[[Grid], Operator]) -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 4, 6)
    problem = Problem(operator(grid), 1.0)
    train, tree = solve(problem), solve(problem, format=Tree.balanced(4))
    assert tree.converged and isinstance(tree.field, TreeTensor) and tree.residual <= 1e-8
    torch.testing.assert_close(tree.field.full(), train.field.full())
    with pytest.raises(ConfigError, match="leaves in order"):
        solve(problem, format=Tree(((0, 2), (1, 3))))


def test_sources_may_be_in_any_format() -> None:
    grid = Grid.chebyshev([(0.0, 1.0)] * 3, 12)
    function = lambda x: torch.exp(-x.square().sum(-1))  # noqa: E731
    found = chebyshev_tucker(function, [(0.0, 1.0)] * 3, 1e-10).on_grid(grid.points())
    for source in (found, to_tree_tensor(found, Tree.caterpillar(3))):
        field = solve(Problem(-laplacian(grid), source)).field.full()
        expected = solve(Problem(-laplacian(grid), function)).field.full()
        torch.testing.assert_close(field, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n", [16, 2**11], ids=["whole", "bits"])
def test_complex_data_of_real_operators_keep_their_imaginary_part(n: int) -> None:
    """By exponential sums, and on bits with a multilevel preconditioner."""
    grid = Grid.uniform([(0.0, 1.0)], n, [(Dirichlet(1j), Neumann(2j))])
    solution = solve(Problem(-laplacian(grid), 0.0), format=Bits() if n > 16 else TensorTrain)
    assert solution.converged and isinstance(solution.field, TensorTrain)
    places = torch.tensor([[0], [n // 2], [n - 1]])
    found = solution.field.at(Bits().indices(grid, places) if n > 16 else places)
    torch.testing.assert_close(found, 1j * (1 + 2 * grid.points()[0][places[:, 0]]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "format_", [TensorTrain, Bits(), Bits(interleave=True), Tree.caterpillar(2)], ids=str
)
def test_pure_neumann_problems_are_balanced_or_refused_in_every_format(format_: Any) -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 16, Neumann())
    solution = solve(
        Problem(-laplacian(grid), lambda x: torch.cos(torch.pi * x[:, 0]) + 1e-4), format=format_
    )
    assert solution.converged and "up to a constant" in solution.message
    assert "was taken from the source" in solution.message
    with pytest.raises(ConfigError, match="does not add up to zero"):
        solve(Problem(-laplacian(grid), 1.0), format=format_)


def test_operators_that_exponential_sums_cannot_invert_go_to_amen_by_themselves() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 16)
    operator = -laplacian(grid) - potential(grid, 100.0)  # Helmholtz
    solution = solve(Problem(operator, 1.0))
    assert solution.converged
    with pytest.raises(ConfigError, match="positive real parts"):
        solve(Problem(operator, 1.0), solver=ExponentialSums())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"format": "tt"}, "expected the format TensorTrain"),
        ({"format": CP}, "expected the format TensorTrain"),
        ({"solver": "amen"}, "a solver such as AMEn"),
        ({"solver": AMEn}, "a solver such as AMEn"),
        (
            {"solver": ExponentialSums(), "start": TensorTrain.ones([8, 8])},
            "neither a preconditioner nor a start",
        ),
        ({"format": Bits(), "preconditioner": RankOne()}, "their own preconditioner"),
        ({"format": Bits(interleave=True), "start": TensorTrain.ones([2] * 6)}, "expected no start"),
    ],
)
def test_arguments_that_do_not_apply_are_refused(arguments: dict[str, Any], words: str) -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 8)
    with pytest.raises(ConfigError, match=words):
        solve(Problem(-laplacian(grid), 1.0), **arguments)


def test_numbers_and_arrays_of_numpy_are_taken() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, np.int64(8))  # type: ignore[arg-type]
    values = np.arange(64.0).reshape(8, 8)
    operator = (
        -laplacian(grid)
        + advection(grid, np.array([1.0, 2.0]))  # type: ignore[arg-type]
        + potential(grid, values)
        + np.float64(0.5) * local_operator(grid, {0: np.eye(8)})  # type: ignore[dict-item]
    )
    same = -laplacian(grid) + advection(grid, [1.0, 2.0]) + potential(grid, torch.from_numpy(values + 0.5))
    fields = [solve(Problem(one, np.ones((8, 8)))).field.full() for one in (operator, same)]
    torch.testing.assert_close(fields[0], fields[1], rtol=1e-6, atol=1e-9)
    for bad in (lambda: potential(grid, float("nan")), lambda: advection(grid, np.inf)):
        with pytest.raises(ConfigError, match="a finite coefficient"):
            bad()
    with pytest.raises(ConfigError, match="a finite number"):
        solve(Problem(-laplacian(grid), float("inf")))


ELSEWHERE = torch.ones(8, 8, dtype=torch.float64, device="meta")  # a device that every machine has


@pytest.mark.parametrize(
    "make",
    [
        lambda grid: Problem(-laplacian(grid), ELSEWHERE),
        lambda grid: Problem(-laplacian(grid), TensorTrain.ones([8, 8], device="meta")),
        lambda grid: Problem(-laplacian(grid), lambda x: x[:, 0].to("meta")),
        lambda grid: Problem(-laplacian(grid) + potential(grid, ELSEWHERE), 1.0),
        lambda grid: Problem(-laplacian(grid) + local_operator(grid, {0: ELSEWHERE}), 1.0),
        lambda grid: Problem(given_operator(grid, TensorTrain.identity([8, 8], device="meta")), 1.0),
    ],
    ids=["array", "train", "function", "potential", "matrix", "operator"],
)
def test_tensors_on_other_devices_are_refused(make: Callable[[Grid], Problem]) -> None:
    with pytest.raises(ConfigError, match="on the CPU, where grids and operators are"):
        solve(make(Grid.uniform([(0.0, 1.0)] * 2, 8)))


@pytest.mark.parametrize("format_", [TensorTrain, Bits()], ids=str)
def test_starts_on_other_devices_are_refused(format_: Any) -> None:
    problem = Problem(-laplacian(Grid.uniform([(0.0, 1.0)] * 2, 8)), 1.0)
    for solver in (AMEn(), ALS(2), GMRES()):
        with pytest.raises(ConfigError, match="expected a start on cpu, where the operator is"):
            solve(problem, format=format_, solver=solver, start=TensorTrain.ones([8, 8], device="meta"))
    bits = TensorTrain.ones([2] * 6, device="meta")
    with pytest.raises(ConfigError, match="on the CPU"):
        solve(Problem(problem.operator, bits), format=Bits(interleave=True))


@pytest.mark.parametrize("levels", [10, 25, 30])
def test_boundary_data_do_not_hide_the_source_on_fine_grids(levels: int) -> None:
    """Data are divided by the square of the spacing, up to 10^18 times the source."""
    grid = Grid.uniform([(0.0, 1.0)], 2**levels, boundary=[(Dirichlet(1.0), Dirichlet(2.0))])
    solution = solve(Problem(-laplacian(grid), 1.0), format=Bits())
    assert solution.converged
    places = torch.randint(0, 2**levels, (50, 1), generator=torch.Generator().manual_seed(0))
    x = grid.axes[0].first + grid.axes[0].spacing * places[:, 0].to(torch.float64)
    found = solution.field.at(Bits().indices(grid, places))
    torch.testing.assert_close(found, 1 + x + x * (1 - x) / 2, rtol=0, atol=1e-5)
