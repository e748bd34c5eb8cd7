"""The layout of a file of fields in HDF5: that of The Well (Ohana et al., NeurIPS 2024), and what sciten adds.

Root attributes `dataset_name`, `grid_type`, `n_spatial_dims`, `n_trajectories`, `simulation_parameters` (names, each an
attribute too). Group `dimensions`: attribute `spatial_dims`, datasets `time` and one for each axis. Group
`boundary_conditions`: one group for each axis and kind, whose `mask` is true at the ends concerned. Group `scalars`:
what varies with the sample or in time, but not in space, and the parameters. Groups `t0_fields`, `t1_fields`,
`t2_fields`: scalar, vector and tensor fields `[n_trajectories, time, *grid, *components]`, without the axes along
which they do not vary, as their attributes `sample_varying`, `time_varying`, `dim_varying` say.

sciten adds root attributes `schema`, `schema_version`, `command`, `licence`, `created`, `sciten_version`, `sources` and
`made_from`, and the group `normalisation`: for each field and scalar a group with `mean` and `std` `[*components]`, and
where it varies in time `difference_mean` and `difference_std` of the change from one stored time to the next, with the
numbers of values. Coordinates and times are float64, so that grids come back exactly.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from sciten.datasets.fields.grid import FieldGrid
from sciten.errors import ConfigError

SCHEMA = "sciten-fields"
SCHEMA_VERSION = 1
SCALARS = "scalars"
FIELD_GROUPS = ("t0_fields", "t1_fields", "t2_fields")
GROUPS = (*FIELD_GROUPS, SCALARS)

#: Root attributes, which no parameter may be named as.
RESERVED = (
    "dataset_name",
    "grid_type",
    "n_spatial_dims",
    "n_trajectories",
    "simulation_parameters",
    "schema",
    "schema_version",
    "command",
    "licence",
    "created",
    "sciten_version",
    "sources",
    "made_from",
)

Symmetry = Literal["", "symmetric", "antisymmetric"]


@dataclass(frozen=True)
class Field:
    """One field of a dataset, or a scalar (`Field.scalar`), which does not vary in space.

    Args:
        name: what it is called.
        order: 0 for a scalar field, 1 for a vector field, 2 for a field of tensors.
        time_varying: whether it has a value at each time; else it is static.
        sample_varying: whether it differs from sample to sample; else all share one.
        dim_varying: whether it varies along each axis of the grid; by default along all. Arrays lack the others.
        components: shape of one value; by default `(d,) * order` on a grid of `d` axes.
        symmetry: of tensors, `symmetric`, `antisymmetric` or neither.
        in_space: false for scalars.
    """

    name: str
    order: int = 0
    time_varying: bool = True
    sample_varying: bool = True
    dim_varying: tuple[bool, ...] | None = None
    components: tuple[int, ...] | None = None
    symmetry: Symmetry = ""
    in_space: bool = True

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or "\0" in self.name or self.name == ".":
            raise ConfigError(f"Field: expected a name without slashes, got {self.name!r}")
        if self.order not in (0, 1, 2):
            raise ConfigError(f"Field {self.name!r}: expected order 0, 1 or 2, got {self.order}")
        if self.symmetry not in ("", "symmetric", "antisymmetric") or (self.symmetry and self.order != 2):
            raise ConfigError(
                f"Field {self.name!r}: expected symmetry 'symmetric' or 'antisymmetric' of order 2, got "
                f"{self.symmetry!r} of order {self.order}"
            )

    @classmethod
    def scalar(cls, name: str, *, time_varying: bool = False, sample_varying: bool = True) -> "Field":
        """A number for each sample, each time, or both."""
        return cls(name, 0, time_varying, sample_varying, in_space=False)

    @property
    def group(self) -> str:
        """The group of the file that it stands in."""
        return FIELD_GROUPS[self.order] if self.in_space else SCALARS

    @property
    def location(self) -> str:
        """Where its values stand in the file."""
        return f"{self.group}/{self.name}"

    def on(self, grid: FieldGrid) -> "Field":
        """With `dim_varying` and `components` spelled out for a grid; raises `ConfigError` where they misfit."""
        d = len(grid.axes)
        varying = (self.in_space,) * d if self.dim_varying is None else tuple(self.dim_varying)
        components = (d,) * self.order if self.components is None else tuple(self.components)
        if len(varying) != d:
            raise ConfigError(
                f"Field {self.name!r}: expected dim_varying for {d} axes, got {list(varying)}; leave it out "
                "where the field varies along all"
            )
        if len(components) > self.order or min(components, default=1) < 1 or (self.order and not components):
            raise ConfigError(
                f"Field {self.name!r}: expected components of {self.order} axes, got {list(components)}"
            )
        return replace(self, dim_varying=varying, components=components)

    def sample_shape(self, grid: FieldGrid, n_times: int) -> tuple[int, ...]:
        """Shape of the values of one sample."""
        full = self.on(grid)
        assert full.dim_varying is not None and full.components is not None
        points = tuple(n for n, varies in zip(grid.shape, full.dim_varying, strict=True) if varies)
        return ((n_times,) if self.time_varying else ()) + points + full.components

    def component_names(self, grid: FieldGrid) -> tuple[str, ...]:
        """A name for each component: `u`; `velocity_x`, `velocity_y`; `stress_xx`, `stress_xy`, ..."""
        components = self.on(grid).components
        assert components is not None
        if not components:
            return (self.name,)
        d = len(grid.axes)
        if components == (d**2,) and self.order == 2:
            components = (d, d)
        by_axis = all(n == d for n in components)
        labels = [grid.names if by_axis else tuple(map(str, range(n))) for n in components]
        return tuple(f"{self.name}_{''.join(part)}" for part in product(*labels))
