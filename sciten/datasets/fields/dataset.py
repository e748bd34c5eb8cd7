"""Files of fields as samples for training: inputs, targets and parameters, read lazily."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sciten.datasets.fields.agreement import check_agreement
from sciten.datasets.fields.grid import FieldGrid
from sciten.datasets.fields.layout import Layout, read_layout
from sciten.datasets.fields.names import duplicates, nearest
from sciten.datasets.fields.normalisation import ChannelStatistics, FieldStatistics, stored_moments
from sciten.datasets.fields.reading import FieldReader
from sciten.datasets.fields.samples import FieldSample
from sciten.datasets.fields.schema import Field
from sciten.datasets.fields.statistics import Moments
from sciten.errors import ConfigError, DataError

_LEFT_OFF = 0.02  # of an axis; points at the centres of cells leave off as much by themselves
_KEPT_VALUES = 1 << 24  # a small dataset stays in memory whole: 64 MiB in float32


@dataclass(frozen=True)
class Channels:
    """Names of the channels of inputs and targets, and of the parameters.

    `inputs` begins with `history` times the `state` channels, which vary in time: `w@-1`, `w` for a history of two.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    parameters: tuple[str, ...]
    state: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a sample comes from: file, trajectory in it, and its first frame."""

    path: Path
    trajectory: int
    frame: int


class FieldDataset(Dataset[FieldSample]):
    """The samples of one file of fields or of several, read from disk when they are asked for.

    A sample is a window in time: `history` frames of inputs, then `horizon` frames of targets, each `stride` stored
    times after the other, at every start that fits. Where no input varies in time, the window holds targets alone;
    where no target does, it holds inputs alone; where nothing does, a trajectory is one sample (Darcy's flow).
    Static fields and scalars may stand among the inputs beside those that vary; scalars are spread over the grid.
    A small dataset stays in memory once it was read; of a large one each sample is read anew. The dataset can be sent
    to worker processes: each opens the files for itself.

    Args:
        paths: a file, or several of the same fields and grid: made by `FieldWriter`, `sciten data import`, or The Well.
        inputs: names of fields and scalars.
        targets: names of fields: all static, or all varying in time.
        history: number of input frames.
        horizon: number of target frames.
        stride: stored times from one frame to the next.
        subsample: every n-th point of the grid is taken, from the first on; one number, or one for each axis. It must
            divide the number of points of a periodic axis; on others the last point stays where it divides `n - 1`,
            and a warning says where more than a fiftieth of the axis is left off.
        dtype: of the samples.

    Raises:
        DataError: a file is missing, damaged or foreign, or files disagree.
        ConfigError: a field is unknown, or the window or the subsampling does not fit.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        inputs: Sequence[str],
        targets: Sequence[str],
        history: int = 1,
        horizon: int = 1,
        stride: int = 1,
        subsample: int | Sequence[int] = 1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.paths = tuple(
            Path(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)
        )
        if not self.paths:
            raise ConfigError("FieldDataset: expected at least one file, got none")
        self.inputs, self.targets = _names("inputs", inputs), _names("targets", targets)
        if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise ConfigError(
                f"FieldDataset: expected a dtype of real numbers, as torch.float32, got {dtype}"
            )
        self.history, self.horizon, self.stride, self.dtype = history, horizon, stride, dtype
        layouts = [read_layout(path) for path in self.paths]
        self._layout = layouts[0]
        self._check_fields(layouts)
        steps = _steps(subsample, self._layout.grid)
        #: axes, coordinates, lengths, spacing and boundaries, after subsampling
        self.grid: FieldGrid = self._layout.grid.subsample(steps)
        _say_what_is_left_off(self.paths[0], self._layout.grid, steps)
        self._readers = [FieldReader(layout, steps) for layout in layouts]
        self._windows = [self._windows_of(layout) for layout in layouts]
        self._ends = np.cumsum(
            [layout.n_trajectories * n for layout, n in zip(layouts, self._windows, strict=True)]
        )
        self._parameter_names = _parameter_names(self._layout)
        self._parameters = [_parameters(reader, self._parameter_names) for reader in self._readers]
        used = tuple(dict.fromkeys((*self.inputs, *self.targets)))
        self._keep = sum(reader.n_values(used) for reader in self._readers) <= _KEPT_VALUES

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> FieldSample:
        number, trajectory, frame = self._locate(index)
        past = self._frames(frame, self.history)
        future = self._frames(frame + (self.history * self.stride if self._state else 0), self.horizon)
        state = [self._read(number, name, trajectory, past) for name in self._state]
        static = [self._read(number, name, trajectory, past)[0] for name in self._static]
        targets = [self._read(number, name, trajectory, future) for name in self.targets]
        frames = np.concatenate(state, axis=1) if state else np.empty((0, 0, *self.grid.shape))
        return FieldSample(
            inputs=self._tensor(np.concatenate([*frames, *static])),
            targets=self._tensor(np.concatenate(targets, axis=1)),
            parameters=torch.as_tensor(self._parameters[number][trajectory].copy()).to(self.dtype),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"FieldDataset({', '.join(map(str, self.paths))}): {len(self)} samples, "
            f"{' x '.join(map(str, self.grid.shape))} points, {', '.join(self.inputs)} -> {', '.join(self.targets)}"
        )

    def close(self) -> None:
        """Close the files; they are opened again when something is read."""
        for reader in self._readers:
            reader.close()

    def place(self, index: int) -> Place:
        """Where a sample comes from."""
        number, trajectory, frame = self._locate(index)
        return Place(self.paths[number], trajectory, frame)

    @property
    def name(self) -> str:
        """Name of the dataset, as its first file says."""
        return self._layout.name

    @property
    def fields(self) -> dict[str, Field]:
        """All fields and scalars in the files, by name."""
        return dict(self._layout.fields)

    @cached_property
    def channels(self) -> Channels:
        """Names of the channels."""
        state = self._channel_names(self._state)
        ages = [f"@-{age}" if (age := self.history - 1 - frame) else "" for frame in range(self.history)]
        return Channels(
            inputs=tuple(n + age for age in ages for n in state) + self._channel_names(self._static),
            targets=self._channel_names(self.targets),
            parameters=self._parameter_names,
            state=state,
        )

    @property
    def frames(self) -> int:
        """Frames that a sample has: those of its history, then those to predict; 0 where nothing varies in time."""
        return self.history * bool(self._state) + self.horizon * self._varies(self.targets[0])

    @property
    def autoregressive(self) -> bool:
        """Whether predictions can be fed back: the targets are what varies in time among the inputs.

        Raises:
            ConfigError: they are, but not in the same order.
        """
        state, targets = self.channels.state, self.channels.targets
        if state != targets and sorted(state) == sorted(targets):
            raise ConfigError(
                "FieldDataset: expected targets in the order of the inputs that vary in time "
                f"({', '.join(state)}), for predictions to be fed back, got {', '.join(targets)}; name them in the "
                "same order"
            )
        return state == targets

    @property
    def time_step(self) -> float:
        """Time from one frame of a sample to the next.

        Raises:
            DataError: there is only one time, or times are not equally spaced.
        """
        steps = np.concatenate([np.diff(reader.layout.times, axis=-1).ravel() for reader in self._readers])
        if not steps.size or np.ptp(steps) > 1e-2 * abs(steps.mean()):
            found = f"steps from {steps.min():g} to {steps.max():g}" if steps.size else "one time"
            raise DataError(
                f"{self.paths[0]}: expected equally spaced times, got {found}; there is no time step"
            )
        return float(steps.mean()) * self.stride

    @cached_property
    def statistics(self) -> FieldStatistics:
        """Mean and standard deviation of each channel over all files and times, as the files say.

        Raises:
            DataError: a file has no statistics.
        """
        values = {name: stored_moments(self.paths, name) for name in (*self.inputs, *self.targets)}
        changes = None
        several = all(reader.layout.n_times > 1 for reader in self._readers)
        if self.stride == 1 and self._varies(self.targets[0]) and several:
            changes = [stored_moments(self.paths, name, differences=True) for name in self.targets]
        return FieldStatistics(
            inputs=ChannelStatistics.of([values[n] for n in (*self._state * self.history, *self._static)]),
            targets=ChannelStatistics.of([values[n] for n in self.targets]),
            parameters=ChannelStatistics.of([Moments.of(np.concatenate(self._parameters))]),
            differences=None if changes is None else ChannelStatistics.of(changes),
        )

    def advance(self, inputs: Tensor, prediction: Tensor) -> Tensor:
        """The inputs of the next step of a rollout: the oldest frame leaves, the prediction enters.

        Args:
            inputs: `[B, C_in, *grid]`.
            prediction: `[B, C_out, *grid]`, one frame.

        Raises:
            ConfigError: the targets are not what varies in time among the inputs, in the same order.
        """
        n = len(self.channels.state)
        if not self.autoregressive:
            raise ConfigError(
                f"FieldDataset: a rollout needs targets that are the inputs varying in time "
                f"({', '.join(self.channels.state) or 'none'}), got {', '.join(self.channels.targets)}"
            )
        return torch.cat([inputs[:, n : n * self.history], prediction, inputs[:, n * self.history :]], dim=1)

    @cached_property
    def _state(self) -> tuple[str, ...]:
        return tuple(name for name in self.inputs if self._varies(name))

    @cached_property
    def _static(self) -> tuple[str, ...]:
        return tuple(name for name in self.inputs if not self._varies(name))

    def _varies(self, name: str) -> bool:
        return self._layout.fields[name].time_varying

    def _channel_names(self, names: Sequence[str]) -> tuple[str, ...]:
        grid = self._layout.grid
        return tuple(part for name in names for part in self._layout.fields[name].component_names(grid))

    def _check_fields(self, layouts: Sequence[Layout]) -> None:
        for name in (*self.inputs, *self.targets):
            if name not in self._layout.fields:
                known = nearest(name, self._layout.fields)
                raise ConfigError(f"FieldDataset: {self.paths[0]} has no field {name!r}, {known}")
        for other in layouts[1:]:
            check_agreement(self._layout, other, (*self.inputs, *self.targets))
        if len({self._varies(name) for name in self.targets}) > 1:
            raise ConfigError(
                "FieldDataset: expected targets that are all static or all vary in time, got "
                + ", ".join(
                    f"{name} ({'varies' if self._varies(name) else 'static'})" for name in self.targets
                )
            )
        static = [name for name in self.targets if not self._layout.fields[name].in_space]
        if static:
            raise ConfigError(
                f"FieldDataset: expected fields on the grid as targets, got the scalar {static[0]!r}"
            )
        for option, value, needed in (
            ("history", self.history, bool(self._state)),
            ("horizon", self.horizon, self._varies(self.targets[0])),
            ("stride", self.stride, bool(self._state) or self._varies(self.targets[0])),
        ):
            if not isinstance(value, Integral) or value < 1 or (value > 1 and not needed):
                why = "a whole number from 1 on" if needed else "1, as nothing concerned varies in time"
                raise ConfigError(f"FieldDataset: expected {option} to be {why}, got {value}")

    def _windows_of(self, layout: Layout) -> int:
        """Number of starts at which a window fits."""
        if self.frames == 0:
            return 1
        windows = layout.n_times - (self.frames - 1) * self.stride
        if windows < 1:
            raise ConfigError(
                f"FieldDataset: expected history, horizon and stride that fit into the {layout.n_times} times of "
                f"{layout.path}, got {self.frames} frames {self.stride} apart; take fewer"
            )
        return windows

    def _frames(self, start: int, count: int) -> slice:
        return slice(start, start + (count - 1) * self.stride + 1, self.stride)

    def _locate(self, index: int) -> tuple[int, int, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"FieldDataset: no sample {index}, it has {len(self)}")
        index = int(index) % len(self)
        number = int(np.searchsorted(self._ends, index, side="right"))
        local = index - (int(self._ends[number - 1]) if number else 0)
        trajectory, frame = divmod(local, self._windows[number])
        return number, trajectory, frame

    def _read(self, number: int, name: str, trajectory: int, frames: slice) -> np.ndarray:
        return self._readers[number].channels(name, trajectory, frames, keep=self._keep)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.dtype)


def _names(what: str, names: Sequence[str]) -> tuple[str, ...]:
    found = (names,) if isinstance(names, str) else tuple(names)
    if not found:
        raise ConfigError(f"FieldDataset: expected names of {what}, got none")
    for name in duplicates(found):
        raise ConfigError(f"FieldDataset: expected different {what}, got {name!r} twice")
    return found


def _steps(subsample: int | Sequence[int], grid: FieldGrid) -> tuple[int, ...]:
    steps = (subsample,) * len(grid.axes) if isinstance(subsample, int | np.integer) else tuple(subsample)
    if len(steps) != len(grid.axes):
        raise ConfigError(
            f"subsample: expected a number for each of {len(grid.axes)} axes, got {list(steps)}"
        )
    return steps


def _say_what_is_left_off(path: Path, grid: FieldGrid, steps: Sequence[int]) -> None:
    """Warn where an axis that is not periodic becomes noticeably shorter."""
    for axis, step in zip(grid.axes, steps, strict=True):
        rest = (len(axis) - 1) % step
        if rest > _LEFT_OFF * (len(axis) - 1) and not axis.is_periodic:
            warnings.warn(
                f"{path}: subsample={step} leaves off the last {rest} of {len(axis)} points of {axis.name!r}, so that "
                f"it ends at {axis.coordinates[-1 - rest]:g} in place of {axis.coordinates[-1]:g}; a step that divides "
                f"{len(axis) - 1} keeps the end",
                stacklevel=3,
            )


def _parameter_names(layout: Layout) -> tuple[str, ...]:
    scalars = [n for n, field in layout.fields.items() if not field.in_space and not field.time_varying]
    return tuple(
        dict.fromkeys((*scalars, *(name for name in layout.parameters if name not in layout.fields)))
    )


def _parameters(reader: FieldReader, names: Sequence[str]) -> np.ndarray:
    """Of each trajectory, `[n_trajectories, p]`."""
    layout = reader.layout
    columns = [
        reader.scalars(name)
        if name in layout.fields
        else np.full(layout.n_trajectories, layout.parameters[name])
        for name in names
    ]
    reader.close()
    return np.stack(columns, axis=1) if columns else np.zeros((layout.n_trajectories, 0))
