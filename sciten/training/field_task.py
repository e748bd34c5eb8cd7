"""Learning an operator from fields to fields, one step of it or several on its own predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sciten.datasets import FieldBatch, FieldDataset
from sciten.errors import ConfigError
from sciten.neural_operators import NeuralOperator
from sciten.neural_operators.files import load_operator, save_operator
from sciten.training.field_data import FieldData, FieldSamples, open_dataset, open_fields, roles_in
from sciten.training.field_errors import FieldErrors
from sciten.training.field_evaluation import FieldEvaluation, evaluate_operator
from sciten.training.field_models import build
from sciten.training.freezing import freeze
from sciten.training.operator_config import OperatorConfig
from sciten.training.rollout import require_channels, rollout, scaled
from sciten.training.task import LossSums, Panel, Task


@dataclass(frozen=True)
class FieldTask(Task[NeuralOperator, FieldBatch, Any]):
    """The run of a neural operator.

    Attributes:
        config: its settings.
    """

    config: OperatorConfig

    model_noun = "neural operator"
    sample_noun = "samples"
    panels = (
        Panel("relative L2 error", ("valid_relative_l2", "valid_relative_l2_last"), ("mean", "last step")),
        Panel("relative H1 error", ("valid_relative_h1", "valid_relative_h1_last"), ("mean", "last step")),
    )

    def check_file(self, path: Path) -> None:
        """Raise `DataError` where a file is none of fields, and `ConfigError` where it has not those asked for."""
        roles_in(self.config, open_dataset(self.config, path))

    def prepare(
        self, model: NeuralOperator | None, *, device: str | None = None, progress: bool = False
    ) -> tuple[NeuralOperator, FieldData]:
        """The operator to train, with the scales of its data, and its samples."""
        place = device or self.config.device
        model = build(self.config, self.dataset) if model is None else model
        plan, modes = self.config.incremental_modes, getattr(model, "modes", None)
        if plan is not None and modes is not None and plan.start >= max(modes):
            raise ConfigError(
                f"incremental_modes.start: expected fewer than the model's modes {list(modes)}, got {plan.start}; make "
                "it smaller, or leave incremental_modes out"
            )
        data = open_fields(self.config, self.dataset, device=place, progress=progress)
        for samples in (data.train, data.valid):
            if samples is not None:
                self._require_fit(model, samples)
        model = model.to(place).train().requires_grad_(True)
        freeze(model, self.config.freeze)
        return model, data

    def begin_epoch(self, model: NeuralOperator, epoch: int) -> None:
        """Let the modes of this epoch take part."""
        plan, growing = self.config.incremental_modes, getattr(model, "set_modes", None)
        if plan is not None and growing is not None:
            growing(plan.modes(tuple(model.modes), epoch, self.config.epochs))  # type: ignore[arg-type]

    def counts_for_best(self, epoch: int) -> bool:
        """Only when all modes take part: those that come later would spoil a model without them."""
        plan = self.config.incremental_modes
        return plan is None or epoch >= plan.last(self.config.epochs)

    def label_counts(self, batch: FieldBatch) -> Tensor:
        """Frames to predict, `[1]`."""
        return torch.tensor([len(batch) * batch.targets.shape[1]], dtype=torch.float64)

    def loss_sums(self, model: NeuralOperator, batch: FieldBatch, loss: Any) -> LossSums:
        """The loss of every frame of a rollout, added up."""
        return self._loss_sums(model, batch, loss, None)

    def errors(self, device: torch.device) -> FieldErrors:
        """Relative errors by step."""
        return FieldErrors(self.dataset.grid, self.config.horizon, device)

    @torch.no_grad()
    def validate(self, model: NeuralOperator, batch: FieldBatch, loss: Any, errors: FieldErrors) -> LossSums:
        """The loss and the errors of a batch."""
        return self._loss_sums(model, batch, loss, errors)

    def _loss_sums(
        self, model: NeuralOperator, batch: FieldBatch, loss: Any, errors: FieldErrors | None
    ) -> LossSums:
        measure, sums = loss.measure(self.dataset.grid), []
        for step, prediction in enumerate(rollout(model, self.dataset, batch.inputs, self.config.horizon)):
            ours, theirs = scaled(model, prediction), scaled(model, batch.targets[:, step])
            sums.append(measure.ratios(ours, theirs).sum().double())
            if errors is not None:
                errors.add(step, ours, theirs)
        total = torch.stack(sums).sum()[None]
        return LossSums(total, self.label_counts(batch).to(total.device))

    def summary(self, metrics: Mapping[str, Any]) -> list[str]:
        """The relative L2 error."""
        key = "valid_relative_l2"
        return [f"L2 {metrics[key]:.4f}"] if key in metrics else []

    def save(self, model: NeuralOperator, folder: Path, provenance: Mapping[str, str]) -> None:
        """Write the operator with all its modes, and what its channels are."""
        self.begin_epoch(model, self.config.epochs)
        save_operator(model, folder, provenance=provenance, roles=roles_in(self.config, self.dataset))

    def load(self, folder: Path) -> NeuralOperator:
        """Read the operator."""
        return load_operator(folder)

    def evaluate(self, model: NeuralOperator, samples: FieldSamples, name: str) -> FieldEvaluation:
        """Errors on the validation trajectories, each from its start to its end."""
        return evaluate_operator(
            model,
            samples.dataset,
            indices=samples.indices,
            batch_size=self.config.valid_batch_size,
            model_name=name,
        )

    def overview(self, model: NeuralOperator, data: FieldData) -> list[list[str]]:
        """The grid and the fields."""
        grid = self.dataset.grid
        points = " x ".join(
            f"{n} ({'periodic' if periodic else 'bounded'})"
            for n, periodic in zip(grid.shape, grid.periodic, strict=True)
        )
        return [
            ["inputs", ", ".join(self.dataset.channels.inputs)],
            ["targets", ", ".join(self.dataset.channels.targets)],
            ["grid", points],
            ["steps trained on", str(self.config.horizon)],
        ]

    def _require_fit(self, model: NeuralOperator, samples: FieldSamples) -> None:
        """Raise `ConfigError` where the operator cannot take samples, or not what follows from its predictions."""
        require_channels(model, samples.dataset)
        batch = samples.batch([0])
        try:
            model.require_fields(batch.inputs)
        except ConfigError as error:
            raise ConfigError(f"{samples.dataset.paths[0]}: {error}") from None
        if self.config.horizon > 1 or samples.dataset.autoregressive:
            samples.dataset.advance(batch.inputs, batch.targets[:, 0])

    @cached_property
    def dataset(self) -> FieldDataset:
        """The training file."""
        return open_dataset(self.config, self.config.train_file)
