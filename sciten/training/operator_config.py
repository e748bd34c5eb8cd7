"""The configuration of the training of a neural operator."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from sciten.datasets import FieldGrid
from sciten.errors import ConfigError
from sciten.neural_operators import MultigridPatching, NeuralOperator
from sciten.neural_operators.classes import OPERATORS
from sciten.training.field_losses import RelativeH1, RelativeL2
from sciten.training.optimizers import AdamW, Optimizer
from sciten.training.run_config import RunConfig, Stage, constructor_section
from sciten.training.sections import Section, SettingError, nearest, one_of
from sciten.training.task import Task

#: Said by the data and by the run.
_NOT_IN_MODEL = ("in_channels", "out_channels", "active_modes", "seed", "dtype")
_DESCRIBED = ("factorization",)  # values with options, such as {kind: TuckerFactors, rank: 0.05}
_FROM_DATA = ("modes", "periodic", "input_scale", "output_scale")

_Names = Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)]


class FieldLoss(Section):
    """A loss that is one mean over samples and steps."""

    def weights(self) -> dict[str, float]:
        """Of the one mean."""
        return {"fields": 1.0}


class H1Loss(FieldLoss):
    """The relative error of values and slopes, see `sciten.training.field_losses.RelativeH1`."""

    kind: Literal["relative_h1"] = "relative_h1"

    def measure(self, grid: FieldGrid) -> RelativeH1:
        """The loss on a grid."""
        return RelativeH1(grid.lengths, grid.periodic)


class L2Loss(FieldLoss):
    """The relative error of values, see `sciten.training.field_losses.RelativeL2`."""

    kind: Literal["relative_l2"] = "relative_l2"

    def measure(self, grid: FieldGrid) -> RelativeL2:
        """The loss on a grid."""
        return RelativeL2()


class IncrementalModes(Section):
    """Training from coarse to fine: low frequencies first (George et al., TMLR 2024, by a fixed plan).

    A run that ends before all take part leaves the weights of the others as random as they were, which is why
    `max_time` is refused beside it. Nor does the plan follow the clock: equal runs would not give equal weights.

    Attributes:
        start: modes along each axis in the first epoch, negative ones counted.
        epochs: after which all take part: their number, or if below 1 the fraction of all epochs.
    """

    start: int = Field(default=4, ge=1)
    epochs: int | float = Field(default=0.5, gt=0)

    @field_validator("epochs")
    @classmethod
    def _number_or_fraction(cls, value: int | float) -> int | float:
        if isinstance(value, float) and value >= 1:
            raise ValueError(
                f"expected a whole number of epochs, such as 5, or a fraction of all below 1, such as 0.5, got {value}"
            )
        return value

    def last(self, epochs: int) -> int:
        """The first epoch of `epochs`, counted from 0, in which all modes take part."""
        return self.epochs if isinstance(self.epochs, int) else max(1, round(self.epochs * epochs))

    def modes(self, all_modes: tuple[int, ...], epoch: int, epochs: int) -> tuple[int, ...]:
        """Those that take part in an epoch; they grow by two, a frequency and its negative."""
        progress = min(1.0, epoch / self.last(epochs))
        if progress == 1:
            return all_modes
        return tuple(min(n, self.start + 2 * int(progress * max(0, n - self.start) / 2)) for n in all_modes)


class Patching(Section):
    """How an operator cuts fields into patches: the arguments of `sciten.neural_operators.MultigridPatching`.

    Attributes:
        patches: how many lie along each axis.
        levels: coarser grids, each with an operator of its own.
        padding: what a patch has of its neighbours' points on either side, as a part of its own extent.
        at_a_time: how many the model is given at one time, which is what decides about memory; None for all of a batch.
    """

    patches: tuple[int, ...]
    levels: int = Field(default=1, ge=0)
    padding: float = Field(default=0.0, ge=0, le=1)
    at_a_time: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> "Patching":
        try:
            MultigridPatching(**self.model_dump(), periodic=(True,) * len(self.patches))
        except ConfigError as error:
            raise SettingError("patches", str(error)) from None
        return self


class OperatorConfig(RunConfig):
    """Everything that decides the training of a neural operator; see `RunConfig` for what every run has.

    Attributes:
        train_file: HDF5 file of a `FieldDataset`; `valid_file` likewise. Without the latter, whole trajectories of the
            training file are set aside.
        inputs, targets: names of fields; inputs also of scalars.
        history: frames that the model is given.
        horizon: frames that it is trained to predict, from the second one on from its own predictions.
        stride: stored times from one frame to the next.
        subsample: every n-th point of the grid is taken; one number, or one for each axis.
        model: the arguments of the operator, by name, and as `kind` which one it is; `periodic`, `input_scale` and
            `output_scale` come from the data where not given, and `modes` are then 16 along each axis, or as many as
            the grid, or a patch of it and of coarser grids, has points. See `Patching` for its `patching`.
        loss: "relative_h1" or "relative_l2". Channels weigh alike, each in units of its standard deviation.
        incremental_modes: see `IncrementalModes`; None for all modes from the start. Not with `max_time`.
        cache_megabytes: memory for samples, first those to train on, then those to validate on. Either that does not
            fit is read from disk in every epoch, in the background.
    """

    inputs: _Names
    targets: _Names
    history: int = Field(default=1, ge=1)
    horizon: int = Field(default=1, ge=1)
    stride: int = Field(default=1, ge=1)
    subsample: int | tuple[int, ...] = 1
    loss: one_of(H1Loss, L2Loss) = H1Loss()  # type: ignore[valid-type]
    incremental_modes: IncrementalModes | None = None
    optimizer: Optimizer = AdamW(learning_rate=0.008, weight_decay=1e-4)  # type: ignore[valid-type]
    gradient_clip: float | None = Field(default=1.0, gt=0)

    def task(self) -> Task[Any, Any, Any]:
        """Learning a map from fields to fields."""
        from sciten.training.field_task import FieldTask  # which is made of what needs this module

        return FieldTask(self)

    def stages(self) -> tuple[Stage[Any], ...]:
        """The one stage of the run."""
        optimizer: Any = self.optimizer
        return (Stage(self.epochs, self.loss, optimizer.learning_rate, self.schedule),)

    @classmethod
    def model_arguments(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of the operator."""
        values = {str(key): value for key, value in given.items()}
        kind = str(values.get("kind", next(iter(OPERATORS))))
        return operator_section(operator_class(kind))(**values).model_dump(mode="json")

    @model_validator(mode="after")
    def _consistent(self) -> "OperatorConfig":
        for name in ("inputs", "targets"):
            if not getattr(self, name):
                raise SettingError(name, "expected names of fields, got none")
        if self.incremental_modes is not None and self.incremental_modes.last(self.epochs) >= self.epochs:
            raise SettingError(
                "incremental_modes.epochs",
                f"expected fewer than epochs={self.epochs}, for all modes to be trained, got "
                f"{self.incremental_modes.epochs}: they take part after "
                f"{self.incremental_modes.last(self.epochs)} epochs; make it smaller",
            )
        if self.incremental_modes is not None and self.max_time is not None:
            raise SettingError(
                "incremental_modes",
                f"expected no max_time={self.max_time:g}, which may end the run before all modes are trained; leave "
                "one out, or take fewer epochs",
            )
        return self


_SECTIONS = {"patching": Patching}


@cache
def operator_section(kind: type[NeuralOperator]) -> type[Section]:
    """The settings of an operator: the arguments of its constructor, with its types and defaults."""
    return constructor_section(
        kind, from_data=_FROM_DATA, described=_DESCRIBED, sections=_SECTIONS, left_out=_NOT_IN_MODEL
    )


def operator_class(kind: str) -> type[NeuralOperator]:
    """The operator that `model.kind` names."""
    if kind not in OPERATORS:
        raise SettingError("kind", f"unknown {kind!r}, {nearest(kind, OPERATORS)}")
    return OPERATORS[kind]
