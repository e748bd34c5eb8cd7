"""Spectral weights and convolutions: dense contractions and plain FFTs as oracles."""

from math import sqrt

import pytest
import torch

from sciten.errors import ConfigError
from sciten.neural_operators import (
    CPFactors,
    Dense,
    Factorization,
    SpectralConvolution,
    SpectralWeight,
    TTFactors,
    TuckerFactors,
)
from sciten.tensor import CP, TensorTrain, Tucker

FORMATS = [
    Dense(),
    CPFactors(5),
    CPFactors(0.1),
    TuckerFactors([3, 2, 4, 3]),
    TuckerFactors(0.2),
    TTFactors(0.3),
]


@pytest.mark.parametrize("factorization", FORMATS, ids=str)
@pytest.mark.parametrize("shape", [(8, 8, 6, 4), (5, 3, 7, 4)])
def test_the_realised_deviation_is_the_intended_one(
    factorization: Factorization, shape: tuple[int, ...]
) -> None:
    weight = SpectralWeight(shape, factorization, 0.3, generator=torch.Generator().manual_seed(1))
    full = weight.full().detach()
    assert full.shape == shape
    assert float(full.abs().square().mean().sqrt()) == pytest.approx(0.3, rel=1e-4)


def test_views_are_the_formats_of_the_tensor_backend() -> None:
    shape = (4, 4, 4, 3)
    for factorization, kind in (
        (CPFactors(3), CP),
        (TuckerFactors(0.3), Tucker),
        (TTFactors(0.3), TensorTrain),
    ):
        view = SpectralWeight(shape, factorization, 1.0).view()
        assert isinstance(view, kind)
        assert view.dtype == torch.complex64


@pytest.mark.parametrize("factorization", FORMATS, ids=str)
@pytest.mark.parametrize("batch", [1, 200])  # whether the weight is built depends on the batch
def test_factors_act_as_the_full_weight(factorization: Factorization, batch: int) -> None:
    weight = SpectralWeight((4, 4, 6, 4), factorization, 1.0, dtype=torch.float64)
    coefficients = torch.randn(batch, 6, 4, 4, dtype=torch.complex128)
    found = weight.apply_to(torch.view_as_real(coefficients), [slice(0, 6), slice(0, 4)])
    expected = torch.einsum("bxyi,ioxy->bxyo", coefficients, weight.full())
    torch.testing.assert_close(torch.view_as_complex(found), expected)


@pytest.mark.parametrize(
    "factorization", [Dense(), CPFactors(4), TuckerFactors([2, 3, 2]), TTFactors(0.6)], ids=str
)
def test_separable_weights_act_on_each_channel(factorization: Factorization) -> None:
    weight = SpectralWeight((4, 6, 4), factorization, 1.0, dtype=torch.float64)
    coefficients = torch.randn(3, 6, 4, 4, dtype=torch.complex128)
    found = weight.apply_to(torch.view_as_real(coefficients), [slice(0, 6), slice(0, 4)])
    expected = torch.einsum("bxyi,ixy->bxyi", coefficients, weight.full())
    torch.testing.assert_close(torch.view_as_complex(found), expected)


@pytest.mark.parametrize(
    ("factorization", "tolerance"),
    [
        (Dense(), 1e-6),
        (TuckerFactors([4, 4, 6, 4]), 1e-6),
        (TTFactors([4, 16, 4]), 1e-6),
        (TuckerFactors([2, 2, 2, 2]), 1e-6),
        (TTFactors([2, 2, 2]), 1e-6),
        (CPFactors(2), 1e-3),
    ],
    ids=str,
)
def test_weights_are_decomposed_and_put_together_again(
    factorization: Factorization, tolerance: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    factors = [torch.randn(n, 2, dtype=torch.complex128, generator=generator) for n in (4, 4, 6, 4)]
    full = torch.einsum("ar,br,cr,dr->abcd", *factors)  # rank two in every format
    if factorization in (TuckerFactors([4, 4, 6, 4]), TTFactors([4, 16, 4])):
        full = torch.randn(4, 4, 6, 4, dtype=torch.complex128, generator=generator)
    weight = SpectralWeight((4, 4, 6, 4), factorization, 1.0, dtype=torch.float64)
    weight.copy_from(full)
    assert float((weight.full() - full).norm() / full.norm()) < tolerance


def _by_fft(fields: torch.Tensor, weight: torch.Tensor, modes: tuple[int, int]) -> torch.Tensor:
    """The convolution of `[batch, x, y, channels]` by whole FFTs, frequency by frequency."""
    spectrum = torch.fft.fft2(fields, dim=(1, 2), norm="forward")
    found = torch.zeros(*spectrum.shape[:3], weight.shape[1], dtype=spectrum.dtype)
    for u in range(weight.shape[2]):
        for v in range(weight.shape[3]):
            k = u - modes[0] // 2
            # The field is real: a frequency and its negative have conjugate coefficients.
            found[:, k, v] += torch.einsum("bi,io->bo", spectrum[:, k, v], weight[:, :, u, v]) * (
                1 if v == 0 else 2
            )
    return torch.fft.ifft2(found, dim=(1, 2), norm="forward").real


@pytest.mark.parametrize("factorization", [Dense(), TuckerFactors(0.3)], ids=str)
def test_convolutions_multiply_frequencies(factorization: Factorization) -> None:
    layer = SpectralConvolution(3, 2, (4, 5), factorization=factorization, dtype=torch.float64)
    fields = torch.randn(2, 9, 8, 3, dtype=torch.float64)
    expected = _by_fft(fields, layer.weight.full(), (4, 5)) + layer.bias
    torch.testing.assert_close(layer(fields), expected)


@pytest.mark.parametrize(
    "factorization", [Dense(), CPFactors(6), TuckerFactors(0.3), TTFactors(0.4)], ids=str
)
@pytest.mark.parametrize("active", [(3, 2), (1, 1), (6, 6)])
def test_fewer_modes_are_the_lowest_of_the_weight(
    factorization: Factorization, active: tuple[int, int]
) -> None:
    layer = SpectralConvolution(3, 3, (6, 6), factorization=factorization, dtype=torch.float64)
    layer.set_modes(active)
    full = layer.weight.full()
    start = 3 - active[0] // 2
    kept = full[:, :, start : start + active[0], : active[1] // 2 + 1]
    fields = torch.randn(2, 8, 8, 3, dtype=torch.float64)
    torch.testing.assert_close(layer(fields), _by_fft(fields, kept, active) + layer.bias)


@pytest.mark.parametrize("grid", [(6,), (5, 6), (4, 5, 6)])
def test_convolutions_commute_with_shifts(grid: tuple[int, ...]) -> None:
    layer = SpectralConvolution(2, 2, [4] * len(grid), factorization=TTFactors(0.5), dtype=torch.float64)
    fields = torch.randn(2, *grid, 2, dtype=torch.float64)
    axes = tuple(range(1, len(grid) + 1))
    shifts = tuple(range(1, len(grid) + 1))
    torch.testing.assert_close(layer(fields.roll(shifts, axes)), layer(fields).roll(shifts, axes))


def test_the_first_output_has_the_size_of_the_input() -> None:
    """White input of all modes: the standard deviation of the output is that of the weight times what is summed."""
    layer = SpectralConvolution(16, 16, (9, 9), generator=torch.Generator().manual_seed(0))
    coefficients = torch.randn(64, 9, 5, 16, 2)
    found = layer.weight.apply_to(coefficients, [slice(0, 9), slice(0, 5)])
    assert float(found.std()) == pytest.approx(sqrt(2 / 32) * sqrt(16), rel=0.05)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="as many output channels"):
        SpectralConvolution(3, 2, (4, 4), separable=True)
    with pytest.raises(ConfigError, match="one to three axes"):
        SpectralConvolution(3, 2, (4, 0))
    with pytest.raises(ConfigError, match="at most the modes"):
        SpectralConvolution(3, 2, (4, 4)).set_modes((6, 4))


@pytest.mark.parametrize(
    "factorization", [CPFactors(4), TuckerFactors([2, 2, 2, 2]), TTFactors([2, 3, 2])], ids=str
)
def test_dropout_leaves_the_mean_of_the_output(factorization: Factorization) -> None:
    layer = SpectralConvolution(
        3, 3, (4, 4), factorization=factorization, dropout=0.2, generator=torch.Generator().manual_seed(0)
    )
    fields = torch.randn(1, 6, 6, 3)
    with torch.no_grad():
        expected = layer.eval()(fields)
        assert torch.equal(layer(fields), expected)
        torch.manual_seed(0)
        layer.train()
        drawn = torch.stack([layer(fields) for _ in range(3000)])
    spread = drawn.std(0) / 3000**0.5
    assert float(((drawn.mean(0) - expected) / spread).abs().max()) < 5
    assert float(drawn.std(0).mean()) > 0.01


def test_dense_weights_have_no_ranks_to_drop() -> None:
    with pytest.raises(ConfigError, match="no ranks"):
        SpectralConvolution(3, 3, (4, 4), dropout=0.1)
