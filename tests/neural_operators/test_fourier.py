"""Truncated transforms: torch's FFT, closed forms, and each other as oracles."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciten.errors import ConfigError
from sciten.neural_operators.fourier import (
    analyse,
    matrices_are_cheaper,
    mode_shape,
    require_resolution,
    synthesise,
)


@st.composite
def grids(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    grid = draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    return tuple(grid), tuple(draw(st.integers(1, n)) for n in grid)


@settings(max_examples=60, deadline=None)
@given(grids())
def test_matrices_and_ffts_agree(case: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    grid, modes = case
    fields = torch.randn(2, *grid, 3, dtype=torch.float64)
    by_matrices, by_fft = (analyse(fields, modes, matrices=way) for way in (True, False))
    assert by_matrices.shape == (2, 2, *mode_shape(modes), 3)
    torch.testing.assert_close(by_matrices, by_fft)
    coefficients = torch.randn_like(by_matrices)
    made = [synthesise(coefficients, modes, grid, matrices=way) for way in (True, False)]
    torch.testing.assert_close(*made)


@pytest.mark.parametrize("matrices", [True, False])
def test_coefficients_are_those_of_waves(matrices: bool) -> None:
    x, y = torch.meshgrid(
        torch.arange(8.0, dtype=torch.float64) / 8, torch.arange(9.0, dtype=torch.float64) / 9, indexing="ij"
    )
    wave = 3 * torch.cos(2 * torch.pi * (2 * y - x)) + 4 * torch.sin(2 * torch.pi * y) + 5
    found = torch.view_as_complex(
        analyse(wave[None, ..., None], (4, 6), matrices=matrices)[0, ..., 0].movedim(0, -1).contiguous()
    )
    expected = torch.zeros(4, 4, dtype=torch.complex128)  # frequencies -2 ... 1, and 0 ... 3
    expected[1, 2] = 1.5
    expected[2, 1] = -2j
    expected[2, 0] = 5
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("matrices", [True, False])
@pytest.mark.parametrize(("grid", "modes"), [((7,), (7,)), ((5, 7), (5, 7)), ((5, 3, 7), (5, 3, 7))])
def test_all_modes_of_odd_grids_give_the_field_back(
    grid: tuple[int, ...], modes: tuple[int, ...], matrices: bool
) -> None:
    fields = torch.randn(2, *grid, 3, dtype=torch.float64)
    coefficients = analyse(fields, modes, matrices=matrices)
    torch.testing.assert_close(synthesise(coefficients, modes, grid, matrices=matrices), fields)


def test_coefficients_do_not_depend_on_the_resolution() -> None:
    coefficients = torch.randn(1, 2, 4, 3, 2, dtype=torch.float64)
    coefficients[:, :, 0] = 0  # no frequency without its negative
    fields = synthesise(coefficients, (4, 4), (8, 10))
    finer = synthesise(coefficients, (4, 4), (16, 30))
    torch.testing.assert_close(finer[:, ::2, ::3], fields)
    torch.testing.assert_close(analyse(finer, (4, 4)), analyse(fields, (4, 4)))


@pytest.mark.parametrize("matrices", [True, False])
def test_both_ways_have_gradients_of_gradients(matrices: bool) -> None:
    fields = torch.randn(2, 6, 5, 3, dtype=torch.float64, requires_grad=True)

    def filtered(fields: torch.Tensor) -> torch.Tensor:
        return synthesise(analyse(fields, (4, 4), matrices=matrices), (4, 4), (6, 5), matrices=matrices)

    assert torch.autograd.gradcheck(filtered, fields)
    assert torch.autograd.gradgradcheck(filtered, fields)


def test_matrices_are_taken_for_few_modes_only() -> None:
    assert matrices_are_cheaper((64, 64), (16, 16))
    assert not matrices_are_cheaper((4096,), (4096,))


def test_coarse_grids_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 16 × 16 points, one for each mode, got 16 × 12"):
        require_resolution("FNO", (16, 12), (16, 16))
