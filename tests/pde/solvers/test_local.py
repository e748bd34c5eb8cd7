import pytest
import torch

from sciten.pde.solvers.environments import OperatorCore
from sciten.pde.solvers.local import LocalSystem, gmres
from tests.pde.solvers.systems import random

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])


def system(n: int, r: int, s: int, dtype: torch.dtype = torch.float64) -> LocalSystem:
    """Near a positive multiple of the identity, not Hermitian, of rank 2 on both sides."""
    left = torch.stack([torch.eye(r, dtype=dtype), 0.1 * random(r, r, dtype=dtype, seed=1)])
    right = torch.stack([torch.eye(s, dtype=dtype), 0.1 * random(s, s, dtype=dtype, seed=2)])
    core = 0.1 * random(2, n, n, 2, dtype=dtype, seed=3)
    core[0, ..., 0] += 3 * torch.eye(n, dtype=dtype)
    return LocalSystem(left, OperatorCore.of(core), right)


@DTYPES
def test_dense_systems_act_as_the_others(dtype: torch.dtype) -> None:
    one, x = system(3, 2, 4, dtype), random(3, 2, 4, dtype=dtype)
    torch.testing.assert_close(one.dense() @ x.flatten(), one.apply(x).flatten())


@DTYPES
@pytest.mark.parametrize("sizes", [(3, 4, 5), (8, 7, 7)], ids=["direct", "GMRES"])
def test_solutions_have_the_residual_that_was_asked_for(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    one, b = system(*sizes, dtype), random(*sizes, dtype=dtype)
    found = one.solve(b, torch.zeros_like(b), 1e-9, 100)
    assert float(torch.linalg.vector_norm(one.apply(found) - b)) <= 1.1e-9


def test_singular_systems_are_solved_where_they_have_solutions() -> None:
    """Elimination stops at a pivot of zero; the Krylov space of a right side in the range holds a solution."""
    ones = torch.ones(1, 1, 1, dtype=torch.float64)
    core = torch.diag(torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)).view(1, 3, 3, 1)
    one = LocalSystem(ones, OperatorCore.of(core), ones)
    b = torch.tensor([1.0, 4.0, 0.0], dtype=torch.float64).view(3, 1, 1)
    found = one.solve(b, torch.zeros_like(b), 1e-10, 20)
    torch.testing.assert_close(one.apply(found), b)


@DTYPES
@pytest.mark.parametrize("limit", [1e-6, 1e-2, 1.0, 10.0])
def test_cuts_are_to_the_least_rank_within_the_limit(limit: float, dtype: torch.dtype) -> None:
    one, exact = system(5, 4, 20, dtype), random(5, 4, 20, dtype=dtype)
    u, values, vh = torch.linalg.svd(exact.reshape(20, 20))
    values = values * 0.5 ** torch.arange(20)
    basis, rest = u.view(5, 4, 20), values[:, None] * vh
    b = one.apply(basis @ rest)
    residual = torch.zeros_like(b)

    def cost(rank: int) -> float:
        return float(torch.linalg.vector_norm(b - one.apply(basis[..., :rank] @ rest[:rank])))

    rank = one.rank_within(basis, rest, residual, limit, 20)
    assert cost(rank) <= limit and (rank == 1 or cost(rank - 1) > limit)
    assert one.rank_within(basis, rest, residual, limit, 3) == min(rank, 3)


@DTYPES
def test_local_gmres_solves_and_restarts(dtype: torch.dtype) -> None:
    a = random(30, 30, dtype=dtype) / 10 + torch.eye(30, dtype=dtype) * 2
    b = random(30, dtype=dtype, seed=1)
    found = gmres(lambda x: a @ x, b, torch.zeros_like(b), lambda x: x / 2, 1e-10, 200, restart=7)
    assert float((a @ found - b).norm()) <= 1.1e-10


def test_gmres_needs_one_step_with_the_inverse_and_none_from_the_solution() -> None:
    a, b = random(20, 20) + 9 * torch.eye(20, dtype=torch.float64), random(20, seed=1)
    exact = torch.linalg.solve(a, b)
    products = []

    def matrix(x: torch.Tensor) -> torch.Tensor:
        products.append(x)
        return a @ x

    found = gmres(matrix, b, torch.zeros_like(b), lambda x: torch.linalg.solve(a, x), 1e-10, 1)
    torch.testing.assert_close(found, exact)
    assert len(products) == 1
    assert gmres(matrix, b, exact, lambda x: x, 1e-10, 10) is exact and len(products) == 2
