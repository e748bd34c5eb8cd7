"""Whether several files of fields can stand for one dataset."""

from collections.abc import Sequence

import numpy as np

from sciten.datasets.fields.layout import Layout
from sciten.datasets.fields.schema import Field
from sciten.errors import DataError


def check_agreement(first: Layout, other: Layout, names: Sequence[str]) -> None:
    """Raise `DataError` where two files differ in their grids, time steps, parameters or some of their fields."""
    for found in (
        first.grid.difference(other.grid),
        _time_steps(first, other),
        _scalars(first, other),
        *(_field(first, other, name) for name in names),
    ):
        if found:
            raise DataError(
                f"{first.path} and {other.path} do not go together: {found}; read them as two datasets"
            )


def _time_steps(first: Layout, other: Layout) -> str:
    if first.n_times < 2 or other.n_times < 2:
        return ""
    a, b = (float(np.diff(layout.times, axis=-1).mean()) for layout in (first, other))
    return f"time steps of {a:g} against {b:g}" if abs(a - b) > 1e-2 * abs(a) else ""


def _scalars(first: Layout, other: Layout) -> str:
    a, b = (
        sorted({*layout.parameters, *(n for n, field in layout.fields.items() if not field.in_space)})
        for layout in (first, other)
    )
    return f"parameters {', '.join(a) or 'none'} against {', '.join(b) or 'none'}" if a != b else ""


def _field(first: Layout, other: Layout, name: str) -> str:
    if name not in other.fields:
        return f"the second has no field {name!r}"
    a, b = first.fields[name], other.fields[name]
    if _channels(a) != _channels(b):
        return f"{_channels(a)} channels of {name!r} against {_channels(b)}"
    if (a.time_varying, a.order, a.in_space) != (b.time_varying, b.order, b.in_space):
        return f"{name!r} is of order {a.order}, {_kind(a)}, against order {b.order}, {_kind(b)}"
    return ""


def _channels(field: Field) -> int:
    return int(np.prod(field.components or ()))


def _kind(field: Field) -> str:
    return ("varying in time" if field.time_varying else "static") + ("" if field.in_space else " scalar")
