import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde import (
    GMRES,
    AMEn,
    ExponentialSum,
    Grid,
    Operator,
    Problem,
    RankOne,
    advection,
    divergence,
    gradient,
    local_operator,
    potential,
    solve,
)
from sciten.pde.assemble import assemble
from sciten.pde.preconditioners import Preconditioner


def k(x: Tensor) -> Tensor:
    return 1 + torch.exp(-(x - 0.5).square().sum(-1))


def diffusion(n: int) -> Operator:
    grid = Grid.uniform([(0.0, 1.0)] * 2, n)
    return -divergence(k, gradient(grid)) + advection(grid, 1.0) + potential(grid, 2.0)


def condition(operator: Operator, preconditioner: Preconditioner) -> float:
    matrix = assemble(operator).matrix
    size = operator.grid.shape[0] ** 2
    near_inverse = preconditioner.inverse(operator, matrix).full().reshape(size, size)
    return float(torch.linalg.cond(near_inverse @ matrix.full().reshape(size, size)))


def test_exponential_sums_bound_the_condition_number_on_all_grids() -> None:
    conditions = [condition(diffusion(n), ExponentialSum(0.01)) for n in (8, 16, 24)]
    assert max(conditions) < 4  # k lies between 1.6 and 2, and advection adds little


def test_rank_one_inverts_kronecker_products() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 6)
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(6, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    product = local_operator(grid, {0: a @ a.T + torch.eye(6), 1: b @ b.T + torch.eye(6)})
    assert condition(product, RankOne()) == pytest.approx(1.0, abs=1e-8)
    with pytest.raises(ConfigError, match="axis 0 is singular"):
        condition(local_operator(grid, {0: torch.ones(6, 6, dtype=torch.float64)}), RankOne())


@pytest.mark.parametrize("solver", [AMEn(1e-8), GMRES(1e-8)], ids=["AMEn", "GMRES"])
def test_preconditioned_solutions_are_the_same(solver: AMEn | GMRES) -> None:
    problem = Problem(diffusion(32), 1.0)
    plain = solve(problem, solver=AMEn(1e-10))
    found = solve(problem, solver=solver, preconditioner=ExponentialSum())
    assert found.converged and found.residual <= 1e-8, found
    torch.testing.assert_close(found.field.full(), plain.field.full(), rtol=1e-6, atol=1e-9)


def test_a_residual_that_rounding_keeps_up_is_said_to_be() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 48)
    solution = solve(
        Problem(-divergence(k, gradient(grid)), 1.0),
        solver=AMEn(1e-15, max_sweeps=6),
        preconditioner=ExponentialSum(),
    )
    assert not solution.converged and solution.residual > 1e-15
    assert (
        "rounding errors" in solution.message
        or "stopped falling" in solution.message
        or "sweeps" in solution.message
    )


def test_operators_without_diffusion_have_no_exponential_sum() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 6)
    operator = local_operator(
        grid, {0: torch.eye(6, dtype=torch.float64), 1: torch.eye(6, dtype=torch.float64)}
    )
    with pytest.raises(ConfigError, match="with diffusion"):
        condition(operator, ExponentialSum())


def test_a_right_side_of_zero_is_solved_with_a_preconditioner_too() -> None:
    solution = solve(Problem(diffusion(8), 0.0), preconditioner=ExponentialSum())
    assert solution.converged and solution.residual == 0 and float(solution.field.norm()) == 0
