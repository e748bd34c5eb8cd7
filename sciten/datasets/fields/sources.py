"""Files that fields are imported from, whatever their kind, and The Well's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from sciten.datasets.fields.grid import Axis, Boundary
from sciten.datasets.fields.layout import Layout, read_layout
from sciten.datasets.fields.schema import Field
from sciten.errors import ConfigError, DataError

#: Where the points of an axis without coordinates stand on the unit interval: at both ends too, at `i / n`, or at the
#: centres of `n` cells.
Points = Literal["ends", "left", "centres"]

AXIS_NAMES = ("x", "y", "z")


@dataclass(frozen=True)
class FieldSource:
    """What a file holds, in the terms of `FieldWriter`, and how to read its samples.

    Attributes:
        name: of the dataset.
        axes, fields, times, parameters, grid_type: as `FieldWriter` takes them.
        n_samples: how many there are.
        read: gives sample `i`.
        shared: gives what all samples share.
        remark: on what the file does not say, for who imports it.
    """

    name: str
    axes: tuple[Axis, ...]
    fields: tuple[Field, ...]
    times: np.ndarray | None
    parameters: Mapping[str, float]
    n_samples: int
    read: Callable[[int], dict[str, np.ndarray]]
    shared: Callable[[], dict[str, np.ndarray]] = dict
    grid_type: str = "cartesian"
    remark: str = ""


def unit_axis(name: str, n: int, boundary: Boundary, points: Points | None) -> Axis:
    """An axis of the unit interval; without `points` a periodic one has them at `i / n`, others at the ends too."""
    if boundary == "periodic" and points == "ends":
        raise ConfigError(
            "points: expected 'left' or 'centres' of a periodic axis, got 'ends'; its ends are one point"
        )
    kind = points or ("left" if boundary == "periodic" else "ends")
    coordinates = {
        "ends": np.linspace(0.0, 1.0, n),
        "left": np.arange(n) / n,
        "centres": (np.arange(n) + 0.5) / n,
    }
    if kind not in coordinates:
        raise ConfigError(f"points: expected {', '.join(coordinates)}, got {kind!r}")
    return Axis(name, coordinates[kind], boundary, boundary)


def well_source(path: Path, file: h5py.File, boundary: Boundary | None) -> FieldSource:
    """A file in The Well's layout. Of boundary conditions, values and the fields that they are for are not read."""
    layout = read_layout(path, boundary)
    parameters = {
        name: value
        for name, value in layout.parameters.items()
        if name not in layout.fields or _is_constant(layout.fields[name])
    }
    fields = tuple(field for field in layout.fields.values() if field.name not in parameters)
    own = {field.name: file[field.location] for field in fields if field.sample_varying}
    common = {field.name: file[field.location] for field in fields if not field.sample_varying}

    def shared() -> dict[str, np.ndarray]:
        # A scalar that never varies may stand there as one value in a list.
        constants = {field.name for field in fields if _is_constant(field)}
        return {
            n: np.asarray(stored[()]).reshape(() if n in constants else stored.shape)
            for n, stored in common.items()
        }

    return FieldSource(
        name=layout.name,
        axes=layout.grid.axes,
        fields=fields,
        times=_one_row(layout) if any(field.time_varying for field in fields) else None,
        parameters=parameters,
        n_samples=layout.n_trajectories,
        read=lambda i: {name: stored[i] for name, stored in own.items()},
        shared=shared,
        grid_type=layout.grid_type,
    )


def one_row(path: Path, times: np.ndarray) -> np.ndarray:
    """Times `[n_times]` of `[n_times]` or `[n_samples, n_times]`; raises `DataError` where samples differ in them."""
    rows = np.atleast_2d(times)
    if np.ptp(rows, axis=0).max(initial=0.0) > 1e-5 * np.abs(rows).max(initial=0.0):
        raise DataError(
            f"{path}: expected the same times of all samples, got others from sample to sample; interpolate them to "
            "common times"
        )
    row: np.ndarray = rows[0]
    return row


def _one_row(layout: Layout) -> np.ndarray:
    return one_row(layout.path, layout.times)


def _is_constant(field: Field) -> bool:
    return not (field.in_space or field.time_varying or field.sample_varying)
