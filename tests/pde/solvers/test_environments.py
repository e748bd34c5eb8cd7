import pytest
import torch

from sciten.pde.solvers import environments
from sciten.pde.solvers.environments import (
    Interface,
    OperatorCore,
    extend,
    left_orthogonal,
    mirrored,
    mirrored_operator,
    mode_first,
    project,
)
from sciten.pde.solvers.local import LocalSystem
from sciten.tensor import TensorTrain
from tests.pde.solvers.systems import generator, operator, random

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])


@DTYPES
def test_projections_are_those_of_dense_operators(dtype: torch.dtype) -> None:
    matrix = operator([3, 4, 3], dtype)
    x = TensorTrain.random([3, 4, 3], [2, 3], generator=generator(1), dtype=dtype)
    cores, operators = mode_first(x.cores), [OperatorCore.of(core) for core in matrix.cores]
    one = torch.ones(1, 1, 1, dtype=dtype)
    left = extend(one, operators[0], cores[0], cores[0])
    right = extend(one, mirrored_operator(operators)[0], cores[2].mT, cores[2].mT)
    found = project(left, operators[1], right, cores[1])
    image = (matrix @ x).full()
    expected = torch.einsum("ar,abc,cs->brs", x.cores[0][0].conj(), image, x.cores[2][..., 0].mH)
    torch.testing.assert_close(found, expected)
    system = LocalSystem(left, operators[1], right)
    torch.testing.assert_close(system.dense() @ cores[1].reshape(-1), found.reshape(-1))


def test_sparse_cores_act_as_dense_ones() -> None:
    n = 64
    band = torch.diag(random(n)) + torch.diag(random(n - 1), 1)
    core = torch.stack([torch.eye(n, dtype=torch.float64), band])[:, :, :, None].repeat(1, 1, 1, 2)
    operator = OperatorCore.of(core)
    assert operator.matrix.layout == torch.sparse_csr
    left, right, x = random(2, 3, 3), random(2, 4, 4, seed=1), random(n, 3, 4, seed=2)
    expected = torch.einsum("Rtr,RnmS,Sus,mrs->ntu", left, core, right, x)
    torch.testing.assert_close(project(left, operator, right, x), expected)


@DTYPES
def test_interfaces_of_all_cores_hold_inner_products(dtype: torch.dtype) -> None:
    shape = [3, 4, 3]
    matrix = operator(shape, dtype)
    x, z, b = (TensorTrain.random(shape, 2, generator=generator(k), dtype=dtype) for k in range(3))
    with_z = without = Interface.empty(x.cores[0])
    for core, *vectors in zip(matrix.cores, *(mode_first(t.cores) for t in (b, x, z)), strict=True):
        with_z = with_z.extended(OperatorCore.of(core), *vectors)
        without = without.extended(OperatorCore.of(core), *vectors[:2])
    expected = [x.inner(matrix @ x), z.inner(matrix @ x), x.inner(b), z.inner(b)]
    for found, value in zip((with_z.xx, with_z.zx, with_z.xb, with_z.zb), expected, strict=True):
        torch.testing.assert_close(found.squeeze(), value)
    assert torch.equal(without.xx, with_z.xx) and torch.equal(without.xb, with_z.xb)
    assert without.zx.shape == (1, 1, 1) and without.zb.shape == (1, 1)


def test_products_in_pieces_are_those_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    core = OperatorCore.of(random(2, 4, 5, 3))
    left, right, x = random(2, 7, 3, seed=1), random(3, 6, 4, seed=2), random(5, 3, 4, seed=3)
    test = random(4, 7, 2, seed=4)
    whole = project(left, core, right, x), extend(left, core, test, x)
    monkeypatch.setattr(environments, "_CACHED", 100)
    pieces = project(left, core, right, x), extend(left, core, test, x)
    expected = torch.einsum("Rtr,RnmS,Sus,mrs->ntu", left, core.dense, right, x)
    torch.testing.assert_close(whole[0], expected)
    torch.testing.assert_close(pieces, whole)


@DTYPES
def test_mirrored_trains_have_their_axes_reversed(dtype: torch.dtype) -> None:
    matrix, x = (
        operator([2, 3, 4], dtype),
        TensorTrain.random([2, 3, 4], 2, generator=generator(), dtype=dtype),
    )
    turned = TensorTrain(tuple(core.transpose(0, 1) for core in mirrored(mode_first(x.cores))))
    torch.testing.assert_close(turned.full(), x.full().permute(2, 1, 0))
    cores = mirrored_operator([OperatorCore.of(core) for core in matrix.cores])
    image = TensorTrain(tuple(core.dense for core in cores), operator=True) @ turned
    torch.testing.assert_close(image.full(), (matrix @ x).full().permute(2, 1, 0))


@DTYPES
def test_orthogonal_cores_are_of_the_same_train(dtype: torch.dtype) -> None:
    x = TensorTrain.random([3, 4, 2, 3], [3, 5, 2], generator=generator(), dtype=dtype)
    cores = left_orthogonal(mode_first(x.cores))
    same = TensorTrain(tuple(core.transpose(0, 1) for core in cores))
    torch.testing.assert_close(same.full(), x.full())
    for core in cores[:-1]:
        columns = core.flatten(0, 1)
        torch.testing.assert_close(columns.mH @ columns, torch.eye(columns.shape[1], dtype=dtype))
    torch.testing.assert_close(torch.linalg.vector_norm(cores[-1]), x.norm())
