"""What a file of fields says of itself, read and checked against its arrays; The Well's own files among them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np

from sciten.datasets import hdf5
from sciten.datasets.fields import schema
from sciten.datasets.fields.grid import BOUNDARIES, Axis, Boundary, FieldGrid
from sciten.datasets.fields.schema import Field, Symmetry
from sciten.errors import ConfigError, DataError

_REMEDY = "fields are read from HDF5: write them with FieldWriter, or convert the file to HDF5 and import it"
_RECORD = ("command", "licence", "created", "sciten_version", "made_from")


@dataclass(frozen=True)
class Layout:
    """The description of a file of fields.

    Attributes:
        path: the file.
        name: of the dataset.
        grid_type: `cartesian` or what The Well's file says.
        grid: axes and boundaries.
        times: `[n_times]`, or `[n_trajectories, n_times]` where they differ from one to the next.
        n_trajectories: number of samples.
        fields: fields and scalars by name, with `components` and `dim_varying` spelled out.
        parameters: numbers in the root attributes, by name.
        record: `command`, `licence`, `created`, `sciten_version`, `made_from`, where the file has them.
        sources: the files that it was imported from: name and SHA-256.
    """

    path: Path
    name: str
    grid_type: str
    grid: FieldGrid
    times: np.ndarray
    n_trajectories: int
    fields: Mapping[str, Field]
    parameters: Mapping[str, float]
    record: Mapping[str, str]
    sources: tuple[Mapping[str, Any], ...]

    @property
    def n_times(self) -> int:
        """Number of times."""
        return int(self.times.shape[-1])


def open_fields(path: Path) -> h5py.File:
    """Open an HDF5 file for reading; raises `DataError` where it is missing, foreign or truncated."""
    return hdf5.open_readonly(path, remedy=_REMEDY)


def is_layout(file: h5py.File) -> bool:
    """Whether a file has the layout of The Well, as far as its groups tell."""
    dimensions = file.get("dimensions")
    return isinstance(dimensions, h5py.Group) and "spatial_dims" in dimensions.attrs


def read_layout(path: Path, boundary: Boundary | None = None) -> Layout:
    """The description of a file of fields.

    Args:
        path: the file.
        boundary: what holds at the ends of all axes where the file says nothing of it.

    Raises:
        DataError: it is no such file, its arrays contradict it, or nothing says what holds at the ends of axes.
    """
    with open_fields(path) as file:
        _check_kind(path, file)
        try:
            return _read(path, file, boundary)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            text = (
                error
                if isinstance(error, ConfigError)
                else f"damaged or incomplete layout ({error!s:.160}); restore it from a copy, or write it anew"
            )
            raise DataError(f"{path}: {text}") from error


def _check_kind(path: Path, file: h5py.File) -> None:
    kind = file.attrs.get("schema")
    if kind == "sciten-atoms":
        raise DataError(f"{path}: an atoms file, not one of fields; open it with AtomsDataset")
    if not is_layout(file):
        raise DataError(
            f"{path}: an HDF5 file, but not in the layout of The Well (no group 'dimensions' with the attribute "
            "'spatial_dims'); make one with `sciten data import IN.h5 OUT.h5`, or with FieldWriter"
        )
    version = file.attrs.get("schema_version", schema.SCHEMA_VERSION)
    if kind == schema.SCHEMA and version != schema.SCHEMA_VERSION:
        raise DataError(
            f"{path}: file of fields of schema version {version}, this sciten reads version {schema.SCHEMA_VERSION}; "
            "import the original data again or install a matching sciten"
        )


def _read(path: Path, file: h5py.File, boundary: Boundary | None) -> Layout:
    grid = _read_grid(path, file, boundary)
    times = np.asarray(file["dimensions/time"][()], dtype=np.float64)
    n_trajectories = int(file.attrs["n_trajectories"])
    fields: dict[str, Field] = {}
    for group, name in _names(file):
        if name in fields:
            raise DataError(
                f"{path}: two fields are called {name!r} ({fields[name].group} and {group}); rename one"
            )
        fields[name] = _read_field(path, file, group, name, grid, n_trajectories, times.shape[-1])
    numbers = root_numbers(file)
    named = strings(file.attrs.get("simulation_parameters", ()))
    return Layout(
        path=path,
        name=str(file.attrs.get("dataset_name", path.stem)),
        grid_type=str(file.attrs.get("grid_type", "cartesian")),
        grid=grid,
        times=times,
        n_trajectories=n_trajectories,
        fields=fields,
        parameters={name: numbers[name] for name in named if name in numbers},
        record={name: str(file.attrs[name]) for name in _RECORD if name in file.attrs},
        sources=tuple(json.loads(file.attrs.get("sources", "[]"))),
    )


def _names(file: h5py.File) -> Iterator[tuple[str, str]]:
    for group in schema.GROUPS:
        if group in file:
            listed = file[group].attrs.get("field_names")
            for name in file[group] if listed is None else strings(listed):
                yield group, name


def _read_grid(path: Path, file: h5py.File, boundary: Boundary | None) -> FieldGrid:
    dimensions = file["dimensions"]
    ends = _read_boundaries(file)
    otherwise: tuple[Boundary, Boundary] = ("open", "open")
    if not len(file.get("boundary_conditions", ())):
        if boundary is None:
            raise DataError(
                f"{path}: says nothing of what holds at the ends of its axes (nothing in 'boundary_conditions'); "
                f"`sciten data import {path.name} OUT.h5 --boundary periodic` (or wall, open) makes a file that does"
            )
        otherwise = (boundary, boundary)
    axes = []
    for name in strings(dimensions.attrs["spatial_dims"]):
        stored = dimensions[name]
        if stored.attrs.get("sample_varying", False) or stored.attrs.get("time_varying", False):
            raise DataError(
                f"{path}: the coordinates along {name!r} differ from sample to sample or in time, which is not "
                "read; interpolate the fields to one grid"
            )
        axes.append(Axis(name, np.asarray(stored[()]).reshape(-1), *ends.get(name, otherwise)))
    return FieldGrid(tuple(axes))


def _read_boundaries(file: h5py.File) -> dict[str, tuple[Boundary, Boundary]]:
    """What holds at the two ends of each axis that a condition is about; open where it is about others."""
    found: dict[str, list[Boundary]] = {}
    for condition in file.get("boundary_conditions", {}).values():
        kind = str(condition.attrs["bc_type"]).lower()
        names = strings(condition.attrs["associated_dims"])
        mask = np.asarray(condition["mask"][()], dtype=bool)
        for axis, name in enumerate(names):
            ends = found.setdefault(name, ["open", "open"])
            for end, index in enumerate((0, -1)):
                at_end = mask.take(index, axis=mask.ndim - len(names) + axis)  # of all samples and times
                # A wall must cover the whole side; the others count where any part of it is such.
                holds = at_end.all() if kind == "wall" else at_end.any()
                if holds:
                    ends[end] = next((known for known in BOUNDARIES if known == kind), "open")
    return {name: (ends[0], ends[1]) for name, ends in found.items()}


def _read_field(
    path: Path, file: h5py.File, group: str, name: str, grid: FieldGrid, n_trajectories: int, n_times: int
) -> Field:
    stored = file[group][name]
    in_space = group != schema.SCALARS
    order = schema.FIELD_GROUPS.index(group) if in_space else 0
    varying = (
        tuple(bool(v) for v in stored.attrs.get("dim_varying", [True] * len(grid.axes))) if in_space else None
    )
    sample, time = (bool(stored.attrs[key]) for key in ("sample_varying", "time_varying"))
    bare = Field(
        name, order, time, sample, varying, () if order == 0 else (1,) * order, in_space=in_space
    ).on(grid)
    leading = ((n_trajectories,) if sample else ()) + bare.sample_shape(grid, n_times)[: -order or None]
    shape = (
        stored.shape[:-1] if not in_space and not (sample or time) and stored.shape == (1,) else stored.shape
    )
    components = shape[len(leading) :]
    fits = len(components) == order or (order == 2 and len(components) == 1)
    if shape[: len(leading)] != leading or not fits or stored.dtype.kind not in "biuf":
        raise DataError(
            f"{path}: field {name!r}: expected real numbers of shape {list(leading)} and {order} axes of components, "
            f"as grid, times and trajectories say, got {list(stored.shape)} of dtype {stored.dtype}; mend it"
        )
    symmetry: Symmetry = next(
        (kind for kind in get_args(Symmetry) if kind and stored.attrs.get(kind, False)), ""
    )
    return Field(
        name, order, time, sample, bare.dim_varying, components, symmetry if order == 2 else "", in_space
    )


def root_numbers(file: h5py.File) -> dict[str, float]:
    """The root attributes that are single numbers."""
    return {
        name: float(value)
        for name, value in file.attrs.items()
        if np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf"
    }


def strings(values: Any) -> list[str]:
    """Names in an attribute, which may be text or bytes."""
    return [value.decode() if isinstance(value, bytes) else str(value) for value in np.ravel(values)]
