"""What a file of fields holds, as text."""

import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from sciten.datasets.fields import statistics
from sciten.datasets.fields.grid import Axis
from sciten.datasets.fields.layout import Layout, open_fields, read_layout
from sciten.datasets.fields.schema import Field
from sciten.errors import DataError


def summary(path: str | os.PathLike[str]) -> str:
    """Provenance, grid, boundaries, fields with their statistics, and parameters; raises `DataError` for others."""
    path = Path(path)
    layout = read_layout(path)
    with open_fields(path) as file:
        try:
            return "\n".join(
                [*_head(layout), *_grid(layout), *_fields(layout, file), *_parameters(layout, file)]
            )
        except (OSError, RuntimeError, KeyError) as error:
            text = " ".join(str(error).split())[:160]
            raise DataError(f"{path}: damaged file, make or import it again ({text})") from error


def _head(layout: Layout) -> Iterator[str]:
    made = f", made {layout.record['created']}" if "created" in layout.record else ""
    yield f"{layout.path}: {layout.name}, {layout.n_trajectories} trajectories{made}"
    for source in layout.sources:
        yield f"from {source['file']}, sha256 {source['sha256']}"
    for name in ("command", "licence"):
        if layout.record.get(name):
            yield f"{name}: {layout.record[name]}"


def _grid(layout: Layout) -> Iterator[str]:
    yield f"grid: {layout.grid_type}, {' x '.join(map(str, layout.grid.shape))} points"
    for axis in layout.grid.axes:
        yield f"  {axis.name}: {_axis(axis)}"
    if any(field.time_varying for field in layout.fields.values()):
        times = np.atleast_2d(layout.times)
        yield f"  time: {layout.n_times} from {times.min():g} to {times.max():g}"


def _axis(axis: Axis) -> str:
    spacing = f"spacing {axis.spacing:g}" if axis.is_uniform else "unevenly spaced"
    ends = axis.lower if axis.lower == axis.upper else f"{axis.lower} below, {axis.upper} above"
    return f"from {axis.coordinates[0]:g} to {axis.coordinates[-1]:g}, {spacing}, {ends}"


def _fields(layout: Layout, file: h5py.File) -> Iterator[str]:
    yield "fields:"
    rows: list[tuple[str, ...]] = [("name", "varies with", "shape", "mean", "std")]
    complete = True
    for field in layout.fields.values():
        if not field.in_space:
            continue
        moments = _moments(file, field)
        complete = complete and moments is not None
        for i, name in enumerate(field.component_names(layout.grid)):
            numbers = (
                ("-", "-")
                if moments is None
                else tuple(f"{m.reshape(-1)[i]:.4g}" for m in (moments.mean, moments.std))
            )
            shape = " x ".join(map(str, file[field.location].shape)) if i == 0 else ""
            rows.append((name, _variation(field) if i == 0 else "", shape, *numbers))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    if not complete:
        yield f"no statistics of some fields: `sciten data import {layout.path.name} OUT.h5` writes them"


def _variation(field: Field) -> str:
    found = [
        what for what, varies in (("sample", field.sample_varying), ("time", field.time_varying)) if varies
    ]
    return ", ".join(found) or "neither"


def _parameters(layout: Layout, file: h5py.File) -> Iterator[str]:
    constants = {name: f"{value:g}" for name, value in layout.parameters.items() if name not in layout.fields}
    for field in layout.fields.values():
        if not field.in_space:
            values = np.asarray(file[field.location][()], dtype=np.float64)
            low, high = values.min(), values.max()
            varies = _variation(field)
            constants[field.name] = (
                f"{low:g}" if varies == "neither" else f"{low:g} to {high:g}, varies with {varies}"
            )
    if constants:
        yield "parameters:"
    yield from (f"  {name}: {text}" for name, text in constants.items())


def _moments(file: h5py.File, field: Field) -> statistics.Moments | None:
    try:
        return statistics.read(file[f"{statistics.GROUP}/{field.name}"])
    except (KeyError, ValueError):
        return None
