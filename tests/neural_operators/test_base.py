"""Any operator works on patches: scales, coordinates and cuts are matters of the base class."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.neural_operators import (
    FNO,
    TFNO,
    Dense,
    MultigridPatching,
    NeuralOperator,
    TuckerFactors,
)
from sciten.neural_operators.files import load_operator, save_operator

CUTS = MultigridPatching((2, 3), 1, 0.25, (True, False))
SIZES: dict[str, Any] = {"modes": (4, 4), "hidden_channels": 4, "n_layers": 2}


class Seen(NeuralOperator):
    """Gives one of the channels that it is given."""

    def __init__(self, channel: int, periodic: tuple[bool, ...], **settings: Any) -> None:
        super().__init__(1, 1, periodic, positional_grid=True, **settings)
        self.channel = channel

    def arguments(self) -> dict[str, Any]:
        return {"channel": self.channel, "periodic": self.periodic}

    def transform(self, fields: Tensor) -> Tensor:
        assert fields.shape[1] == self.patch_channels
        return fields[:, self.channel : self.channel + 1]


def fields(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def operator(kind: type[FNO] = FNO, **changes: Any) -> FNO:
    settings = {
        "periodic": (True, False),
        "positional_grid": False,
        "patching": CUTS,
        "dtype": torch.float64,
        **SIZES,
        **changes,
    }
    return kind(2, 1, **settings)


def test_a_patched_operator_adds_to_the_answer_of_a_coarser_one() -> None:
    model, x = operator(), fields(2, 2, 12, 13)
    arguments = {"positional_grid": False, "dtype": torch.float64, **SIZES}
    coarse = FNO(2, 1, periodic=(True, False), patching=MultigridPatching((1, 2), 0, 0.25), **arguments)
    fine = FNO(3, 1, periodic=False, **arguments)
    assert isinstance(model.coarse, FNO)
    coarse.load_state_dict(model.coarse.state_dict())
    fine.load_state_dict(
        {k: v for k, v in model.state_dict().items() if "coarse" not in k and "input" not in k}, strict=False
    )
    answer = CUTS.refined(coarse(CUTS.coarsened(x)), (12, 13))
    patches = fine(CUTS.patch(torch.cat([x, answer], 1)))
    expected = answer + CUTS.stitch(patches, (12, 13))
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-12)
    first, second = (one.lifting.state_dict() for one in (coarse, operator(patching=coarse.patching)))
    assert any(not torch.equal(first[name], second[name]) for name in first)  # other first weights


def test_scales_are_those_of_the_fields() -> None:
    model = operator()
    scaled = operator(input_scale=[(5.0, 2.0), (-3.0, 0.1)], output_scale=[(7.0, 4.0)])
    scaled.load_state_dict(scaled.state_dict() | dict(model.named_parameters()))
    x = fields(2, 2, 12, 13)
    units = torch.tensor([2.0, 0.1]).view(-1, 1, 1) * x + torch.tensor([5.0, -3.0]).view(-1, 1, 1)
    torch.testing.assert_close(scaled(units), 4 * model(x) + 7, rtol=0, atol=1e-6)


ALONE = replace(CUTS, levels=0)


@pytest.mark.parametrize("patching", [None, replace(ALONE, padding=0.0), ALONE, replace(ALONE, at_a_time=5)])
def test_coordinates_are_those_of_the_domain(patching: MultigridPatching | None) -> None:
    shape = (8, 10)
    for axis, line in enumerate((torch.arange(8) / 8, torch.arange(10) / 9)):
        model = Seen(1 + axis, (True, False), patching=patching)
        expected = line.view([-1 if k == axis else 1 for k in range(2)]).expand(3, 1, *shape)
        torch.testing.assert_close(model(fields(3, 1, *shape)), expected)


def test_a_few_patches_at_a_time_are_the_same_step() -> None:
    x, steps = fields(3, 2, 12, 13), []
    for count in (None, 1, 5):
        model = operator(patching=replace(CUTS, at_a_time=count), positional_grid=True)
        found = model(x)
        steps.append([found, *torch.autograd.grad(found.square().sum(), list(model.parameters()))])
    for step in steps[1:]:
        torch.testing.assert_close(step, steps[0])


@pytest.mark.parametrize("kind", [FNO, TFNO])
def test_arguments_make_the_same_operator_again(kind: type[FNO]) -> None:
    model = operator(kind)
    arguments = json.loads(json.dumps(model.arguments()))
    again = kind(**arguments, dtype=torch.float64)
    again.load_state_dict(model.state_dict())
    assert again.patching == CUTS
    x = fields(1, 2, 12, 13)
    assert torch.equal(again(x), model(x))


def test_saved_and_loaded_it_is_the_same_also_on_other_grids(tmp_path: Path) -> None:
    model = operator(TFNO)
    save_operator(model, tmp_path)
    found = load_operator(tmp_path)
    for grid in ((12, 13), (24, 25), (15, 17)):
        assert torch.equal(found(fields(2, 2, *grid)), model(fields(2, 2, *grid)))


def test_weights_change_their_format_and_modes_grow() -> None:
    dense, x = operator(), fields(1, 2, 12, 13)
    factors = dense.with_factorization(TuckerFactors(0.5))
    assert isinstance(factors, TFNO) and factors.patching == CUTS
    torch.testing.assert_close(factors.with_factorization(Dense())(x), factors(x), rtol=0, atol=1e-10)
    whole = dense(x)
    dense.set_modes((2, 2))
    assert not torch.allclose(dense(x), whole)


@pytest.mark.parametrize(("levels", "unit"), [(0, 4), (1, 8), (2, 8)])
def test_shifts_by_patches_shift_the_output_and_others_do_not(levels: int, unit: int) -> None:
    patching = MultigridPatching((4, 1, 2), levels, 0.2, (True, True, False))
    model = FNO(
        1, 1, modes=(3, 3, 3), hidden_channels=3, n_layers=1, periodic=(True, True, False), patching=patching,
        positional_grid=False, dtype=torch.float64,
    )  # fmt: skip
    grid = (16, 5, 8)
    assert model.translations(grid) == (unit, 1, 0)
    assert model.translations((18, 5, 8)) == (0, 1, 0)
    x = fields(1, 1, *grid)
    for axis, points, exact in ((0, 4, unit == 4), (0, 8, True), (0, 1, False), (1, 1, True), (2, 4, False)):
        error = (model(x.roll(points, 2 + axis)) - model(x).roll(points, 2 + axis)).abs().max()
        assert (error < 1e-12) == exact, (axis, points)


def test_translations_without_patches() -> None:
    assert operator(patching=None).translations((12, 13)) == (1, 0)
    assert operator(patching=None, positional_grid=True).translations((12, 13)) == (0, 0)


def test_no_shift_but_the_whole_axis_fits_three_patches_and_two() -> None:
    model = operator(patching=MultigridPatching((3, 1), 1), periodic=(True, True))
    assert model.translations((12, 13)) == (0, 1)
    x = fields(1, 2, 12, 13)
    for points in (4, 6):
        assert (model(x.roll(points, 2)) - model(x).roll(points, 2)).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("patching", "words"),
    [
        ({"patches": [2]}, "patches as 2 numbers, one for each axis, got"),
        ({"patches": [2, 2], "levels": 2}, "at most 1 levels"),
        ({"patches": [2, 2], "overlap": 2}, "expected patches and, of levels, padding, at_a_time"),
    ],
)
def test_patchings_that_do_not_fit_are_refused(patching: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        operator(patching=patching)


def test_patches_that_do_not_resolve_the_modes_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"FNO on patches: expected at least 4 × 4 points.*got 9 × 3; use a finer"
    ):
        operator(patching=replace(CUTS, padding=0.0))(fields(1, 2, 18, 8))
    with pytest.raises(ConfigError, match=r"at least \(2, 3\) points"):
        operator()(fields(1, 2, 18, 2))
