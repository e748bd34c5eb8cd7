"""Whole numbers of Python and numpy are taken, and nothing else."""

from typing import Any

import numpy as np
import pytest

from sciten.errors import ConfigError
from sciten.neural_operators.arguments import require_modes, require_whole


@pytest.mark.parametrize("value", [1, 7, np.int64(3), None])
def test_whole_numbers_and_what_is_not_given(value: Any) -> None:
    require_whole("A", channels=value)


@pytest.mark.parametrize("value", [0, -1, 1.0, np.float32(2), "3", True, (1,)])
def test_other_values_are_named(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^A: expected channels as a whole number of at least 1, got "):
        require_whole("A", layers=2, channels=value)


def test_the_least_value_is_taken() -> None:
    require_whole("A", 0, channels=0)
    with pytest.raises(ConfigError, match="channels as a whole number of at least 3, got 2"):
        require_whole("A", 3, channels=2)


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        (4, (4,)),
        ([4, 5], (4, 5)),
        (np.array([4, 5, 6]), (4, 5, 6)),
        (range(1, 3), (1, 2)),
    ],
)
def test_modes_are_numbers_of_python(modes: Any, expected: tuple[int, ...]) -> None:
    found = require_modes("A", modes)
    assert found == expected and all(type(m) is int for m in found)


@pytest.mark.parametrize(
    "modes", [(), (1, 2, 3, 4), (4, 0), (4.0, 4), "44", None, np.array(4), (4, True), ((4, 4), 4)]
)
def test_other_modes_are_refused(modes: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"^A: expected modes as a positive whole number for each of one to three"
    ):
        require_modes("A", modes)
