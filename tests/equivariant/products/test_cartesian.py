import numpy as np
import pytest
import torch
from e3nn import io, o3
from scipy.spatial.transform import Rotation

from sciten.equivariant import CartesianProduct, cartesian_irreps, cartesian_to_irreps, irreps_to_cartesian
from sciten.errors import ConfigError
from tests.equivariant.rotations import improper_rotation, representation


def rotated(tensor: torch.Tensor, matrix: np.ndarray, rank: int) -> torch.Tensor:
    """Every index turned by the matrix."""
    full = tensor.view(-1, *[3] * rank)
    for axis in range(1, rank + 1):
        full = torch.tensordot(full, torch.tensor(matrix), dims=([axis], [1])).movedim(-1, axis)
    return full.reshape(tensor.shape)


@pytest.mark.parametrize("rank", range(5))
def test_irreps_of_tensors_and_back(rank: int) -> None:
    tensor = torch.randn(2, 3, 3**rank, dtype=torch.float64)
    features = cartesian_to_irreps(tensor, rank)
    torch.testing.assert_close(irreps_to_cartesian(features, rank), tensor)
    torch.testing.assert_close(features.norm(), tensor.norm())
    irreps = cartesian_irreps(rank)
    assert irreps.dim == 3**rank
    expected = o3.Irreps("0e")
    for _ in range(rank):
        expected = (
            o3.ReducedTensorProducts("i", i="1o").irreps_out
            if expected == o3.Irreps("0e")
            else (o3.FullTensorProduct(expected, "1o").irreps_out)
        )
    assert str(irreps) == str(expected.regroup())


@pytest.mark.parametrize("rank", range(1, 5))
def test_conversion_commutes_with_rotations_and_inversion(rank: int) -> None:
    matrix, tensor = improper_rotation(3), torch.randn(4, 3**rank, dtype=torch.float64)
    degrees = representation(rank, -matrix)
    blocks = [
        torch.tensor(float(ir.p) * degrees[ir.l**2 : (ir.l + 1) ** 2, ir.l**2 : (ir.l + 1) ** 2])
        for mul, ir in cartesian_irreps(rank)
        for _ in range(mul)
    ]
    turned = cartesian_to_irreps(rotated(tensor, matrix, rank), rank)
    torch.testing.assert_close(turned, cartesian_to_irreps(tensor, rank) @ torch.block_diag(*blocks).T)


def test_symmetric_matrices_as_in_e3nn() -> None:
    matrix = torch.randn(5, 3, 3, dtype=torch.float64)
    matrix = matrix + matrix.transpose(1, 2)
    theirs = io.CartesianTensor("ij=ji").from_cartesian(matrix.float()).double()
    ours = cartesian_to_irreps(matrix.flatten(1), 2)
    torch.testing.assert_close(ours[:, 1:4], torch.zeros(5, 3, dtype=torch.float64))
    torch.testing.assert_close(ours[:, :1].abs(), theirs[:, :1].abs(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours[:, 4:], theirs[:, 1:], rtol=1e-5, atol=1e-5)


def test_contractions_by_hand() -> None:
    a, b = torch.randn(2, 7, 3, dtype=torch.float64)
    m, n = torch.randn(2, 7, 9, dtype=torch.float64)
    mm, nn = m.view(7, 3, 3), n.view(7, 3, 3)
    for ranks, inputs, expected in [
        ((1, 1, 0), (a, b), (a * b).sum(1, keepdim=True)),
        ((1, 1, 1), (a, b), torch.linalg.cross(a, b)),
        ((1, 1, 2), (a, b), torch.einsum("zi,zj->zij", a, b)),
        ((2, 1, 1), (m, a), torch.einsum("zij,zj->zi", mm, a)),
        ((2, 2, 2), (m, n), mm @ nn),
        ((2, 2, 0), (m, n), torch.einsum("zij,zji->z", mm, nn)),
        ((2, 2, 4), (m, n), torch.einsum("zij,zkl->zijkl", mm, nn)),
        ((2, 1, 2), (m, a), torch.linalg.cross(mm, a[:, None].expand(-1, 3, -1), dim=2)),
    ]:
        torch.testing.assert_close(CartesianProduct(*ranks)(*inputs), expected.reshape(7, -1))


@pytest.mark.parametrize("ranks", [(2, 2, 2), (3, 2, 1), (2, 1, 2), (2, 2, 1), (4, 2, 2)])
def test_products_commute_with_rotations(ranks) -> None:
    product = CartesianProduct(*ranks)
    x, y = (torch.randn(3, 3**r, dtype=torch.float64) for r in ranks[:2])
    for matrix in (Rotation.random(random_state=0).as_matrix(), improper_rotation(1)):
        sign = np.sign(np.linalg.det(matrix)) if product.cross else 1.0
        turned = product(rotated(x, matrix, ranks[0]), rotated(y, matrix, ranks[1]))
        torch.testing.assert_close(turned, sign * rotated(product(x, y), matrix, ranks[2]))


def test_ranks_and_shapes_that_do_not_fit_are_refused() -> None:
    for ranks in [(5, 1, 4), (1, 1, 3), (2, 0, 0), (1, 0, 0), (0, 0, 1), (2, 2, 3)]:
        if ranks == (2, 2, 3):
            CartesianProduct(*ranks)
            continue
        with pytest.raises(ConfigError, match="CartesianProduct: expected ranks"):
            CartesianProduct(*ranks)
    with pytest.raises(ConfigError, match=r"expected x of shape \[..., 9\] for rank 2, got \[4, 3\]"):
        CartesianProduct(2, 1, 1)(torch.zeros(4, 3), torch.zeros(4, 3))
    with pytest.raises(ConfigError, match="expected a rank from 0 to 4, got 5"):
        cartesian_irreps(5)


def test_operations_of_a_matrix_product_and_a_cross_product() -> None:
    assert CartesianProduct(2, 2, 2).operations() == 2 * 3**3
    assert CartesianProduct(1, 1, 1).operations() == 2 * 3**3 + 2 * 3**2  # x with the symbol, then with y
