"""The samples of fields that a run trains and validates on: chosen, checked, and kept in memory where they fit."""

import os
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from math import ceil, isclose
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from sciten.datasets import FieldBatch, FieldDataset, collate_fields
from sciten.errors import ConfigError, DataError
from sciten.model_files import DTYPES
from sciten.neural_operators.files import Roles
from sciten.training.data import split
from sciten.training.operator_config import OperatorConfig

_AHEAD = 2  # batches that are read before they are asked for
_SAME_TIME = 1e-2  # relative; times may be stored in float32
_SAME_LENGTH = {
    True: 1e-2,
    False: 1e-1,
}  # relative; an axis that is not periodic ends a spacing earlier on some grids


class FieldSamples:
    """Some samples of a dataset as batches. All are kept as one tensor where they fit into memory.

    An operator takes a few milliseconds for a step, so that samples must not be gathered one by one. Those that are not
    kept are read while the operator works on the batch before.

    Args:
        dataset: where the samples stand.
        indices: which of them.
        cache_megabytes: samples that need more are read anew each time.
        device: where kept samples lie.
        progress: whether to show a bar on a terminal while they are read.
    """

    def __init__(
        self,
        dataset: FieldDataset,
        indices: Sequence[int] | np.ndarray,
        cache_megabytes: float,
        device: torch.device | str = "cpu",
        *,
        progress: bool = False,
    ) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.int64)
        self._kept: FieldBatch | None = None
        first = collate_fields([dataset[int(self.indices[0])]])
        #: all samples together
        self.megabytes = _bytes(first) * len(self) / 2**20
        if self.megabytes <= cache_megabytes:
            self._kept = _filled(dataset, self.indices, first, progress).to(device)

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, positions: Sequence[int] | np.ndarray) -> FieldBatch:
        """The samples at `positions` (0 to `len(self) - 1`) as one batch."""
        if self._kept is None:
            return collate_fields([self.dataset[int(self.indices[int(p)])] for p in positions])
        chosen = torch.as_tensor(positions, device=self._kept.inputs.device)
        return FieldBatch(*(tensor[chosen] for tensor in _tensors(self._kept)))

    def batches(self, order: Sequence[Sequence[int]]) -> Generator[FieldBatch, None, None]:
        """`batch` for each entry of `order`; a thread reads ahead those that are not kept."""
        if self.in_memory:
            yield from map(self.batch, order)
            return
        reader, read = ThreadPoolExecutor(1, "samples"), deque[Future[FieldBatch]]()
        try:
            for positions in order:
                read.append(reader.submit(self.batch, positions))
                if len(read) > _AHEAD:
                    yield read.popleft().result()
            while read:
                yield read.popleft().result()
        finally:
            reader.shutdown(cancel_futures=True)

    @property
    def in_memory(self) -> bool:
        """Whether all samples are kept."""
        return self._kept is not None


@dataclass(frozen=True)
class FieldData:
    """The samples of a run. `valid` is None where the run is not validated."""

    train: FieldSamples
    valid: FieldSamples | None


def open_dataset(config: OperatorConfig, path: Path) -> FieldDataset:
    """The samples that a configuration takes from a file."""
    return _even(
        FieldDataset(
            path,
            inputs=config.inputs,
            targets=config.targets,
            history=config.history,
            horizon=config.horizon,
            stride=config.stride,
            subsample=config.subsample,
            dtype=DTYPES[config.dtype],
        )
    )


def roles_in(config: OperatorConfig, dataset: FieldDataset) -> Roles:
    """What the channels of an operator are that learns from a dataset, for its file.

    Raises:
        DataError: samples have several frames, whose times are not equally spaced.
    """
    time_step, grid = dataset.time_step if dataset.frames > 1 else None, dataset.grid
    return Roles(
        config.inputs, config.targets, config.history, config.stride, time_step, grid.periodic, grid.lengths
    )


def open_for(
    roles: Roles,
    path: str | os.PathLike[str],
    *,
    subsample: int | Sequence[int] = 1,
    dtype: torch.dtype = torch.float32,
) -> FieldDataset:
    """A file of fields as an operator knows them: its channels, its domain, and its time from one frame to the next.

    Raises:
        DataError: the file cannot be used, is of another domain than the operator was trained on, or its times do not
            hold the operator's time step.
        ConfigError: it lacks a field.
    """

    def opened(stride: int) -> FieldDataset:
        dataset = _even(
            FieldDataset(
                path,
                inputs=roles.inputs,
                targets=roles.targets,
                history=roles.history,
                stride=stride,
                subsample=subsample,
                dtype=dtype,
            )
        )
        require_domain(dataset, roles, "that the operator was trained on", "evaluate on")
        return dataset

    if roles.time_step is None:
        return opened(roles.stride)
    stored = opened(1).time_step
    stride = round(roles.time_step / stored)
    if stride < 1 or abs(stride * stored - roles.time_step) > _SAME_TIME * roles.time_step:
        raise DataError(
            f"{path}: expected times that the operator's time step of {roles.time_step:g} is a multiple of, got steps "
            f"of {stored:g}; use data with such times, or train on these"
        )
    return opened(stride)


def open_fields(
    config: OperatorConfig,
    dataset: FieldDataset | None = None,
    *,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> FieldData:
    """The samples that a configuration asks for; `dataset` is its training file where that is open already.

    Raises:
        DataError: a file cannot be used, or no trajectory is left to train on.
        ConfigError: a field is unknown, or the window does not fit.
    """
    dataset = open_dataset(config, config.train_file) if dataset is None else dataset
    owners = trajectories(dataset)
    if config.valid_file is not None:
        chosen, other = np.arange(len(dataset)), open_dataset(config, config.valid_file)
        aside = np.arange(len(other))
        require_domain(other, roles_in(config, dataset), f"of {config.train_file}", "validate on")
        _require_same_step(dataset, other)
    else:
        # Windows of one trajectory resemble each other: a trajectory is trained on, or validated on, as a whole.
        ours, theirs = split(np.unique(owners), config.valid_fraction or 0.0, config.valid_seed)
        chosen, other = np.flatnonzero(np.isin(owners, ours)), dataset
        aside = np.flatnonzero(np.isin(owners, theirs))
    if len(chosen) == 0:
        raise DataError(
            f"{config.train_file}: its {len(np.unique(owners))} trajectories leave none to train on; give a "
            "valid_file, or set valid_fraction=0"
        )
    train = FieldSamples(dataset, chosen, config.cache_megabytes, device, progress=progress)
    room = config.cache_megabytes - (train.megabytes if train.in_memory else 0)
    valid = FieldSamples(other, aside, room, device, progress=progress) if len(aside) else None
    _say_what_is_read_anew(config, [train] if valid is None else [train, valid])
    return FieldData(train, valid)


def _say_what_is_read_anew(config: OperatorConfig, parts: Sequence[FieldSamples]) -> None:
    """Warn where samples do not fit into memory."""
    large = [part for part in parts if not part.in_memory]
    if large:
        names = ", ".join(f"{len(part)} samples of {part.dataset.paths[0]}" for part in large)
        needed = ceil(sum(part.megabytes for part in parts))
        warnings.warn(
            f"{names} do not fit into cache_megabytes={config.cache_megabytes:g} and are read again in every epoch; "
            f"with cache_megabytes={needed} all samples stay in memory",
            stacklevel=2,
        )


def _even(dataset: FieldDataset) -> FieldDataset:
    """The dataset; raises `ConfigError` naming the axis whose points are not equally spaced."""
    try:
        _ = dataset.grid.spacing
    except ConfigError as error:
        raise ConfigError(f"{dataset.paths[0]}: {error}") from None
    return dataset


def require_domain(dataset: FieldDataset, roles: Roles, whose: str, what: str) -> None:
    """Raise `DataError` where the axes of a file are not those of `roles`; the numbers of points may differ.

    Args:
        dataset: of the file.
        roles: where they do not say the axes, any will do.
        whose: axes they are, for the message.
        what: to do on fields of the same domain, for the message.
    """
    if roles.periodic is None or roles.lengths is None:
        return
    grid = dataset.grid
    if grid.periodic == roles.periodic and all(
        isclose(ours, theirs, rel_tol=_SAME_LENGTH[periodic])
        for ours, theirs, periodic in zip(grid.lengths, roles.lengths, grid.periodic, strict=True)
    ):
        return
    names = grid.names if len(grid.axes) == len(roles.periodic) else [f"axis {k + 1}" for k in range(3)]
    raise DataError(
        f"{dataset.paths[0]}: expected the axes {whose}, {_axes(names, roles.lengths, roles.periodic)}, got "
        f"{_axes(grid.names, grid.lengths, grid.periodic)}; {what} fields of the same domain"
    )


def _require_same_step(dataset: FieldDataset, other: FieldDataset) -> None:
    """Raise `DataError` where the samples of two files have their frames at other times."""
    if dataset.frames > 1 and abs(other.time_step - dataset.time_step) > _SAME_TIME * dataset.time_step:
        raise DataError(
            f"{other.paths[0]}: expected frames {dataset.time_step:g} of time apart, as in {dataset.paths[0]}, got "
            f"{other.time_step:g}; validate on fields at the same times"
        )


def _axes(names: Sequence[str], lengths: Sequence[float], periodic: Sequence[bool]) -> str:
    kinds = {True: "periodic", False: "bounded"}
    axes = zip(names, lengths, periodic, strict=False)
    return ", ".join(f"{name} of length {length:g} ({kinds[around]})" for name, length, around in axes)


def trajectories(dataset: FieldDataset) -> np.ndarray:
    """The number of the trajectory that each sample of a file comes from, `[len(dataset)]`."""
    return np.array([dataset.place(index).trajectory for index in range(len(dataset))])


def _filled(dataset: FieldDataset, indices: np.ndarray, first: FieldBatch, progress: bool) -> FieldBatch:
    parts = [tensor.new_empty(len(indices), *tensor.shape[1:]) for tensor in _tensors(first)]
    bar = tqdm(indices, desc="samples", leave=False, disable=None if progress else True)
    for row, index in enumerate(bar):
        for part, value in zip(parts, _tensors(dataset[int(index)]), strict=True):
            part[row] = value
    dataset.close()
    return FieldBatch(*parts)


def _tensors(batch: object) -> list[Tensor]:
    return [getattr(batch, field.name) for field in fields(FieldBatch)]


def _bytes(batch: FieldBatch) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(batch))
