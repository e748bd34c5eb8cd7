import itertools
import json
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sciten.errors import ConfigError
from sciten.neural_operators.patching import MultigridPatching, patching_from
from sciten.neural_operators.resampling import resampled


def all_levels(patches: tuple[int, ...]) -> range:
    """Every number of levels that some patches can have: until the domain is one patch."""
    levels = 0
    while 2**levels < max(patches):
        levels += 1
    return range(levels + 1)


def random_field(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("padding", [0.0, 0.3])
@pytest.mark.parametrize("periodic", [True, False])
def test_stitching_undoes_patching_for_every_size(periodic: bool, padding: float) -> None:
    for n in range(1, 18):
        for count in range(1, n + 1):
            patching = MultigridPatching((count,), all_levels((count,))[-1], padding, (periodic,))
            for own, grid in patching.grids((n,)):
                x = random_field(2, 3, *grid)
                patches = own.patch(x)
                assert patches.shape == (2 * own.n_patches, 3, *own.patch_shape(grid))
                assert torch.equal(own.stitch(patches, grid), x)
            assert own.n_patches == 1 and own.levels == 0


@st.composite
def grids(draw: st.DrawFn) -> tuple[tuple[int, ...], MultigridPatching]:
    """Grids of two or three axes, and patches for them."""
    d = draw(st.integers(2, 3))
    grid = tuple(draw(st.integers(1, 17 if d == 2 else 9)) for _ in range(d))
    patches = tuple(draw(st.integers(1, min(n, 5))) for n in grid)
    levels = draw(st.sampled_from(all_levels(patches)))
    periodic = tuple(draw(st.booleans()) for _ in grid)
    return grid, MultigridPatching(patches, levels, draw(st.sampled_from([0.0, 0.1, 1.0])), periodic)


@given(grids())
@settings(max_examples=150, deadline=None)
def test_stitching_undoes_patching_in_two_and_three_dimensions(
    case: tuple[tuple[int, ...], MultigridPatching],
) -> None:
    for patching, grid in case[1].grids(case[0]):
        x = random_field(2, 2, *grid)
        assert torch.equal(patching.stitch(patching.patch(x), grid), x)


@given(grids())
@settings(max_examples=150, deadline=None)
def test_patches_of_coarser_grids_have_the_same_shape_but_for_the_padding_of_what_is_one_patch(
    case: tuple[tuple[int, ...], MultigridPatching],
) -> None:
    grid, patching = case
    alone = replace(patching, padding=0.0)
    assert {own.patch_shape(fewer) for own, fewer in alone.grids(grid)} == {alone.patch_shape(grid)}
    assert len(patching.grids(grid)) == patching.levels + 1
    for (own, _), (coarser, _) in itertools.pairwise(patching.grids(grid)):
        assert coarser.patches == tuple((count + 1) // 2 for count in own.patches)
        assert (coarser.padding, coarser.periodic) == (own.padding, own.periodic)


def test_patches_are_what_slices_are() -> None:
    x = random_field(2, 3, 6, 8)
    patches = MultigridPatching((2, 4), 0).patch(x)
    for b, i, j in product(range(2), range(2), range(4)):
        expected = x[b, :, 3 * i : 3 * i + 3, 2 * j : 2 * j + 2]
        assert torch.equal(patches[(b * 2 + i) * 4 + j], expected)


def test_padding_is_a_part_of_the_patch_rounded_up() -> None:
    patching = MultigridPatching((2, 4), 0, 0.1, (True, False))
    assert patching.patch_shape((60, 48)) == (30 + 2 * 3, 12 + 2 * 2)
    assert replace(patching, padding=0.0).patch_shape((60, 48)) == (30, 12)


def test_coarser_grids_hold_slow_waves_and_no_fast_ones() -> None:
    n, patching = 32, MultigridPatching((4, 4), 2)

    def waves(points: int, fast: bool) -> Tensor:
        t = torch.arange(points, dtype=torch.float64) * 2 * torch.pi / points
        slow = 2.0 + torch.cos(t)[:, None] * torch.sin(2 * t)[None, :]
        # 16 points carry up to 7 waves, 8 points up to 3.
        return (slow + fast * torch.cos(9 * t)[:, None] * torch.sin(t)[None, :])[None, None]

    x = waves(n, True)
    for (_, grid), (own, fewer) in itertools.pairwise(patching.grids((n, n))):
        coarse = resampled(x, fewer, own.periodic)
        assert coarse.shape[2:] == fewer
        torch.testing.assert_close(coarse, waves(fewer[0], False), rtol=0, atol=1e-12)
        torch.testing.assert_close(
            resampled(coarse, grid, own.periodic), waves(grid[0], False), rtol=0, atol=1e-12
        )
        x = coarse


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.booleans(), st.booleans()),
    st.sampled_from([0.0, 0.25, 0.5]),
    st.integers(2, 3),
)
@settings(max_examples=60, deadline=None)
def test_slow_fields_are_the_same_on_finer_grids(
    patches: tuple[int, int], periodic: tuple[bool, bool], padding: float, factor: int
) -> None:
    extents = [4 * count if count > 2 else 12 * count for count in patches]  # levels carry waves of a period
    coarse, fine = (
        tuple(k * n if p else k * n + 1 for n, p in zip(extents, periodic, strict=True)) for k in (1, factor)
    )
    patching = MultigridPatching(patches, all_levels(patches)[-1], padding, periodic)

    def slow(grid: tuple[int, ...]) -> Tensor:
        lines = [
            torch.cos(
                (2 if p else 1) * torch.pi * torch.arange(n) / (n if p else n - 1) + (0.3 if p else 0.0)
            )
            for n, p in zip(grid, periodic, strict=True)
        ]
        return (1 + lines[0][:, None] * lines[1][None, :]).double()[None, None]

    for (own, many), (same, few) in zip(patching.grids(fine), patching.grids(coarse), strict=True):
        assert same.in_proportion(few) == (True, True)
        found, expected = (resampled(slow(k), n, periodic) for k, n in ((fine, many), (coarse, few)))
        torch.testing.assert_close(
            own.patch(found)[..., ::factor, ::factor], same.patch(expected), rtol=0, atol=1e-6
        )


@pytest.mark.parametrize(
    ("patching", "grid", "expected"),
    [
        (MultigridPatching((2, 3)), (16, 16), (True, False)),
        (MultigridPatching((2, 3), periodic=(False, False)), (16, 16), (False, True)),
        (MultigridPatching((2, 2), padding=0.1), (40, 42), (True, False)),
        (MultigridPatching((1, 2), padding=0.1), (7, 20), (True, True)),
    ],
)
def test_patches_are_in_proportion_where_nothing_is_rounded(
    patching: MultigridPatching, grid: tuple[int, int], expected: tuple[bool, bool]
) -> None:
    assert patching.in_proportion(grid) == expected


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shift_by_a_patch_permutes_patches(axis: int) -> None:
    patching = MultigridPatching((2, 4, 3), 0, 0.5, (True, True, True))
    x = random_field(2, 2, 4, 8, 9)
    core = (2, 2, 3)[axis]
    shifted = patching.patch(x.roll(core, 2 + axis))
    expected = patching.patch(x).unflatten(0, (2, 2, 4, 3)).roll(1, 1 + axis).flatten(0, 3)
    assert torch.equal(shifted, expected)


def test_an_axis_of_one_patch_has_no_padding_and_stays_periodic() -> None:
    patching = MultigridPatching((1, 2), 0, 0.5, (True, True))
    assert patching.patch_shape((8, 8)) == (8, 8)
    assert patching.patch_periodic == (True, False)
    x = random_field(1, 1, 8, 6)
    assert torch.equal(MultigridPatching((1, 1), 0, 0.5).patch(x), x)


def test_an_axis_of_one_patch_is_not_coarsened() -> None:
    patching = MultigridPatching((4, 1), 2)
    assert [grid for _, grid in patching.grids((16, 5))] == [(16, 5), (8, 5), (4, 5)]


def test_gradients_are_those_of_finite_differences() -> None:
    patching = MultigridPatching((2, 3), 0, 0.3, (True, False))
    x = random_field(1, 1, 5, 7).requires_grad_()
    assert torch.autograd.gradcheck(patching.patch, x)
    y = random_field(6, 2, *patching.patch_shape((5, 7))).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: patching.stitch(y, (5, 7)), y)


def test_dtypes_stay() -> None:
    patching = MultigridPatching((2,), 1, periodic=(False,))
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.complex64):
        assert patching.patch(torch.ones(1, 1, 6, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patches": ()}, "one to three numbers of at least 1"),
        ({"patches": (2, 2, 2, 2)}, "one to three numbers of at least 1"),
        ({"patches": (2, 0)}, "one to three numbers of at least 1"),
        ({"patches": (2,)}, "expected periodic as 1 truth values"),
        ({"patches": (2, 2), "padding": -0.1}, "padding from 0 to 1"),
        ({"patches": (2, 2), "padding": float("nan")}, "padding from 0 to 1"),
        ({"patches": (2, 2), "levels": -1}, "levels of at least 0"),
        ({"patches": (2, 4), "levels": 3}, "at most 2 levels for patches .* take fewer levels or more"),
        ({"patches": (1, 1), "levels": 1}, "the whole domain is one patch of level 0, got 1"),
        ({"patches": (2, 2), "at_a_time": 0}, "at_a_time of at least 1 patch, got 0"),
        ({"patches": (2, 2), "at_a_time": 1.5}, "at_a_time of at least 1 patch, got 1.5"),
        ({"patches": (2.0, 2)}, "one to three numbers of at least 1"),
        ({"patches": (2, 2), "levels": 0.5}, "levels of at least 0, got 0.5"),
    ],
)
def test_impossible_patchings_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MultigridPatching(**arguments)


def test_a_description_is_the_value_and_its_axes_are_the_domains() -> None:
    value = MultigridPatching((2, 4), 2, 0.1, (True, False), at_a_time=3)
    assert json.loads(json.dumps(value.description())) == value.description()
    assert patching_from(value.description(), (True, False)) == value
    assert patching_from(value, (False, False)) == replace(value, periodic=(False, False))
    for description, words in (
        ({"patches": [2]}, "patches as 2 numbers, one for each axis, got"),
        ({"patches": [2, 2], "periodic": [True, True]}, "of levels, padding, at_a_time, any"),
        ({"levels": 1}, "expected patches"),
        ({"patches": 2}, "expected patches, a number for each axis"),
        ("2x2", "expected patches, a number for each axis.*got 2x2"),
    ):
        with pytest.raises(ConfigError, match=words):
            patching_from(description, (True, True))


def test_fields_that_do_not_fit_are_refused() -> None:
    patching = MultigridPatching((4, 4))
    with pytest.raises(ConfigError, match=r"at least \(4, 4\) points.*got \(3, 8\); take fewer patches"):
        patching.patch(torch.zeros(1, 1, 3, 8))
    with pytest.raises(ConfigError, match="a grid of 2 axes"):
        patching.patch(torch.zeros(1, 1, 8))
    for shape in ((16, 1, 2, 3), (15, 1, 2, 2), (16, 1, 2)):
        with pytest.raises(ConfigError, match="the model must keep the number of points"):
            patching.stitch(torch.zeros(shape), (8, 8))


def on_patches(model: nn.Module, patching: MultigridPatching, x: Tensor) -> Tensor:
    return patching.stitch(patching.apply(model, patching.patch(x)), x.shape[2:])


def test_a_pointwise_model_does_the_same_on_patches() -> None:
    x = random_field(2, 2, 9, 11)
    for padding in (0.0, 0.2):
        patched = on_patches(nn.Tanh(), MultigridPatching((2, 3), 0, padding), x)
        torch.testing.assert_close(patched, x.tanh())


def test_a_local_model_does_the_same_where_the_padding_is_wide_enough() -> None:
    model = nn.Conv2d(1, 1, 5, padding=2, padding_mode="circular", dtype=torch.float64)
    x = random_field(2, 1, 12, 12)
    # Halos of 3 and 2 points, the model needs 2.
    torch.testing.assert_close(on_patches(model, MultigridPatching((2, 3), 0, 0.5), x), model(x))


def step(model: nn.Module, patching: MultigridPatching, x: Tensor) -> list[Tensor]:
    """Outputs, and gradients of fields and weights."""
    torch.manual_seed(3)
    x = x.clone().requires_grad_()
    y = on_patches(model, patching, x)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])]


def test_a_few_patches_at_a_time_are_the_same_step() -> None:
    x = random_field(2, 2, 9, 11)
    patching = MultigridPatching((2, 3), 0, 0.2)
    model = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 3, 3, padding=1)).double()
    whole = step(model, patching, x)
    for at_a_time in (1, 5, 12, 100):
        torch.testing.assert_close(step(model, replace(patching, at_a_time=at_a_time), x), whole)


def test_dropout_is_the_same_when_it_is_computed_again() -> None:
    y, gradient = step(nn.Dropout(0.5), MultigridPatching((2, 2), 0, at_a_time=1), torch.ones(2, 1, 8, 8))
    # d/dx of (m x)^2 at x = 1 is 2 m^2, where the outputs are the mask m.
    torch.testing.assert_close(gradient, 2 * y.square())
    assert 0 < int((y == 0).sum()) < y.numel()


def test_inference_computes_nothing_twice() -> None:
    calls = []

    class Counted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return x

    with torch.no_grad():
        on_patches(Counted(), MultigridPatching((2, 2), 0, at_a_time=3), torch.ones(2, 1, 4, 4))
    assert calls == [3, 3, 2]
