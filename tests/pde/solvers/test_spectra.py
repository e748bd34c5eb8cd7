import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.solvers.exponential_sums import kronecker_sum
from sciten.pde.solvers.spectra import NotSeparableError, null_dimension, null_projectors, spectra
from sciten.tensor import TensorTrain


def with_values(values: list[float], seed: int, *, symmetric: bool = False) -> Tensor:
    n = len(values)
    basis = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    if symmetric:
        basis = torch.linalg.qr(basis).Q
    return basis @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ torch.linalg.inv(basis)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("a", "b", "dimension"),
    [
        ([0.0, 1.0, 2.0], [0.0, 3.0], 1),
        ([0.0, 0.0, 2.0], [3.0, 0.0], 2),
        ([-2.0, -2.0, 1.0], [2.0, 2.0, 5.0], 4),  # each regular by itself
    ],
)
def test_null_spaces_are_those_of_the_dense_matrix(
    a: list[float], b: list[float], dimension: int, sign: float, symmetric: bool
) -> None:
    matrices = [sign * with_values(v, seed, symmetric=symmetric) for seed, v in enumerate((a, b))]
    axes = spectra(matrices)
    factors = null_projectors(axes)
    assert factors is not None and null_dimension(axes) == dimension
    size = len(a) * len(b)
    projector = TensorTrain.rank_one(factors, operator=True).full().reshape(size, size)
    dense = kronecker_sum(matrices).full().reshape(size, size)
    torch.testing.assert_close(projector @ projector, projector)
    assert float(projector.trace()) == pytest.approx(dimension)
    for product in (dense @ projector, projector @ dense):
        assert float(product.abs().max()) < 1e-10


def test_null_spaces_that_are_no_products_are_not_claimed() -> None:
    inside = spectra([with_values([-1.0, 0.0, 2.0], 0), with_values([-2.0, 0.0, 1.0], 1)])
    assert null_projectors(inside) is None and null_dimension(inside) == 3
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)  # eigenvalues i and -i
    assert null_projectors(spectra([turn, turn])) is None and null_dimension(spectra([turn, turn])) == 2
    regular = spectra([with_values([1.0, 2.0], 0)] * 2)
    assert null_projectors(regular) is None and null_dimension(regular) == 0


def test_bad_eigenbases_are_refused() -> None:
    jordan = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    with pytest.raises(NotSeparableError, match="condition number"):
        spectra([jordan])
    assert issubclass(NotSeparableError, ConfigError)
