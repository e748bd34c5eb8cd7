"""Every check passes for what is right, and fails for an operator made wrong in just that way."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sciten.datasets import FieldDataset
from sciten.errors import ConfigError, DataError
from sciten.neural_operators import FNO, MultigridPatching, save_operator
from sciten.neural_operators.files import Roles
from sciten.simulation.verify import Status, verify_operator
from sciten.simulation.verify.operators import smooth_fields
from tests.operators import ToyOperator
from tests.training.conftest import static  # noqa: F401 (fixture)


class Stencil(ToyOperator):
    """Knows neighbours by their number, not by their distance."""

    def transform(self, fields: Tensor) -> Tensor:
        return fields - fields.roll(1, -1)


class Placed(ToyOperator):
    """Knows where on the axis a point is, and says nothing of it."""

    def transform(self, fields: Tensor) -> Tensor:
        n = fields.shape[-1]
        return fields * torch.cos(2 * torch.pi * torch.arange(n, dtype=fields.dtype) / n)


class Sharing(ToyOperator):
    """Normalises over the batch."""

    def transform(self, fields: Tensor) -> Tensor:
        return fields - fields.mean(0, keepdim=True)


class Rough(ToyOperator):
    """Loses digits: a large number is added and taken away again."""

    def transform(self, fields: Tensor) -> Tensor:
        return fields + 1e6 - 1e6


class Empty(ToyOperator):
    """Gives no numbers."""

    def transform(self, fields: Tensor) -> Tensor:
        return fields / 0


def failed(model: ToyOperator) -> set[str]:
    return {result.name for result in verify_operator(model).failures}


def test_each_mistake_is_found_by_its_check() -> None:
    assert failed(ToyOperator(1, 1)) == set()
    assert failed(Stencil(1, 1)) == {"resolution", "resolution: convergence"}
    assert failed(Placed(1, 1)) == {"translation"}
    assert failed(Sharing(1, 1)) == {"samples apart"}
    assert failed(Rough(1, 1)) == {"float32"}
    assert "finite outputs" in failed(Empty(1, 1))


@pytest.mark.parametrize(
    ("periodic", "arguments"),
    [
        ([True], {"positional_grid": False}),
        ([True, True], {"positional_grid": True}),
        ([True, False], {"positional_grid": False}),
        ([False, False], {"positional_grid": True, "padding": 0.25}),
    ],
)
def test_fourier_operators_pass(periodic: list[bool], arguments: dict[str, object]) -> None:
    model = FNO(
        2, 1, modes=[6] * len(periodic), hidden_channels=8, n_layers=2, periodic=periodic, input_scale=[(3, 2), (0, 9)],
        **arguments,
    )  # fmt: skip
    verification = verify_operator(model)
    assert verification.passed, str(verification)
    applicable = verification["translation"].status is not Status.NOT_APPLICABLE
    assert applicable == (any(periodic) and not arguments["positional_grid"])
    assert verification["save and load"].value == 0


@pytest.mark.parametrize(
    ("periodic", "patching"),
    [
        ([True], MultigridPatching((2,), 1, 0.1, (True,))),
        ([True, True], MultigridPatching((4, 2), 2, 0.25)),
        ([True, False], MultigridPatching((1, 2), 1, 0.1, at_a_time=3)),
    ],
)
def test_patched_operators_pass(periodic: list[bool], patching: MultigridPatching) -> None:
    model = FNO(
        2, 1, modes=[6] * len(periodic), hidden_channels=8, n_layers=2, periodic=periodic, positional_grid=False,
        patching=patching,
    )  # fmt: skip
    verification = verify_operator(model)
    assert verification.passed, str(verification)
    assert verification["translation"].status is Status.PASSED
    assert verification["resolution: convergence"].status is Status.PASSED
    assert verification["save and load"].value == 0


def test_an_operator_on_patches_that_says_it_takes_any_shift_is_found() -> None:
    class Wrong(FNO):
        def translations(self, grid: Sequence[int]) -> tuple[int, ...]:
            return (1,) * len(grid)

    model = Wrong(
        1, 1, modes=[6], hidden_channels=8, positional_grid=False,
        patching=MultigridPatching((4,), 2, 0.25, (True,)),
    )  # fmt: skip
    assert [result.name for result in verify_operator(model).failures] == ["translation"]


@pytest.mark.parametrize(("padding", "points"), [(0.1, 40), (0.137, 24)])
def test_patches_are_compared_on_grids_where_they_are_in_proportion(
    padding: float,
    points: int,
    static: Path,  # noqa: F811
) -> None:
    model = FNO(1, 1, modes=[4], hidden_channels=4, patching=MultigridPatching((2,), 1, padding, (True,)))
    with FieldDataset(static, inputs=["before"], targets=["after"]) as data:
        verification = verify_operator(model, data)
    assert verification.structures == ("static.h5 on 24 points",)
    assert f"on {points} and on {2 * points} points" in verification["resolution"].explanation
    judged = verification["resolution: convergence"].status is not Status.NOT_APPLICABLE
    assert judged == (points == 40)


def test_patches_that_do_not_divide_the_grid_move_by_no_shift(static: Path) -> None:  # noqa: F811
    model = FNO(
        1, 1, modes=[4], hidden_channels=4, positional_grid=False, patching=MultigridPatching((5,), periodic=(True,))
    )  # fmt: skip
    with FieldDataset(static, inputs=["before"], targets=["after"]) as data:
        found = verify_operator(model, data)["translation"]
    assert found.status is Status.NOT_APPLICABLE
    assert "no shift is one by whole patches" in found.explanation


def test_data_give_the_grid_and_the_fields(static: Path, tmp_path: Path) -> None:  # noqa: F811
    model = FNO(1, 1, modes=[6], hidden_channels=8)
    save_operator(model, tmp_path / "model", roles=Roles(("before",), ("after",)))
    verification = verify_operator(tmp_path / "model", static)
    assert verification.passed, str(verification)
    assert verification.structures == ("static.h5 on 24 points",)
    assert "fields: static.h5" in str(verification)
    with pytest.raises(DataError, match=r"nowhere\.h5"):
        verify_operator(tmp_path / "model", tmp_path / "nowhere.h5")
    save_operator(
        FNO(2, 1, modes=[6], hidden_channels=8), tmp_path / "two", roles=Roles(("before",), ("after",))
    )
    with pytest.raises(ConfigError, match=r"\[batch, 2, points\]"):
        verify_operator(tmp_path / "two", static)


def test_smooth_fields_are_the_same_functions_on_every_grid() -> None:
    model = ToyOperator(2, 1, periodic=(True, False), input_scale=[(5.0, 0.1), (0.0, 1.0)])
    coarse, fine = smooth_fields(model, (8, 9), 3), smooth_fields(model, (16, 17), 3)
    torch.testing.assert_close(fine[..., ::2, ::2], coarse, rtol=0, atol=1e-12)
    assert not torch.equal(smooth_fields(model, (8, 9), 4), coarse)
