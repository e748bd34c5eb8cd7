import pytest
import torch

from sciten.errors import ConfigError
from sciten.pde import MALS, AMEn, Bits, Grid, laplacian
from sciten.pde.quantised.assemble import assemble
from sciten.pde.solvers.exponential_sums import kronecker_sum
from sciten.tensor import TensorTrain
from tests.pde.solvers.systems import dense, generator, operator

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])


@DTYPES
@pytest.mark.parametrize("rank", [1, 3])
def test_ranks_are_those_of_the_solution(rank: int, dtype: torch.dtype) -> None:
    """From a random start of other ranks: a cut between two cores shows what they need."""
    shape = [3, 4, 2, 3, 4]
    matrix = operator(shape, dtype)
    exact = TensorTrain.random(shape, rank, generator=generator(5), dtype=dtype)
    solution = MALS(1e-10).solve(matrix, matrix @ exact)
    assert solution.converged, solution.message
    assert solution.ranks == exact.round(1e-12).ranks
    assert float((solution.field - exact).norm()) <= 1e-8 * float(exact.norm())


@DTYPES
@pytest.mark.parametrize("shape", [[7], [3, 5]])
def test_one_core_and_two_are_solved_at_once(shape: list[int], dtype: torch.dtype) -> None:
    matrix = operator(shape, dtype)
    b = TensorTrain.random(shape, 2, generator=generator(3), dtype=dtype)
    solution = MALS(1e-12).solve(matrix, b)
    assert solution.converged and solution.iterations <= 2
    torch.testing.assert_close(solution.field.full(), dense(matrix, b))


def test_poisson_on_bits_has_the_ranks_of_a_parabola() -> None:
    """-u'' = 1 with u = 0 at both ends: u = x (1 - x) / 2 exactly, also at the points."""
    grid = Grid.uniform([(0.0, 1.0)], 2**8)
    matrix = assemble(-laplacian(grid), Bits()).matrix
    solution = MALS(1e-8).solve(matrix, TensorTrain.ones([2] * 8))
    x = grid.points()[0]
    assert solution.converged and max(solution.ranks) <= 3
    torch.testing.assert_close(solution.field.full().reshape(-1), x * (1 - x) / 2, rtol=1e-6, atol=1e-8)


def test_a_rank_that_does_not_suffice_is_told() -> None:
    shape = [4] * 4
    b = TensorTrain.random(shape, 4, generator=generator(3))
    solution = MALS(1e-10, max_rank=2, max_sweeps=20).solve(operator(shape, torch.float64), b)
    assert not solution.converged and solution.residual > 1e-10
    assert max(solution.ranks) == 2 and "larger one" in solution.message


def test_pairs_and_single_cores_agree() -> None:
    shape = [2] * 6
    matrix, b = operator(shape, torch.float64), TensorTrain.random([2] * 6, 2, generator=generator(3))
    one, other = (solver.solve(matrix, b).field for solver in (MALS(1e-11), AMEn(1e-11)))
    assert float((one - other).norm()) <= 1e-9 * float(other.norm())


def test_pairs_of_long_modes_are_refused() -> None:
    matrix = kronecker_sum([torch.eye(100, dtype=torch.float64)] * 2)
    with pytest.raises(ConfigError, match="short modes"):
        MALS().solve(matrix, TensorTrain.ones([100, 100]))
