"""Boundary conditions, one for each face of a box.

Data of a condition is a number, or a function of points on the face, `[n_points, d]` to `[n_points]`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde.fields import number

Data = float | complex | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Dirichlet:
    """`u = value` on the face, which holds exactly: the face is a neighbour of the first unknown, not an unknown.

    Raises:
        ConfigError: `value` is neither a finite number nor a function.
    """

    value: Data = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _data("Dirichlet", self.value))


@dataclass(frozen=True)
class Neumann:
    """`∂u/∂n = value`, with the normal pointing out of the box.

    Raises:
        ConfigError: `value` is neither a finite number nor a function.
    """

    value: Data = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _data("Neumann", self.value))


@dataclass(frozen=True)
class Robin:
    """`weight u + slope ∂u/∂n = value`, with the normal pointing out of the box.

    Weights may be complex: `Robin(-1j * k)` lets waves exp(ikx) leave through the face.

    Raises:
        ConfigError: `weight` or `slope` is no finite number; `slope` is zero, which is a `Dirichlet` condition; or
            `value` is neither a finite number nor a function.
    """

    weight: float | complex
    slope: float | complex = 1.0
    value: Data = 0.0

    def __post_init__(self) -> None:
        for name in ("weight", "slope"):
            found = number(f"Robin: {name}", getattr(self, name))
            if found is None:
                raise ConfigError(f"Robin: expected {name} as a number, got {getattr(self, name)!r:.100}")
            object.__setattr__(self, name, found)
        if self.slope == 0:
            raise ConfigError("Robin: expected a slope other than zero; without one it is Dirichlet(value)")
        object.__setattr__(self, "value", _data("Robin", self.value))


@dataclass(frozen=True)
class Periodic:
    """What leaves through this face enters through the opposite one; for both faces of a dimension."""


Condition = Dirichlet | Neumann | Robin | Periodic


def as_robin(condition: Dirichlet | Neumann | Robin) -> tuple[float | complex, float | complex]:
    """Weights of the value and of the outward derivative in a condition."""
    if isinstance(condition, Robin):
        return condition.weight, condition.slope
    return (1.0, 0.0) if isinstance(condition, Dirichlet) else (0.0, 1.0)


def _data(name: str, value: Any) -> Data:
    """Data of a condition, numbers as Python's."""
    found = number(f"{name}: value", value)
    if found is not None:
        return found
    if not callable(value):
        raise ConfigError(
            f"{name}: expected a value as a number or a function of points [n_points, d], got a "
            f"{type(value).__name__}; values on the points of a face may be looked up by such a function"
        )
    return value  # type: ignore[no-any-return]  # a function, whose values are checked where it is called
