import numpy as np
import pytest
import torch

from sciten.errors import ConfigError
from sciten.pde import Axis, Dirichlet, Grid, Neumann, Periodic, Robin


def test_points_lie_as_the_conditions_ask() -> None:
    def gaps(*conditions: object) -> tuple[float, float, float]:
        axis = Axis(0.0, 1.0, 4, conditions)  # type: ignore[arg-type]
        points = axis.points()
        return float(points[0]), float(points[1] - points[0]), float(1 - points[-1])

    assert gaps(Dirichlet(), Dirichlet()) == pytest.approx((1 / 5, 1 / 5, 1 / 5))
    assert gaps(Dirichlet(), Neumann()) == pytest.approx((2 / 9, 2 / 9, 1 / 9))
    assert gaps(Robin(1.0), Neumann()) == pytest.approx((1 / 8, 1 / 4, 1 / 8))
    assert gaps(Periodic(), Periodic()) == pytest.approx((0, 1 / 4, 1 / 4))


def test_chebyshev_points_are_symmetric_and_inside() -> None:
    points = Grid.chebyshev([(-2.0, 2.0)], 7).points()[0]
    torch.testing.assert_close(points, -points.flip(0), rtol=0, atol=0)
    assert bool((points.abs() < 2).all()) and bool((points.diff() > 0).all())


def test_conditions_may_be_given_for_all_for_dimensions_and_for_faces() -> None:
    grid = Grid.uniform([(0, 1)] * 3, [4, 5, 6], [Dirichlet(1.0), Periodic(), (Neumann(), Dirichlet())])
    assert grid.shape == (4, 5, 6) and len(grid) == 3
    assert grid.axes[0].conditions == (Dirichlet(1.0), Dirichlet(1.0))
    assert grid.axes[1].periodic
    assert grid.axes[2].conditions == (Neumann(), Dirichlet())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Grid(()), "at least one axis"),
        (lambda: Grid.uniform([(1.0, 0.0)], 4), "lower < upper"),
        (lambda: Grid.uniform([(0.0, float("nan"))], 4), "lower < upper"),
        (lambda: Grid.uniform([(0.0, 1.0)], 1), "at least 2 points"),
        (lambda: Grid.uniform([(0.0, 1.0)], 4, [(Periodic(), Dirichlet())]), "Periodic at both ends"),
        (lambda: Grid.chebyshev([(0.0, 1.0)], 4, Periodic()), "uniform axis for Periodic"),
        (lambda: Grid.uniform([(0.0, 1.0)] * 2, [4, 4, 4]), "one for each of 2"),
        (lambda: Grid.uniform([(0.0, 1.0)], 4, [("no", "yes")]), "expected a pair of Dirichlet"),  # type: ignore[list-item]
        (lambda: Grid.chebyshev([(0.0, 1.0)], 4).axes[0].spacing, "no one spacing"),
        (lambda: Robin(1.0, 0.0), "slope other than zero"),
        (lambda: Robin("a"), "Robin: expected weight as a number, got 'a'"),  # type: ignore[arg-type]
        (lambda: Robin(float("nan")), "Robin: weight: expected a finite number"),
        (lambda: Robin(1.0, float("inf")), "Robin: slope: expected a finite number"),
        (lambda: Dirichlet(np.ones(16)), "value as a number or a function of points"),  # type: ignore[arg-type]
        (lambda: Neumann("1"), "Neumann: expected a value as a number"),  # type: ignore[arg-type]
        (lambda: Robin(1.0, 1.0, torch.ones(3)), "Robin: expected a value"),  # type: ignore[arg-type]
        (lambda: Dirichlet(float("nan")), "finite number"),
        (lambda: Grid.uniform((0.0, 1.0), 8), "bounds as a list of pairs"),  # type: ignore[arg-type]
        (lambda: Grid.uniform([(0.0, 1.0, 2.0)], 8), "bounds as a list of pairs"),  # type: ignore[list-item]
        (lambda: Grid.uniform([("a", "b")], 8), "bounds as a list of pairs"),  # type: ignore[list-item]
        (lambda: Grid.uniform(1.0, 8), "bounds as a list of pairs"),  # type: ignore[arg-type]
        (lambda: Grid.uniform([(0.0, 1.0)], 16.7), "whole number of points"),  # type: ignore[arg-type]
        (lambda: Grid.uniform([(0.0, 1.0)] * 2, [16.0, 8.0]), "whole number of points"),  # type: ignore[list-item]
        (lambda: Grid.uniform([(0.0, 1.0)], 4, [(Dirichlet(),) * 3]), "expected a pair of"),  # type: ignore[list-item]
    ],
)
def test_bad_grids_are_refused(make: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()  # type: ignore[operator]


def test_arrays_of_sizes_and_numbers_without_axes_are_taken() -> None:
    assert Grid.uniform([(0, 1)] * 2, np.array([16, 8])).shape == (16, 8)
    assert Grid.uniform(np.array([[0.0, 1.0]] * 2), torch.tensor([4, 5])).shape == (4, 5)  # type: ignore[arg-type]
    assert Grid.uniform([(0, 1)] * 2, np.array(7)).shape == (7, 7)
    for two in (np.array(2.0), torch.tensor(2.0), np.float64(2.0), 2):
        assert Dirichlet(two) == Dirichlet(2.0) and Robin(two, two, two) == Robin(2.0, 2.0, 2.0)  # type: ignore[arg-type]
    assert Robin(-5j).weight == -5j and isinstance(Robin(1 + 0j).weight, float)
