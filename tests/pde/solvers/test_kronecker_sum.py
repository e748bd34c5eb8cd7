import pytest
import torch
from torch import Tensor

from sciten.pde.solvers.environments import OperatorCore
from sciten.pde.solvers.kronecker_sum import KroneckerSum
from sciten.pde.solvers.local import LocalSystem
from tests.pde.solvers.systems import random

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])

SIZES = (4, 3, 5)  # of the core, the left and the right


def parts(dtype: torch.dtype, shift: float = 0.0) -> list[Tensor]:
    """Hermitian matrices of the sizes, positive definite but for the shift."""
    found = [random(n, n, dtype=dtype, seed=n) for n in SIZES]
    return [m @ m.mH - shift * torch.eye(len(m), dtype=dtype) for m in found]


def system_of(d: Tensor, l: Tensor, r: Tensor) -> LocalSystem:
    """The system of which the sum is not near but the whole."""
    eyes = [torch.eye(n, dtype=d.dtype) for n in SIZES]
    core = torch.stack([torch.stack([eyes[0], 0 * d], -1), torch.stack([d, eyes[0]], -1)])
    return LocalSystem(torch.stack([l, eyes[1]]), OperatorCore.of(core), torch.stack([eyes[2], r]))


@DTYPES
@pytest.mark.parametrize("shift", [0.0, -0.7])
def test_kronecker_sums_are_inverted_exactly(dtype: torch.dtype, shift: float) -> None:
    system = system_of(*parts(dtype))
    x = random(*SIZES, dtype=dtype, seed=9)
    torch.testing.assert_close(system.kronecker_sum.inverse(shift)(system.apply(x) - shift * x), x)


@DTYPES
def test_the_lowest_vectors_are_those_of_the_dense_matrix(dtype: torch.dtype) -> None:
    system = system_of(*parts(dtype))
    values = torch.linalg.eigvalsh(system.dense())
    for vector, value in zip(system.kronecker_sum.lowest(7), values, strict=False):
        assert float(torch.linalg.vector_norm(vector)) == pytest.approx(1.0)
        torch.testing.assert_close(system.apply(vector), value * vector)


@DTYPES
def test_smoothing_is_the_inverse_root_on_the_core(dtype: torch.dtype) -> None:
    d, *others = parts(dtype)
    x = random(*SIZES, dtype=dtype, seed=9)
    once = system_of(d, *(0 * one for one in others)).kronecker_sum
    torch.testing.assert_close(torch.einsum("nm,mrs->nrs", d, once.smoothed(once.smoothed(x))), x)


def test_singular_directions_are_not_blown_up() -> None:
    """The rest is inverted, and what has no inverse stays bounded by the precision that is asked for."""
    d, l, r = (torch.diag(torch.arange(float(n), dtype=torch.float64)) for n in SIZES)
    inverse = system_of(d, l, r).kronecker_sum.inverse()
    x = torch.ones(*SIZES, dtype=torch.float64)
    found, sums = inverse(x), sum(torch.meshgrid(*(torch.arange(float(n)) for n in SIZES), indexing="ij"))
    assert bool(torch.isfinite(found).all())
    torch.testing.assert_close(found.flatten()[1:], 1 / sums.flatten()[1:].to(found.dtype))


@DTYPES
def test_sums_near_other_systems_bring_them_near_the_identity(dtype: torch.dtype) -> None:
    """A sum and a perturbation: what the inverse leaves is no larger than the perturbation relative to the sum."""
    system = system_of(*parts(dtype, shift=-2.0))
    small = random(1, 4, 4, 1, dtype=dtype, seed=1)
    core = torch.zeros(3, 4, 4, 3, dtype=dtype)
    core[:2, ..., :2], core[2:, ..., 2:] = (
        system.core.dense,
        0.05 * (small + small.permute(0, 2, 1, 3).conj()),
    )
    left = torch.cat([system.left, torch.eye(3, dtype=dtype)[None]])
    right = torch.cat([system.right, torch.ones(5, 5, dtype=dtype)[None] / 5])
    near = KroneckerSum.nearest(left, core, right)
    other = LocalSystem(left, OperatorCore.of(core), right)
    columns = torch.eye(60, dtype=dtype).view(60, *SIZES)
    preconditioned = torch.stack([near.inverse()(other.apply(x)).flatten() for x in columns])
    assert float(torch.linalg.matrix_norm(preconditioned - torch.eye(60, dtype=dtype), 2)) < 0.5
