"""Means and standard deviations in one pass, as they stand in the group `normalisation` of a file."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import h5py
import numpy as np

_BLOCK_VALUES = 1 << 20  # turned into float64 at once

GROUP = "normalisation"


@dataclass(frozen=True)
class Moments:
    """Of `count` values the mean and the sum of squares around it, each `[*components]`, in float64.

    Two of them add up by the update of Chan, Golub and LeVeque (Am. Stat. 37, 242 (1983)), which does not cancel where
    the mean is large.
    """

    count: int
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> "Moments":
        """Of values `[n, *components]`; there may be none."""
        found = cls(0, np.zeros(rows.shape[1:]), np.zeros(rows.shape[1:]))
        step = max(1, _BLOCK_VALUES // max(1, int(np.prod(rows.shape[1:]))))
        for start in range(0, len(rows), step):
            block = rows[start : start + step].astype(np.float64)
            mean = block.mean(axis=0)
            found += cls(len(block), mean, np.square(block - mean).sum(axis=0))
        return found

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        if other.count == 0 or self.count == 0:
            return other if self.count == 0 else self
        shift = other.mean - self.mean
        return Moments(
            count,
            self.mean + shift * (other.count / count),
            self.squares + other.squares + np.square(shift) * (self.count * other.count / count),
        )

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of the values (not of a population that they sample), `[*components]`."""
        return np.sqrt(self.squares / max(1, self.count))


class FieldMoments:
    """Gathers the moments of a field, and of its changes in time, from one sample after another.

    Args:
        components: shape of one value.
        time_varying: whether the first axis of a sample is time.
    """

    def __init__(self, components: tuple[int, ...], *, time_varying: bool) -> None:
        self._components = components
        self._time_varying = time_varying
        self._values = Moments.of(np.zeros((0, *components)))
        self._differences = self._values

    def add(self, sample: np.ndarray) -> None:
        """Add the values of one sample."""
        self._values += Moments.of(self._rows(sample))
        if self._time_varying:
            # Frame by frame, so that a long sample is not held twice.
            for before, after in pairwise(sample):
                self._differences += Moments.of(self._rows(np.subtract(after, before, dtype=np.float64)))

    def write(self, group: h5py.Group) -> None:
        """Write what was gathered."""
        _write(group, "", self._values)
        if self._differences.count:
            _write(group, "difference_", self._differences)

    def _rows(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values).reshape(-1, *self._components)


def read(group: h5py.Group, *, differences: bool = False) -> Moments:
    """The moments of a field (or of its changes) that `FieldMoments.write` wrote.

    Raises:
        KeyError: there are none.
        ValueError: they are no moments of any values.
    """
    prefix = "difference_" if differences else ""
    mean, std = (np.asarray(group[prefix + name][()], dtype=np.float64) for name in ("mean", "std"))
    count = int(group.attrs[prefix + "count"])
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std >= 0).all()):
        raise ValueError(f"{prefix}mean and {prefix}std are not all finite, or a deviation is negative")
    return Moments(count, mean, np.square(std) * count)


def pool(moments: Iterable[Moments]) -> Moments:
    """The moments of all values together."""
    first, *others = moments
    for other in others:
        first += other
    return first


def _write(group: h5py.Group, prefix: str, moments: Moments) -> None:
    group.create_dataset(prefix + "mean", data=moments.mean)
    group.create_dataset(prefix + "std", data=moments.std)
    group.attrs[prefix + "count"] = moments.count
