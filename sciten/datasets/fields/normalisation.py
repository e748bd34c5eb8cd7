"""Statistics of the channels that models take and give."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sciten.datasets.fields.layout import open_fields
from sciten.datasets.fields.statistics import GROUP, Moments, pool, read
from sciten.errors import DataError

_ROUNDING = 1e-12  # of the mean: the deviation that rounding gives to values that are all the same


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and standard deviation of each channel, `[C]`, in float64; 1 stands in for a deviation of zero."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, moments: Sequence[Moments]) -> "ChannelStatistics":
        """Of channels one after another, each entry having some of them."""
        mean = np.concatenate([np.zeros(0), *(one.mean.reshape(-1) for one in moments)])
        std = np.concatenate([np.zeros(0), *(one.std.reshape(-1) for one in moments)])
        varies = std > _ROUNDING * np.abs(mean)
        return cls(torch.from_numpy(mean), torch.from_numpy(np.where(varies, std, 1.0)))


@dataclass(frozen=True)
class FieldStatistics:
    """Of inputs, targets and parameters, and of the change of the targets from one time to the next.

    `differences` is None where the targets are static, or where the dataset has a stride.
    """

    inputs: ChannelStatistics
    targets: ChannelStatistics
    parameters: ChannelStatistics
    differences: ChannelStatistics | None


def stored_moments(paths: Sequence[Path], name: str, *, differences: bool = False) -> Moments:
    """Moments of a field (or of its changes) over several files; raises `DataError` where a file has none of use."""
    found = []
    for path in paths:
        with open_fields(path) as file:
            try:
                found.append(read(file[f"{GROUP}/{name}"], differences=differences))
            except (KeyError, AttributeError, ValueError) as error:
                what = f" of use ({error})" if isinstance(error, ValueError) else ""
                raise DataError(
                    f"{path}: has no normalisation statistics of {name!r}{what}; `sciten data import {path.name} "
                    "OUT.h5` writes the file anew with statistics"
                ) from error
    return pool(found)
