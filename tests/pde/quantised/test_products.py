import pytest
import torch

from sciten.pde.quantised import bpx, constant, interleaved
from sciten.pde.quantised.products import rounded_product
from sciten.tensor import TensorTrain
from tests.pde.quantised.dense import DIRICHLET, NEUMANN


def operator(levels: int, rank: int, seed: int, dtype: torch.dtype) -> TensorTrain:
    merged = TensorTrain.random(
        [4] * levels, rank, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )
    return TensorTrain(tuple(core.unflatten(1, (2, 2)) for core in merged.cores), operator=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(
    ("rank", "copies", "expected"),
    [(3, 1, 9), (5, 5, 25), (11, 3, 121)],
    ids=["formed", "sketched once", "sketched again"],
)
def test_products_are_those_of_operators(rank: int, copies: int, expected: int, dtype: torch.dtype) -> None:
    a, b = operator(8, rank, 0, dtype), operator(8, rank, 1, dtype)
    many = a
    for _ in range(copies - 1):
        many = many + a
    found = rounded_product(many, b, 1e-13)
    assert max(found.ranks) == expected
    product = copies * (a @ b)
    assert float((found - product).norm() / product.norm()) < 1e-12


def test_the_error_is_the_stated_one() -> None:
    """Of an operator whose singular values decay."""
    levels = 4
    gradient = bpx(levels, [(DIRICHLET, NEUMANN)] * 2, [1.0, 1.0]).gradients[0]
    product = gradient.mT @ gradient
    for tolerance in (1e-14, 1e-3, 1e-2):
        found = rounded_product(gradient.mT, gradient, tolerance)
        assert float((found - product).norm() / product.norm()) < 1.01 * tolerance + 1e-14
        assert max(found.ranks) <= max(product.round(tolerance * 0.99).ranks)


def test_smooth_functions_are_kept_on_many_points() -> None:
    levels = 10
    gradient = bpx(levels, [(DIRICHLET, NEUMANN)] * 2, [1.0, 1.0]).gradients[0]
    smooth = interleaved([constant(levels)] * 2)
    exact = gradient.mT @ (gradient @ smooth)
    found = rounded_product(gradient.mT, gradient, 1e-14) @ smooth
    assert float((found - exact).norm() / exact.norm()) < 1e-11
