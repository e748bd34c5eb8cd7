"""Boundary conditions, one for each face of a box.

Data of a condition is a number, or a function of points on the face, `[n_points, d]` to `[n_points]`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sciten.errors import ConfigError

Data = float | complex | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Dirichlet:
    """`u = value` on the face, which holds exactly: the face is a neighbour of the first unknown, not an unknown."""

    value: Data = 0.0


@dataclass(frozen=True)
class Neumann:
    """`∂u/∂n = value`, with the normal pointing out of the box."""

    value: Data = 0.0


@dataclass(frozen=True)
class Robin:
    """`weight u + slope ∂u/∂n = value`, with the normal pointing out of the box.

    Raises:
        ConfigError: `slope` is zero, which is a `Dirichlet` condition.
    """

    weight: float
    slope: float = 1.0
    value: Data = 0.0

    def __post_init__(self) -> None:
        if self.slope == 0:
            raise ConfigError("Robin: expected a slope other than zero; without one it is Dirichlet(value)")


@dataclass(frozen=True)
class Periodic:
    """What leaves through this face enters through the opposite one; for both faces of a dimension."""


Condition = Dirichlet | Neumann | Robin | Periodic


def as_robin(condition: Dirichlet | Neumann | Robin) -> tuple[float, float]:
    """Weights of the value and of the outward derivative in a condition."""
    if isinstance(condition, Robin):
        return condition.weight, condition.slope
    return (1.0, 0.0) if isinstance(condition, Dirichlet) else (0.0, 1.0)
