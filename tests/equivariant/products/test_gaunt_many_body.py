import numpy as np
import pytest
import torch
from e3nn import o3

from sciten.equivariant import GauntProduct
from sciten.equivariant.products.gaunt_many_body import GauntPowers


@pytest.mark.parametrize("method", ["grid", "fourier"])
@pytest.mark.parametrize(
    ("lmax", "lmax_out", "factors"), [(1, 0, 2), (2, 2, 3), (3, 1, 3), (2, 5, 2), (1, 1, 4)]
)
def test_powers_are_products_of_functions(method, lmax, lmax_out, factors) -> None:
    """The cut-off power of a signal, against quadrature of the power itself with e3nn's harmonics."""
    signals = [torch.randn(2, (lmax + 1) ** 2, 3, dtype=torch.float64) for _ in range(factors)]
    powers = GauntPowers(lmax, lmax_out, factors, method).products(signals)
    assert len(powers) == factors - 1
    nodes, weights = (torch.tensor(a) for a in np.polynomial.legendre.leggauss(factors * lmax + lmax_out + 2))
    alpha = torch.arange(40, dtype=torch.float64) * (2 * torch.pi / 40)
    points = o3.angles_to_xyz(alpha[None], nodes.arccos()[:, None])
    harmonics = o3.spherical_harmonics(
        list(range(max(lmax, lmax_out) + 1)), points, False, normalization="integral"
    )
    weights = weights * (2 * torch.pi / 40)
    power = torch.einsum("abi,zic->zabc", harmonics[..., : (lmax + 1) ** 2], signals[0])
    scale = (4 * torch.pi) ** 0.5 / (lmax + 1)
    for n, signal in enumerate(signals[1:], start=2):
        power = power * torch.einsum("abi,zic->zabc", harmonics[..., : (lmax + 1) ** 2], signal)
        outer = harmonics[..., : (lmax_out + 1) ** 2]
        expected = torch.einsum("zabc,abk,a->zkc", power, outer, weights)
        norm = scale**n * (n * lmax + 1) / (4 * torch.pi) ** 0.5
        torch.testing.assert_close(powers[n - 2], norm * expected, rtol=0, atol=1e-11)


def test_two_factors_are_a_gaunt_product() -> None:
    x, y = torch.randn(2, 4, 9, 5, dtype=torch.float64)
    (power,) = GauntPowers(2, 3, 2).products([x, y])
    plain = GauntProduct(2, 2, 3)(x.transpose(1, 2), y.transpose(1, 2)).transpose(1, 2)
    ratio = float(power[0, 0, 0] / plain[0, 0, 0])
    torch.testing.assert_close(power, ratio * plain)


@pytest.mark.parametrize("method", ["grid", "fourier"])
@pytest.mark.parametrize(("lmax", "factors"), [(1, 2), (3, 2), (3, 3)])
def test_components_of_unit_variance_stay_so(method, lmax, factors) -> None:
    """Over all components of an uncut power, their mean square is one.

    Values of independent signals have unit variance, so has their product, and by Parseval the squares of its
    (n lmax + 1)² components add up to its mean square over the sphere, which the scale makes (n lmax + 1)².
    """
    generator = torch.Generator().manual_seed(0)
    signals = [torch.randn(1000, (lmax + 1) ** 2, 32, generator=generator) for _ in range(factors)]
    for n, power in enumerate(GauntPowers(lmax, factors * lmax, factors, method).products(signals), start=2):
        size = (n * lmax + 1) ** 2
        assert abs(float(power[:, :size].square().mean()) - 1) < 0.05
        assert not power[:, size:].abs().gt(1e-3).any()
