from math import pi, sqrt

import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError, DataError
from sciten.training.field_losses import RelativeH1, RelativeL2


def random_fields(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def periodic_points(n: int, length: float) -> Tensor:
    return torch.arange(n, dtype=torch.float64) * length / n


def test_l2_is_the_mean_of_ratios_of_norms() -> None:
    target, error = random_fields(4, 2, 5, 7), 0.1 * random_fields(4, 2, 7, 5).transpose(2, 3)
    expected = [
        sqrt(float((e**2).sum())) / sqrt(float((t**2).sum())) for e, t in zip(error, target, strict=True)
    ]
    loss = RelativeL2()
    assert loss.ratios(target + error, target).tolist() == pytest.approx(expected, rel=1e-12)
    assert float(loss(target + error, target)) == pytest.approx(sum(expected) / 4, rel=1e-12)


def test_l2_of_sines_is_that_of_their_amplitudes() -> None:
    x = periodic_points(48, 2 * pi)
    target = (torch.sin(3 * x) + 2.0)[None, None]  # ‖t‖² ∝ 1/2 + 4
    error = 0.5 * torch.cos(5 * x)[None, None]  # ‖e‖² ∝ 1/8
    assert float(RelativeL2()(target + error, target)) == pytest.approx(sqrt(0.125 / 4.5), rel=1e-12)


@pytest.mark.parametrize("n", [24, 25])
@pytest.mark.parametrize("length", [1.0, 2 * pi, 5.0])
def test_h1_of_a_wave_on_a_periodic_axis_is_exact(n: int, length: float) -> None:
    x = periodic_points(n, length)
    k1, k2 = 2 * pi * 3 / length, 2 * pi * 7 / length
    target, error = torch.sin(k1 * x)[None, None], 0.1 * torch.cos(k2 * x)[None, None]
    expected = 0.1 * sqrt((1 + k2**2) / (1 + k1**2))
    assert float(RelativeH1((length,), (True,))(target + error, target)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_h1_counts_the_slope_along_every_axis(d: int) -> None:
    lengths = (1.0, 3.0, 0.5)[:d]
    axes = torch.meshgrid(*[periodic_points(12 + k, lengths[k]) for k in range(d)], indexing="ij")
    waves = [2 * pi * (k + 1) / lengths[k] for k in range(d)]
    target = torch.ones_like(axes[0])
    for x, wave in zip(axes, waves, strict=True):
        target = target * torch.sin(wave * x)
    error = torch.ones_like(target)  # ‖e‖² = points, ‖t‖² = points · 2^-d (1 + Σ wave²)
    expected = sqrt(2**d / (1 + sum(wave**2 for wave in waves)))
    loss = RelativeH1(lengths, (True,) * d)
    assert float(loss((target + error)[None, None], target[None, None])) == pytest.approx(expected, rel=1e-12)


def test_h1_is_exact_for_quadratic_polynomials_between_ends() -> None:
    n, length = 9, 2.0
    x = torch.linspace(0, length, n, dtype=torch.float64)
    target, error = 1 + x - 3 * x**2, 0.2 * (2 * x**2 - x)
    slopes = 1 - 6 * x, 0.2 * (4 * x - 1)
    numerator = (error**2 + slopes[1] ** 2).sum()
    denominator = (target**2 + slopes[0] ** 2).sum()
    found = RelativeH1((length,), (False,))((target + error)[None, None], target[None, None])
    assert float(found) == pytest.approx(float((numerator / denominator).sqrt()), rel=1e-12)


def test_h1_is_of_second_order_on_axes_that_are_not_periodic() -> None:
    # Held against exact slopes at the same points.
    errors = []
    for n in (321, 641):  # the ends, whose part is of the third order, hardly count
        x = torch.linspace(0, 1, n, dtype=torch.float64)
        target, error = torch.exp(x), torch.sin(3 * x)
        exact = sqrt(float((error**2 + (3 * torch.cos(3 * x)) ** 2).sum() / (2 * target**2).sum()))
        found = RelativeH1((1.0,), (False,))((target + error)[None, None], target[None, None])
        errors.append(abs(float(found) - exact))
    assert 3.5 < errors[0] / errors[1] < 4.5


def test_periodic_and_other_axes_may_stand_side_by_side() -> None:
    x, y = periodic_points(16, 1.0), torch.linspace(0, 2, 11, dtype=torch.float64)
    target = torch.sin(2 * pi * x)[:, None] * (y**2)[None, :]
    error = torch.ones_like(target)
    slopes = (2 * pi * torch.cos(2 * pi * x)[:, None] * y**2, torch.sin(2 * pi * x)[:, None] * 2 * y)
    norm = sum(float((u**2).sum()) for u in (target, *slopes))
    found = RelativeH1((1.0, 2.0), (True, False))((target + error)[None, None], target[None, None])
    assert float(found) == pytest.approx(sqrt(error.numel() / norm), rel=1e-12)


def test_the_wave_from_point_to_point_has_no_slope() -> None:
    target = torch.ones(1, 1, 8, dtype=torch.float64)
    error = torch.tensor([0.1, -0.1] * 4, dtype=torch.float64)
    assert float(RelativeH1((1.0,), (True,))(target + error, target)) == pytest.approx(0.1, rel=1e-12)


LOSSES = pytest.mark.parametrize("loss", [RelativeL2(), RelativeH1((1.0, 2.0), (True, False))])


@LOSSES
def test_a_common_scale_changes_nothing_and_no_sample_another(loss: RelativeL2 | RelativeH1) -> None:
    target, error = random_fields(3, 2, 6, 5), random_fields(3, 2, 5, 6).transpose(2, 3)
    ratios = loss.ratios(target + error, target)
    scales = torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64).view(-1, 1, 1, 1)
    torch.testing.assert_close(loss.ratios(scales * (target + error), scales * target), ratios)
    assert loss.ratios(target[:0], target[:0]).shape == (0,)
    alone = [loss.ratios(target[b : b + 1] + error[b : b + 1], target[b : b + 1]) for b in range(3)]
    torch.testing.assert_close(torch.cat(alone), ratios)
    torch.testing.assert_close(loss.ratios(torch.zeros_like(target), target), torch.ones_like(ratios))


@LOSSES
def test_a_target_of_zero_makes_the_error_absolute(loss: RelativeL2 | RelativeH1) -> None:
    target = random_fields(2, 1, 6, 5)
    target[0] = 0
    prediction = target + 0.3  # constant: all of its H1 norm is that of its values
    ratios = loss.ratios(prediction, target)
    assert float(ratios[0]) == pytest.approx(0.3, rel=1e-9)
    assert float(loss.ratios(target, target)[0]) == 0


@LOSSES
def test_gradients_are_those_of_finite_differences_and_zero_where_there_is_no_error(
    loss: RelativeL2 | RelativeH1,
) -> None:
    target = random_fields(2, 2, 6, 5)
    target[1] = 0
    prediction = random_fields(2, 2, 5, 6).transpose(2, 3).clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss(p, target), prediction)
    same = target.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(same, target), same)
    assert torch.equal(gradient, torch.zeros_like(target))


@LOSSES
def test_half_precision_is_compared_in_single(loss: RelativeL2 | RelativeH1) -> None:
    target = random_fields(2, 1, 6, 5).to(torch.float32)
    prediction = (target + 0.1).to(torch.bfloat16)
    found = loss(prediction, target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(prediction.to(torch.float32), target))


@LOSSES
def test_fields_of_other_shapes_are_refused(loss: RelativeL2 | RelativeH1) -> None:
    with pytest.raises(
        DataError, match=r"the same shape \[B, C, \*grid\], got \[2, 1, 4, 4\] and \[2, 4, 4\]"
    ):
        loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4))
    with pytest.raises(DataError, match="the same shape"):
        loss(torch.zeros(2, 4), torch.zeros(2, 4))


def test_grids_and_arguments_that_do_not_fit_are_refused() -> None:
    loss = RelativeH1((1.0, 2.0), (True, False))
    with pytest.raises(DataError, match="with 2 axes, one for each length"):
        loss(torch.zeros(2, 1, 4), torch.zeros(2, 1, 4))
    with pytest.raises(DataError, match="at least 3 points"):
        loss(torch.zeros(2, 1, 4, 2), torch.zeros(2, 1, 4, 2))
    for lengths in ((), (1.0, 0.0), (1.0, float("inf")), (1.0,) * 4):
        with pytest.raises(ConfigError, match="one to three positive numbers"):
            RelativeH1(lengths, (True, True))
    with pytest.raises(ConfigError, match="periodic as 2 truth values"):
        RelativeH1((1.0, 2.0), (True,))
