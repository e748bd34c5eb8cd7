import numpy as np
import pytest

from sciten.datasets import Axis, FieldGrid
from sciten.errors import ConfigError


@pytest.mark.parametrize("n", [2, 5, 64])
def test_periodic_axes_leave_out_the_second_end(n):
    axis = Axis.periodic("x", n, length=3.0, start=-1.0)
    assert axis.coordinates[0] == -1.0 and len(axis) == n
    assert axis.spacing == pytest.approx(3.0 / n) and axis.length == pytest.approx(3.0)
    assert axis.coordinates[-1] + axis.spacing == pytest.approx(2.0)


@pytest.mark.parametrize("n", [2, 5, 64])
def test_bounded_axes_have_both_ends(n):
    axis = Axis.bounded("x", n, length=3.0, start=-1.0)
    assert axis.coordinates[[0, -1]].tolist() == [-1.0, 2.0]
    assert axis.spacing == pytest.approx(3.0 / (n - 1)) and axis.length == pytest.approx(3.0)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 6, 12])
def test_subsampling_keeps_the_period(step):
    axis = Axis.periodic("x", 24, length=2.0)
    fewer = axis.subsample(step)
    assert fewer.length == pytest.approx(axis.length)
    np.testing.assert_array_equal(fewer.coordinates, axis.coordinates[::step])


def test_subsampling_of_bounded_axes():
    axis = Axis.bounded("x", 13)
    for step in (1, 2, 3, 4, 6, 12):
        assert axis.subsample(step).coordinates[-1] == 1.0
    assert axis.subsample(5).coordinates.tolist() == axis.coordinates[[0, 5, 10]].tolist()
    assert axis.subsample(5).length == pytest.approx(10 / 12)


@pytest.mark.parametrize(
    ("axis", "step"),
    [(Axis.periodic("x", 24), s) for s in (0, -1, 5, 24)] + [(Axis.bounded("x", 5), s) for s in (0, 5)],
)
def test_subsampling_that_does_not_fit(axis, step):
    with pytest.raises(
        ConfigError,
        match=rf"subsample: expected a step .*leaves two of the \d+ points of axis 'x', got {step}",
    ):
        axis.subsample(step)


@pytest.mark.parametrize(
    ("coordinates", "ends", "message"),
    [
        ([0.0], ("open", "open"), r"at least two coordinates \[n\], got shape \[1\]"),
        ([[0.0, 1.0]], ("open", "open"), r"got shape \[1, 2\]"),
        ([0.0, 0.0, 1.0], ("open", "open"), "ascending"),
        ([0.0, 2.0, 1.0], ("open", "open"), "ascending"),
        ([0.0, np.nan], ("open", "open"), "finite"),
        ([0.0, 1.0], ("periodic", "wall"), "both ends periodic or none"),
        ([0.0, 1.0], ("closed", "closed"), "expected ends of periodic, wall, open, got 'closed'"),
    ],
)
def test_axes_that_are_none(coordinates, ends, message):
    with pytest.raises(ConfigError, match=message):
        Axis("x", np.array(coordinates), *ends)


def test_uneven_spacing_is_told_when_asked_for():
    axis = Axis("x", np.array([0.0, 1.0, 3.0]))
    assert not axis.is_uniform and axis.length == 3.0
    with pytest.raises(ConfigError, match="equally spaced points, got spacings from 1 to 2"):
        _ = axis.spacing
    single = Axis("x", np.linspace(-1, 1, 4096, dtype=np.float32))
    assert single.spacing == pytest.approx(2 / 4095)


def test_grids_answer_for_each_axis():
    grid = FieldGrid((Axis.periodic("x", 4, length=2.0), Axis.bounded("y", 5)))
    assert grid.names == ("x", "y") and grid.shape == (4, 5) and grid.periodic == (True, False)
    assert grid.lengths == (2.0, 1.0) and grid.spacing == (0.5, 0.25)
    assert [len(points) for points in grid.coordinates] == [4, 5]
    assert grid.subsample((2, 4)).shape == (2, 2)


def test_grids_that_are_none():
    x = Axis.periodic("x", 4)
    for axes in ((), (x, x), tuple(Axis.periodic(name, 2) for name in "abcd")):
        with pytest.raises(ConfigError, match="FieldGrid: expected"):
            FieldGrid(axes)


def test_differences_are_named():
    grid = FieldGrid((Axis.periodic("x", 8), Axis.bounded("y", 5)))
    rounded = FieldGrid(
        tuple(Axis(a.name, a.coordinates.astype(np.float32), a.lower, a.upper) for a in grid.axes)
    )
    assert grid.difference(rounded) == ""
    for axis, message in (
        (Axis.bounded("y", 9), "5 points along 'y' against 9"),
        (Axis.bounded("z", 5), "axis 'y' against 'z'"),
        (Axis.bounded("y", 5, boundary="open"), "boundary wall, wall along 'y' against open, open"),
        (Axis.bounded("y", 5, length=2.0), "coordinates from 0 to 1 along 'y' against 0 to 2"),
    ):
        assert grid.difference(FieldGrid((grid.axes[0], axis))) == message
    assert grid.difference(FieldGrid(grid.axes[:1])) == "2 axes against 1"
