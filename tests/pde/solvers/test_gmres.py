import pytest
import torch

from sciten.pde import GMRES
from sciten.pde.solvers.exponential_sums import inverse, kronecker_sum
from sciten.tensor import TensorTrain
from tests.pde.solvers.systems import dense, generator, operator, random

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])

SHAPE = [4, 3, 5]


def diagonal(*values: list[float]) -> TensorTrain:
    return kronecker_sum([torch.diag(torch.tensor(one, dtype=torch.float64)) for one in values])


def test_iterations_are_the_number_of_different_eigenvalues() -> None:
    """Sums of 1 or 2 and 10 or 30 are four, so the minimal polynomial has degree four."""
    matrix = diagonal([1.0, 2.0, 1.0, 2.0], [10.0, 30.0, 10.0])
    b = TensorTrain.random([4, 3], 2, generator=generator())
    solution = GMRES(1e-10).solve(matrix, b)
    assert solution.converged and solution.iterations == 4
    torch.testing.assert_close(solution.field.full(), dense(matrix, b))


def test_indefinite_operators_are_solved() -> None:
    matrix = diagonal([-7.0, 1.0, 5.0], [0.3, 0.5], [0.1, 0.2])
    b = TensorTrain.ones([3, 2, 2])
    solution = GMRES(1e-9, restart=30).solve(matrix, b)
    assert solution.converged
    torch.testing.assert_close(solution.field.full(), dense(matrix, b), rtol=1e-7, atol=1e-9)


def test_the_inverse_as_a_preconditioner_leaves_one_iteration() -> None:
    parts = [m @ m.mT + torch.eye(n, dtype=torch.float64) for n in SHAPE for m in [random(n, n, seed=n)]]
    b = TensorTrain.random(SHAPE, 2, generator=generator())
    solution = GMRES(1e-8, preconditioner=inverse(parts, 1e-12)).solve(kronecker_sum(parts), b)
    assert solution.converged and solution.iterations == 1


@DTYPES
def test_restarts_and_limits_are_kept(dtype: torch.dtype) -> None:
    matrix = operator(SHAPE, dtype)
    b = TensorTrain.random(SHAPE, 2, generator=generator(3), dtype=dtype)
    few = GMRES(1e-10, restart=4, max_iterations=10).solve(matrix, b)
    assert few.iterations == 10 and not few.converged and "10 iterations" in few.message
    assert few.residual == min(few.history) and len(few.history) == 4
    true = float((matrix @ few.field - b).norm() / b.norm())
    assert few.residual == pytest.approx(true, rel=1e-6)
    narrow = GMRES(1e-10, max_rank=1, max_iterations=20).solve(matrix, b)
    assert not narrow.converged and max(narrow.ranks) == 1


@DTYPES
def test_a_solution_as_the_start_is_left_as_it_is(dtype: torch.dtype) -> None:
    matrix = operator(SHAPE, dtype)
    exact = TensorTrain.random(SHAPE, 2, generator=generator(4), dtype=dtype)
    solution = GMRES(1e-8).solve(matrix, matrix @ exact, exact)
    assert solution.converged and solution.iterations == 0
    torch.testing.assert_close(solution.field.full(), exact.full())
