"""What is learned: everything that the loop must know of a family of models and of its data.

The loop, its checkpoints and its reports know steps, weights and losses; a task knows batches and predictions.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn


class WeightedLoss(Protocol):
    """A loss that is a weighted sum of means."""

    def weights(self) -> Mapping[str, float]:
        """The weight of each mean, by name."""
        ...


class OnDevice(Protocol):
    """A batch."""

    def to(self, device: torch.device | str, /) -> Self:
        """The same on `device`."""
        ...


Model = TypeVar("Model", bound=nn.Module)
Batch = TypeVar("Batch", bound=OnDevice)
AnyBatch = TypeVar("AnyBatch", bound=OnDevice, covariant=True)
Loss = TypeVar("Loss", bound=WeightedLoss)


class Samples(Protocol[AnyBatch]):
    """Samples to train or to validate on."""

    def __len__(self) -> int:
        """How many."""
        ...

    def batch(self, positions: Sequence[int]) -> AnyBatch:
        """Those at `positions` (0 to `len(self) - 1`)."""
        ...

    def batches(self, order: Sequence[Sequence[int]]) -> Generator[AnyBatch, None, None]:
        """`batch` for each entry of `order`, which may be read before it is asked for; closing ends the reading."""
        ...


class Data(Protocol[AnyBatch]):
    """The data of a run."""

    @property
    def train(self) -> Samples[AnyBatch]:
        """What is trained on."""
        ...

    @property
    def valid(self) -> Samples[AnyBatch] | None:
        """What is validated on; None where the run is not validated."""
        ...


class Errors(Protocol):
    """Running sums over many batches, and the errors that follow from them.

    Attributes:
        sums: float64, of any shape; sums over processes add up.
    """

    sums: Tensor

    def metrics(self, prefix: str) -> dict[str, float]:
        """What `metrics.jsonl` says of them, by name."""
        ...


class Findings(Protocol):
    """An evaluation, ready to be shown."""

    @property
    def remark(self) -> str:
        """What the headings of the table mean."""
        ...

    def rows(self) -> list[list[str]]:
        """The table as cells, headings first."""
        ...

    def table(self) -> str:
        """The table as text."""
        ...

    def write(self, folder: str | os.PathLike[str], prefix: str = "") -> list[Path]:
        """Write JSON, the table and plots to `folder`; returns the PNG files."""
        ...


@dataclass(frozen=True)
class Panel:
    """One panel of the learning curves.

    Attributes:
        title: of its vertical axis, with the unit.
        keys: of metrics.jsonl, each a line.
        names: of the lines.
    """

    title: str
    keys: tuple[str, ...]
    names: tuple[str, ...] = ("validation",)


@dataclass(frozen=True)
class LossSums:
    """Sums over the labelled entries of a batch, before weights and normalisation.

    Attributes:
        sums: `[n]`, one for each weight of the loss; differentiable.
        counts: `[n]`, how many entries each sum has.
    """

    sums: Tensor
    counts: Tensor

    def total(self, loss: WeightedLoss, counts: Tensor) -> Tensor:
        """The weighted loss, normalised by the `counts` of the whole global batch."""
        weights = torch.tensor(list(loss.weights().values()), dtype=torch.float64, device=self.sums.device)
        return (weights * self.sums / counts.clamp(min=1)).sum()


class Task(ABC, Generic[Model, Batch, Loss]):
    """A family of models, its data and its losses, as a run needs them.

    Attributes:
        model_noun, sample_noun: what a model and the samples are called in reports.
        panels: of the learning curves, beside the loss and the learning rate.
    """

    model_noun: str
    sample_noun: str
    panels: tuple[Panel, ...]

    @abstractmethod
    def check_file(self, path: Path) -> None:
        """Raise `DataError` where a data file is missing or foreign, before anything is written."""

    @abstractmethod
    def prepare(
        self, model: Model | None, *, device: str | None = None, progress: bool = False
    ) -> tuple[Model, Data[Batch]]:
        """The model to train, in training mode with its frozen blocks, and the data to train it on.

        Args:
            model: trained as it is, in place of what the configuration describes.
            device: where the model goes, in place of the configuration's.
            progress: whether to show bars on a terminal.
        """

    def begin_epoch(self, model: Model, epoch: int) -> None:
        """Prepare `model`, or the average that follows it, for an epoch; a function of `epoch` alone."""

    def counts_for_best(self, epoch: int) -> bool:
        """Whether the validation of an epoch may choose the best model: not while the model still grows."""
        return True

    @abstractmethod
    def label_counts(self, batch: Batch) -> Tensor:
        """How many entries each sum of the loss has in `batch`, float64, one for each weight."""

    @abstractmethod
    def loss_sums(self, model: Model, batch: Batch, loss: Loss) -> LossSums:
        """The sums of `loss` over a batch, differentiable in the weights of `model`."""

    @abstractmethod
    def errors(self, device: torch.device) -> Errors:
        """Errors of no batch yet."""

    @abstractmethod
    def validate(self, model: Model, batch: Batch, loss: Loss, errors: Any) -> LossSums:
        """The sums of `loss` over a batch, detached; what `errors` came from `errors()` learns of it as well."""

    @abstractmethod
    def summary(self, metrics: Mapping[str, Any]) -> list[str]:
        """The errors of an epoch for the progress bar."""

    @abstractmethod
    def save(self, model: Model, folder: Path, provenance: Mapping[str, str]) -> None:
        """Write the trained model."""

    @abstractmethod
    def load(self, folder: Path) -> Model:
        """The model that `save` wrote."""

    @abstractmethod
    def evaluate(self, model: Model, samples: Any, name: str) -> Findings:
        """The errors of a trained model on the samples it was validated on; `name` is for the record."""

    def overview(self, model: Model, data: Any) -> list[list[str]]:
        """Further rows, name and value, for the report's table of what was trained."""
        return []
