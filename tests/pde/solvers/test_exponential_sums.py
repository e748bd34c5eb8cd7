import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciten.errors import ConfigError
from sciten.pde import ExponentialSums
from sciten.pde.solvers.exponential_sums import inverse, inverse_exponentials, kronecker_sum
from sciten.tensor import TensorTrain


@settings(max_examples=60, deadline=None)
@given(
    smallest=st.floats(1e-3, 1e3),
    spread=st.floats(1.0, 1e8),
    tolerance=st.sampled_from([1e-2, 1e-6, 1e-9, 1e-12]),
    angle=st.sampled_from([0.0, 0.8]),
)
def test_exponentials_add_up_to_inverses(
    smallest: float, spread: float, tolerance: float, angle: float
) -> None:
    weights, exponents = inverse_exponentials(smallest, smallest * spread, tolerance, angle)
    x = smallest * torch.logspace(0, float(torch.log10(torch.tensor(spread))), 400, dtype=torch.float64)
    z = x * torch.exp(torch.tensor(1j * angle))
    found = (weights * torch.exp(-exponents * z[:, None])).sum(-1)
    assert float((found * z - 1).abs().max()) <= tolerance
    assert bool((weights > 0).all())
    assert len(weights) <= 100 if angle == 0 else True


def spd(n: int, seed: int) -> torch.Tensor:
    a = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a @ a.T + 0.1 * torch.eye(n, dtype=torch.float64)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("rank", [1, 3])
def test_solutions_are_those_of_dense_systems(symmetric: bool, rank: int) -> None:
    matrices = [spd(n, n) for n in (4, 5, 3)]
    if not symmetric:
        matrices = [m + 0.01 * torch.triu(m, 1) for m in matrices]
    b = TensorTrain.random([4, 5, 3], rank, generator=torch.Generator().manual_seed(1))
    solution = ExponentialSums(1e-10).solve(matrices, b)
    expected = torch.linalg.solve(kronecker_sum(matrices).full().reshape(60, 60), b.full().reshape(-1))
    assert solution.converged and solution.residual <= 1e-10
    torch.testing.assert_close(solution.field.full().reshape(-1), expected, rtol=1e-6, atol=1e-8)
    found = inverse(matrices, 1e-10).full().reshape(60, 60)
    torch.testing.assert_close(found @ b.full().reshape(-1), expected, rtol=1e-6, atol=1e-8)


def test_right_sides_of_high_rank_are_summed_in_parts() -> None:
    matrices = [spd(30, 1), spd(30, 2)]
    b = TensorTrain.random([30, 30], 30, generator=torch.Generator().manual_seed(1))
    solution = ExponentialSums(1e-9).solve(matrices, b)
    assert solution.converged


def test_a_tolerance_out_of_reach_is_said_to_be() -> None:
    n = 300
    rotation = torch.linalg.qr(
        torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ).Q
    stiff = rotation @ torch.diag(torch.logspace(0, 10, n, dtype=torch.float64)) @ rotation.T
    solution = ExponentialSums(1e-12).solve([(stiff + stiff.T) / 2] * 2, TensorTrain.ones([n, n]))
    assert not solution.converged and solution.residual > 1e-12
    assert "rounding errors exceed the tolerance" in solution.message


def test_zero_right_sides_have_zero_solutions() -> None:
    solution = ExponentialSums().solve([spd(3, 0)] * 2, TensorTrain.zeros([3, 3]))
    assert solution.converged and float(solution.field.norm()) == 0


def test_strong_advection_is_refused() -> None:
    n = 60
    upwind = torch.eye(n, dtype=torch.float64) - torch.diag(torch.ones(n - 1, dtype=torch.float64), -1)
    with pytest.raises(ConfigError, match="condition number"):
        ExponentialSums().solve([upwind] * 2, TensorTrain.ones([n, n]))
