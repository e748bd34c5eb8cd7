"""The frames that a run trains and validates on: chosen, checked, and prepared once."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from torch import Tensor

from sciten.datasets import AtomsBatch, AtomsDataset, Structure, batch_from_structures, collate
from sciten.errors import ConfigError, DataError
from sciten.training.config import TrainConfig
from sciten.training.losses import LABELS
from sciten.training.sections import nearest


class Frames:
    """Some frames of a dataset as batches with neighbour lists, which are kept in memory up to a limit.

    Args:
        dataset: where the frames stand.
        indices: which of them, by position in the file.
        cutoff: Å.
        cache_megabytes: prepared frames beyond this are prepared anew each time.
    """

    def __init__(
        self,
        dataset: AtomsDataset,
        indices: Sequence[int] | np.ndarray,
        cutoff: float,
        cache_megabytes: float,
    ) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.int64)
        self.cutoff = cutoff
        self._free_bytes = cache_megabytes * 2**20
        self._cache: dict[int, AtomsBatch] = {}

    def __len__(self) -> int:
        return len(self.indices)

    def structures(self) -> Iterator[Structure]:
        """The structures, one at a time, without their neighbour lists."""
        return (self.dataset[int(index)] for index in self.indices)

    def batch(self, positions: Sequence[int] | np.ndarray) -> AtomsBatch:
        """The frames at `positions` (0 to `len(self) - 1`) as one batch."""
        return collate([self._prepared(int(position)) for position in positions])

    def batches(self, order: Sequence[Sequence[int]]) -> Generator[AtomsBatch, None, None]:
        """`batch` for each entry of `order`."""
        for positions in order:
            yield self.batch(positions)

    def has_label(self, label: str) -> np.ndarray:
        """Which frames carry `label`, `[len(self)]`, bool."""
        return self.dataset.has_label(label)[self.indices]

    def config_types(self) -> list[str]:
        """The configuration type of each frame."""
        names = self.dataset.config_types
        return [names[index] for index in self.indices]

    def is_isolated(self) -> np.ndarray:
        """Which frames are isolated atoms, `[len(self)]`, bool."""
        return np.isin(self.indices, self.dataset.isolated_atoms)

    def _prepared(self, position: int) -> AtomsBatch:
        if (known := self._cache.get(position)) is not None:
            return known
        index = int(self.indices[position])
        try:
            batch = batch_from_structures([self.dataset[index]], self.cutoff)
        except DataError as error:
            raise DataError(f"{self.dataset.path}: frame {index}: {error}") from error
        self._free_bytes -= (size := _bytes(batch))
        if self._free_bytes >= 0:
            self._cache[position] = batch
        else:
            self._free_bytes += size
        return batch


@dataclass(frozen=True)
class TrainingData:
    """The frames of a run. `valid` is None where the run is not validated."""

    train: Frames
    valid: Frames | None

    def elements(self) -> tuple[int, ...]:
        """Atomic numbers in the training and validation frames, ascending."""
        sets = [self.train] if self.valid is None else [self.train, self.valid]
        found = {int(z) for frames in sets for frame in frames.structures() for z in np.unique(frame.numbers)}
        return tuple(sorted(found))

    def require_elements(self, known: Sequence[int]) -> None:
        """Raise `DataError` naming the first frame with an element that is not `known`."""
        require_elements(self.train, known)
        if self.valid is not None:
            require_elements(self.valid, known)


def open_data(config: TrainConfig, cutoff: float) -> TrainingData:
    """The frames that a configuration asks for, with the labels they must have.

    Raises:
        DataError: a file cannot be used, or a label that is trained on is missing.
    """
    dataset = AtomsDataset(config.train_file)
    if len(dataset.frames) == 0:
        raise DataError(
            f"{dataset.path}: expected frames to train on, found {len(dataset)} isolated atoms only"
        )
    valid: Frames | None
    if config.valid_file is not None:
        chosen = dataset.frames
        other = AtomsDataset(config.valid_file)
        if len(other.frames) == 0:
            raise DataError(f"{other.path}: expected frames to validate on, found isolated atoms only")
        valid = Frames(other, other.frames, cutoff, config.cache_megabytes / 2)
    else:
        chosen, aside = split(dataset.frames, config.valid_fraction or 0.0, config.valid_seed)
        valid = Frames(dataset, aside, cutoff, config.cache_megabytes / 2) if len(aside) else None
    if len(chosen) == 0:
        raise DataError(
            f"{dataset.path}: {len(dataset.frames)} frames leave none to train on; give a valid_file"
        )
    if config.train_isolated_atoms:
        chosen = np.sort(np.concatenate([chosen, dataset.isolated_atoms]))
    train = Frames(dataset, chosen, cutoff, config.cache_megabytes / 2)
    _check_type_weights(config, train)
    _require_labels(config, train)
    _require_a_loss(config, train)
    if valid is not None:
        if not config.allow_missing:
            _require_labels(config, valid)
        _require_a_loss(config, valid)
    return TrainingData(train, valid)


def split(frames: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and validation frames, each ascending; a random `fraction`, at least one, is set aside."""
    if fraction == 0:
        return frames, frames[:0]
    count = max(1, round(fraction * len(frames)))
    shuffled = np.random.default_rng(seed).permutation(frames)
    return np.sort(shuffled[count:]), np.sort(shuffled[:count])


def require_elements(frames: Frames, known: Sequence[int]) -> None:
    """Raise `DataError` naming the first frame with an element that is not `known`."""
    if set(frames.dataset.elements) <= set(known):
        return
    for index, frame in zip(frames.indices, frames.structures(), strict=True):
        if unknown := sorted({int(z) for z in frame.numbers} - set(known)):
            names = ", ".join(chemical_symbols[z] for z in unknown)
            have = ", ".join(chemical_symbols[z] for z in known)
            raise DataError(
                f"{frames.dataset.path}: frame {index} has {names}, but the model knows only {have}; "
                "use a model that knows it or leave the frame out"
            )


def _require_labels(config: TrainConfig, frames: Frames) -> None:
    stages = config.stages()
    types = frames.config_types()
    counted = (
        np.array([any(s.loss.config_type_weight(name) > 0 for s in stages) for name in types])
        & ~frames.is_isolated()
    )
    for label in LABELS:
        weight = max(stage.loss.weights()[label] for stage in stages)
        missing = counted & ~frames.has_label(label)
        if weight == 0 or not missing.any():
            continue
        where = f"{frames.dataset.path}: training with a loss weight of {weight:g} needs {label!r}, but"
        first = int(frames.indices[missing][0])
        if missing.sum() == counted.sum():
            raise DataError(
                f"{where} none of its {counted.sum()} frames has it (the first is frame {first}); import it "
                f"again naming the key of the label (sciten data import --{label}-key KEY), or set "
                f"loss.{label}=0"
            )
        if not config.allow_missing:
            raise DataError(
                f"{where} frame {first} and {missing.sum() - 1} more of {counted.sum()} frames lack it; set "
                f"allow_missing=true to leave them out of the {label} loss, or loss.{label}=0"
            )


def _require_a_loss(config: TrainConfig, frames: Frames) -> None:
    """Raise `DataError` where the loss of a stage would be zero whatever the model says."""
    for stage in config.stages():
        weights = np.array([stage.loss.config_type_weight(name) for name in frames.config_types()])
        wanted = [label for label, weight in stage.loss.weights().items() if weight > 0]
        if not any((frames.has_label(label) & (weights > 0)).any() for label in wanted):
            raise DataError(
                f"{frames.dataset.path}: none of the {len(frames)} chosen frames has {' or '.join(wanted)} and a "
                "configuration type of weight above 0, so there is nothing to compare with; choose other frames "
                "(valid_file, valid_fraction, valid_seed) or other weights"
            )


def _check_type_weights(config: TrainConfig, frames: Frames) -> None:
    known = sorted(set(frames.dataset.config_types))
    for name in config.loss.config_type_weights:
        if name not in known:
            raise ConfigError(
                f"loss.config_type_weights: no frame of {frames.dataset.path} has configuration type "
                f"{name!r}, {nearest(name, known)}"
            )


def _bytes(batch: AtomsBatch) -> int:
    return sum(
        value.numel() * value.element_size() for value in vars(batch).values() if isinstance(value, Tensor)
    )
