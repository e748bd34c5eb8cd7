"""Grids of fields: axes with their points and with what holds at their ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from sciten.errors import ConfigError

#: What holds at an end of an axis: the field goes on at the other end, meets a wall (Dirichlet, Neumann) or leaves.
Boundary = Literal["periodic", "wall", "open"]
BOUNDARIES: tuple[Boundary, ...] = get_args(Boundary)

_UNEVEN = 1e-2  # of the spacing; coordinates in float32 on thousands of points are off by 1e-3 of it


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a Cartesian grid.

    Args:
        name: `x`, `y`, ...
        coordinates: `[n]`, the points, ascending. On a periodic axis the first one is not repeated at the end.
        lower, upper: what holds at the two ends.

    Raises:
        ConfigError: there are fewer than two points, they do not ascend, or only one end is periodic.
    """

    name: str
    coordinates: np.ndarray
    lower: Boundary = "open"
    upper: Boundary = "open"

    def __post_init__(self) -> None:
        points = np.array(self.coordinates, dtype=np.float64)
        points.flags.writeable = False
        object.__setattr__(self, "coordinates", points)
        if not self.name or "/" in self.name or self.name == ".":
            raise ConfigError(f"Axis: expected a name without slashes, got {self.name!r}")
        if points.ndim != 1 or len(points) < 2:
            raise ConfigError(
                f"Axis {self.name!r}: expected at least two coordinates [n], got shape {list(points.shape)}"
            )
        if not np.isfinite(points).all() or (np.diff(points) <= 0).any():
            raise ConfigError(f"Axis {self.name!r}: expected finite, ascending coordinates; sort them")
        for end in (self.lower, self.upper):
            if end not in BOUNDARIES:
                raise ConfigError(
                    f"Axis {self.name!r}: expected ends of {', '.join(BOUNDARIES)}, got {end!r}"
                )
        if (self.lower == "periodic") != (self.upper == "periodic"):
            raise ConfigError(
                f"Axis {self.name!r}: expected both ends periodic or none, got {self.lower} and {self.upper}"
            )

    @classmethod
    def periodic(cls, name: str, points: int, length: float = 1.0, start: float = 0.0) -> "Axis":
        """A period of `length` with `points` points, the first at `start` and none at `start + length`."""
        return cls(name, start + length * np.arange(points) / max(points, 1), "periodic", "periodic")

    @classmethod
    def bounded(
        cls, name: str, points: int, length: float = 1.0, start: float = 0.0, boundary: Boundary = "wall"
    ) -> "Axis":
        """An interval of `length` with `points` points, one at each end."""
        return cls(name, np.linspace(start, start + length, points), boundary, boundary)

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def is_periodic(self) -> bool:
        """Whether the field goes on at the other end."""
        return self.lower == "periodic"

    @property
    def is_uniform(self) -> bool:
        """Whether neighbouring points are equally far apart, to one part in a hundred."""
        steps = np.diff(self.coordinates)
        return bool(np.ptp(steps) <= _UNEVEN * steps.mean())

    @property
    def spacing(self) -> float:
        """Distance of neighbouring points; raises `ConfigError` where it varies."""
        if not self.is_uniform:
            raise ConfigError(
                f"Axis {self.name!r}: expected equally spaced points, got spacings from "
                f"{np.diff(self.coordinates).min():g} to {np.diff(self.coordinates).max():g}; interpolate the fields"
            )
        return float((self.coordinates[-1] - self.coordinates[0]) / (len(self) - 1))

    @property
    def length(self) -> float:
        """The period of a periodic axis; of others the distance from the first point to the last."""
        if self.is_periodic:
            return len(self) * self.spacing
        return float(self.coordinates[-1] - self.coordinates[0])

    def subsample(self, step: int) -> "Axis":
        """Every `step`-th point, from the first on.

        A periodic axis must have a multiple of `step` points, so that the rest is equally spaced across the seam.
        On others the last point stays where `step` divides `n - 1`; else the axis ends at the last point taken.
        """
        kept = len(range(0, len(self), step)) if step > 0 else 0
        if kept < 2 or (self.is_periodic and len(self) % step):
            divides = "divides their number and " if self.is_periodic else ""
            raise ConfigError(
                f"subsample: expected a step of at least 1 that {divides}leaves two of the {len(self)} points of axis "
                f"{self.name!r}, got {step}"
            )
        return Axis(self.name, self.coordinates[::step], self.lower, self.upper)

    def difference(self, other: "Axis") -> str:
        """In what another axis differs (coordinates by more than rounding in float32); empty where in nothing."""
        if self.name != other.name:
            return f"axis {self.name!r} against {other.name!r}"
        if len(self) != len(other):
            return f"{len(self)} points along {self.name!r} against {len(other)}"
        if (self.lower, self.upper) != (other.lower, other.upper):
            return f"boundary {self.lower}, {self.upper} along {self.name!r} against {other.lower}, {other.upper}"
        smallest = float(np.diff(self.coordinates).min())
        if np.abs(self.coordinates - other.coordinates).max() > _UNEVEN * smallest:
            return (
                f"coordinates from {self.coordinates[0]:g} to {self.coordinates[-1]:g} along {self.name!r} "
                f"against {other.coordinates[0]:g} to {other.coordinates[-1]:g}"
            )
        return ""


@dataclass(frozen=True)
class FieldGrid:
    """A tensor product of axes; `grid.shape`, `grid.spacing` and so on have an entry for each axis.

    Raises:
        ConfigError: there is no axis, there are more than three, or two have one name.
    """

    axes: tuple[Axis, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", tuple(self.axes))
        if not 1 <= len(self.axes) <= 3:
            raise ConfigError(f"FieldGrid: expected one to three axes, got {len(self.axes)}")
        if len(set(self.names)) < len(self.axes):
            raise ConfigError(f"FieldGrid: expected axes of different names, got {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the axes."""
        return tuple(axis.name for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of points along each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def coordinates(self) -> tuple[np.ndarray, ...]:
        """Points of each axis, `[n]` each."""
        return tuple(axis.coordinates for axis in self.axes)

    @property
    def lengths(self) -> tuple[float, ...]:
        """Length of each axis; see `Axis.length`."""
        return tuple(axis.length for axis in self.axes)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbouring points along each axis; raises `ConfigError` where it varies."""
        return tuple(axis.spacing for axis in self.axes)

    @property
    def periodic(self) -> tuple[bool, ...]:
        """Whether each axis is periodic."""
        return tuple(axis.is_periodic for axis in self.axes)

    def subsample(self, steps: Sequence[int]) -> "FieldGrid":
        """Every `steps[i]`-th point of axis `i`; see `Axis.subsample`."""
        return FieldGrid(tuple(axis.subsample(step) for axis, step in zip(self.axes, steps, strict=True)))

    def difference(self, other: "FieldGrid") -> str:
        """In what another grid differs; empty where in nothing."""
        if len(self.axes) != len(other.axes):
            return f"{len(self.axes)} axes against {len(other.axes)}"
        found = (a.difference(b) for a, b in zip(self.axes, other.axes, strict=True))
        return next((text for text in found if text), "")
