import math

import pytest
import torch

from sciten.errors import ConfigError
from sciten.potentials.radial import (
    SILU_NORMALISATION,
    RadialNetwork,
    agnesi,
    bessel,
    bessel_frequencies,
    cosine_cutoff,
    exponential_normal,
    exponential_normal_parameters,
    polynomial_cutoff,
)


def test_bessel_functions_are_orthonormal_on_the_ball() -> None:
    cutoff, n = 5.0, 4000
    r = (torch.arange(n, dtype=torch.float64) + 0.5) * (cutoff / n)
    basis = bessel(r, bessel_frequencies(4, cutoff), cutoff)
    gram = (basis * r[:, None]).T @ (basis * r[:, None]) * (cutoff / n)
    torch.testing.assert_close(gram, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("power", [5, 6])
def test_cutoff_is_smooth_at_its_end(power: int) -> None:
    r = torch.tensor([1e-9, 5.0 - 1e-9, 5.0, 7.0], dtype=torch.float64, requires_grad=True)
    value = polynomial_cutoff(r, 5.0, power)
    (slope,) = torch.autograd.grad(value.sum(), r, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), r)
    torch.testing.assert_close(
        value.detach(), torch.tensor([1.0, 0, 0, 0], dtype=torch.float64), rtol=0, atol=1e-8
    )
    assert slope.abs().max() < 1e-8 and curvature.abs().max() < 1e-6


def test_cosine_cutoff_ends_with_a_vanishing_slope() -> None:
    r = torch.tensor([0.0, 2.5, 5.0 - 1e-9, 5.0, 7.0], dtype=torch.float64, requires_grad=True)
    value = cosine_cutoff(r, 5.0)
    (slope,) = torch.autograd.grad(value.sum(), r)
    torch.testing.assert_close(
        value.detach(), torch.tensor([1.0, 0.5, 0, 0, 0], dtype=torch.float64), rtol=0, atol=1e-15
    )
    assert slope[0] == 0 and slope[2:].abs().max() < 1e-8


def test_exponential_normal_functions_are_their_formula() -> None:
    centres, inverse_widths = exponential_normal_parameters(4, 3.0)
    assert (centres[0].item(), centres[-1].item()) == (math.exp(-3.0), 1.0)
    found = exponential_normal(torch.tensor([1.2], dtype=torch.float64), centres, inverse_widths, 3.0)[0]
    fade = 0.5 * (math.cos(math.pi * 1.2 / 3.0) + 1)
    for value, centre in zip(found.tolist(), centres.tolist(), strict=True):
        width = (2 / 4 * (1 - math.exp(-3.0))) ** -2
        expected = fade * math.exp(-width * (math.exp(-5 * 1.2 / 3.0) - centre) ** 2)
        assert value == pytest.approx(expected, abs=1e-15)


def test_agnesi_maps_onto_the_unit_interval_with_its_formula() -> None:
    r = torch.linspace(0.1, 20, 50, dtype=torch.float64)
    value = agnesi(r, torch.full_like(r, 1.5))
    assert (value[1:] < value[:-1]).all() and value.max() < 1 and value.min() > 0
    x = 3.0 / 1.5
    expected = 1 / (1 + 1.0805 * x**0.9183 / (1 + x ** (0.9183 - 4.5791)))
    found = agnesi(torch.tensor([3.0], dtype=torch.float64), torch.tensor([1.5], dtype=torch.float64))
    assert found.item() == pytest.approx(expected, abs=1e-15)


def test_network_equals_e3nns() -> None:
    from e3nn.math import normalize2mom
    from e3nn.nn import FullyConnectedNet

    assert pytest.approx(normalize2mom(torch.nn.functional.silu).cst, abs=1e-13) == SILU_NORMALISATION
    ours = RadialNetwork([8, 16, 12], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = FullyConnectedNet([8, 16, 12], torch.nn.functional.silu).double()
    for n, layer in enumerate(theirs):
        layer.weight.data = getattr(ours, f"weight_{n}").detach()
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)


def test_last_layer_is_linear() -> None:
    network = RadialNetwork([2, 3], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    torch.testing.assert_close(network(x), x @ network.weight_0 / math.sqrt(2))


def test_widths_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"two positive widths, got \[8\]"):
        RadialNetwork([8], generator=torch.Generator(), dtype=torch.float64)
