import pytest

from sciten.datasets import Axis, Field, FieldGrid
from sciten.errors import ConfigError

GRID = FieldGrid((Axis.periodic("x", 4), Axis.bounded("y", 5)))


@pytest.mark.parametrize(
    ("field", "shape", "names"),
    [
        (Field("u"), (3, 4, 5), ("u",)),
        (Field("u", 1), (3, 4, 5, 2), ("u_x", "u_y")),
        (Field("u", 2), (3, 4, 5, 2, 2), ("u_xx", "u_xy", "u_yx", "u_yy")),
        (Field("u", 2, components=(4,)), (3, 4, 5, 4), ("u_xx", "u_xy", "u_yx", "u_yy")),
        (Field("u", 1, components=(3,)), (3, 4, 5, 3), ("u_0", "u_1", "u_2")),
        (Field("u", time_varying=False), (4, 5), ("u",)),
        (Field("u", dim_varying=(False, True)), (3, 5), ("u",)),
        (Field.scalar("u"), (), ("u",)),
        (Field.scalar("u", time_varying=True), (3,), ("u",)),
    ],
)
def test_shapes_and_names(field, shape, names):
    assert field.sample_shape(GRID, 3) == shape
    assert field.component_names(GRID) == names


def test_places_in_the_file():
    assert [Field("u", order).location for order in range(3)] == ["t0_fields/u", "t1_fields/u", "t2_fields/u"]
    assert Field.scalar("nu").location == "scalars/nu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "without slashes, got ''"),
        ({"name": "a/b"}, "without slashes"),
        ({"name": "u", "order": 3}, "order 0, 1 or 2, got 3"),
        ({"name": "u", "order": 1, "symmetry": "symmetric"}, "'symmetric' of order 1"),
        ({"name": "u", "order": 2, "symmetry": "odd"}, "'odd' of order 2"),
    ],
)
def test_fields_that_are_none(options, message):
    with pytest.raises(ConfigError, match=message):
        Field(**options)


def test_fields_that_do_not_fit_the_grid():
    with pytest.raises(ConfigError, match=r"'u': expected dim_varying for 2 axes, got \[True\]"):
        Field("u", dim_varying=(True,)).on(GRID)
    for components in ((2, 2), ()):
        with pytest.raises(ConfigError, match="'u': expected components of 1 axes"):
            Field("u", 1, components=components).on(GRID)
