"""Any operator works on patches: scales, coordinates and cuts are matters of the base class."""

import itertools
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
from sciten.neural_operators.resampling import resampled

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


@pytest.mark.parametrize("positional", [False, True])
def test_a_patched_operator_adds_to_the_answer_of_a_coarser_one(positional: bool) -> None:
    model, x = operator(positional_grid=positional), fields(2, 2, 12, 13)
    assert isinstance(model.coarse, FNO)
    arguments = {"positional_grid": positional, "dtype": torch.float64, **SIZES}
    cuts, grid = CUTS.grids((12, 13))[1]
    assert grid == (6, 9) and cuts == MultigridPatching((1, 2), 0, 0.25, (True, False))
    coarse = FNO(2, 1, periodic=(True, False), patching=cuts, **arguments)
    coarse.load_state_dict(model.coarse.state_dict())
    answer = resampled(coarse(resampled(x, grid, CUTS.periodic)), (12, 13), CUTS.periodic)
    lines = torch.meshgrid(torch.arange(12) / 12, torch.arange(13) / 12, indexing="ij")
    places = torch.stack(lines).double().expand(2, -1, -1, -1)
    given = torch.cat([x, answer, *([places] if positional else [])], 1)
    fine = FNO(given.shape[1], 1, periodic=False, **{**arguments, "positional_grid": False})
    own = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith(("lift", "block", "proj"))
    }
    fine.load_state_dict(own, strict=False)
    expected = answer + CUTS.stitch(fine(CUTS.patch(given)), (12, 13))
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-6 if positional else 1e-12)


def test_operators_of_coarser_grids_begin_with_weights_of_their_own() -> None:
    cuts = MultigridPatching((4, 4), 2, periodic=(True, False))
    weights = [
        one.blocks[0].convolution.weight.full().detach()
        for seed in (0, 1)
        for model in [operator(patching=cuts, seed=seed)]
        for one in (model, model.coarse, model.coarse.coarse)
    ]
    for first, second in itertools.combinations(weights, 2):
        assert not torch.equal(first, second)


def test_what_makes_no_operator_for_coarser_grids_says_so() -> None:
    with pytest.raises(
        ConfigError, match=r"Seen: expected an operator for coarser grids.*levels=1.*or take levels=0"
    ):
        Seen(1, (True, False), patching=CUTS)(fields(1, 1, 8, 9))


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
    # As the loaded one's: torch.matmul takes other ways with weights that are trained.
    model.requires_grad_(False)
    for grid in ((12, 13), (24, 25), (15, 17)):
        assert torch.equal(found(fields(2, 2, *grid)), model(fields(2, 2, *grid)))


def test_weights_change_their_format_and_modes_grow() -> None:
    dense, x = operator(), fields(1, 2, 12, 13)
    factors = dense.with_factorization(TuckerFactors(0.5))
    assert isinstance(factors, TFNO) and factors.patching == CUTS
    torch.testing.assert_close(factors.with_factorization(Dense())(x), factors(x), rtol=0, atol=1e-10)
    whole = dense(x)
    dense.set_modes((2, 2))
    assert [one.active_modes for one in dense.convolutions()] == [(2, 2)] * 4
    few = dense(x)
    assert not torch.allclose(few, whole)
    again = FNO(**dense.arguments(), dtype=torch.float64)
    again.load_state_dict(dense.state_dict())
    assert torch.equal(again(x), few)


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
        (
            {"patches": [2, 2], "overlap": 2},
            "expected patches, a number for each axis, and, of levels, padding, at_a_time",
        ),
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
    with pytest.raises(
        ConfigError,
        match=r"FNO on patches of the coarser grid 6 × 7: expected at least 8 × 4 points.*got 6 × 6",
    ):
        operator(modes=(8, 4))(fields(1, 2, 12, 10))
