import pytest
import torch
from e3nn import o3

from sciten.equivariant.harmonics import spherical_harmonics
from sciten.errors import ConfigError
from sciten.tensor.multilinear.reference import Reference


def unit_vectors(count: int = 50) -> torch.Tensor:
    vectors = torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vectors[:6] = torch.cat([torch.eye(3), -torch.eye(3)])
    return vectors / vectors.norm(dim=1, keepdim=True)


def test_equal_e3nn() -> None:
    expected = o3.spherical_harmonics(
        list(range(7)), unit_vectors(), normalize=False, normalization="component"
    )
    found = spherical_harmonics(6, unit_vectors(), executor=Reference())
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_fast_executor_equals_the_reference_with_derivatives() -> None:
    unit = unit_vectors().requires_grad_(True)
    for fast, plain in zip(_orders(unit, None), _orders(unit, Reference()), strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-11)


def _orders(unit, executor):
    value = spherical_harmonics(4, unit, executor=executor)
    (gradient,) = torch.autograd.grad(value.sin().sum(), unit, create_graph=True)
    (second,) = torch.autograd.grad((gradient**2).sum(), unit)
    return value, gradient, second


def test_component_normalisation() -> None:
    values = spherical_harmonics(4, unit_vectors())
    for l in range(5):
        squares = (values[:, l * l : (l + 1) ** 2] ** 2).sum(1)
        torch.testing.assert_close(squares, torch.full_like(squares, 2 * l + 1), rtol=1e-12, atol=0)


def test_degree_zero_alone() -> None:
    assert torch.equal(spherical_harmonics(0, unit_vectors()), torch.ones(50, 1, dtype=torch.float64))


def test_a_degree_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="spherical_harmonics: expected lmax of at least 0, got -1"):
        spherical_harmonics(-1, torch.zeros(2, 3))
