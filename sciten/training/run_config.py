"""What every training run has, whatever it trains: frozen values in Python, and YAML as their serialisation."""

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, get_type_hints

import yaml
from pydantic import BeforeValidator, Field, create_model, field_validator, model_validator

from sciten.devices import require_device
from sciten.files import write_text
from sciten.training.optimizers import AdamW, Optimizer
from sciten.training.schedules import Cosine, Schedule
from sciten.training.sections import Section, SettingError
from sciten.training.task import Loss, Task


@dataclass(frozen=True)
class Stage(Generic[Loss]):
    """One stage as the loop runs it."""

    epochs: int
    loss: Loss
    learning_rate: float
    schedule: Any


class RunConfig(Section, ABC):
    """Everything that decides a training run; two equal configurations on equal data give equal weights.

    Attributes:
        train_file: HDF5 file to train on.
        output: folder for the model, metrics, checkpoint and report.
        valid_file: validation set; without it, `valid_fraction` of the training file is set aside.
        valid_fraction: 0.1 unless a `valid_file` is given; 0 trains without validation.
        valid_seed: of the choice of validation samples; apart from `seed`, so that runs with several seeds
            compare on the same samples.
        model: the arguments of the model, by name, and as `kind` which one it is.
        initial_model: folder of a model to continue from.
        freeze: parameters to keep fixed: names or shell patterns of blocks, such as `embedding` or
            `interactions.0.*`; of an operator on patches also `coarse`, and `*lifting` for that of every grid.
        optimizer, schedule: see their modules.
        ema_decay: decay per step of the exponential moving average of the weights, which is what is validated
            and saved; None for none.
        gradient_clip: largest norm of the gradient; None for none.
        epochs: passes over the training set, all stages together.
        batch_size: samples per optimiser step, over all processes together; `valid_batch_size` likewise.
        early_stopping: epochs without a better validation loss after which a stage ends; None for none.
        max_time: minutes of training after which no further epoch is started; None for no limit.
        dtype: of weights and features.
        device: of torch.
        seed: of initial weights and of the order of samples.
        threads: of torch on the CPU; None leaves them as they are.
        checkpoint_every: epochs from checkpoint to checkpoint.
        cache_megabytes: memory for prepared samples; those beyond it are prepared anew each time.
        tensorboard: whether to write TensorBoard events as well (extra `tensorboard`).
    """

    train_file: Path
    output: Path
    valid_file: Path | None = None
    valid_fraction: float | None = Field(default=None, ge=0, lt=1)
    valid_seed: int = Field(default=0, ge=0)
    model: Mapping[str, Any] = Field(default_factory=dict)
    initial_model: Path | None = None
    freeze: Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)] = ()
    optimizer: Optimizer = AdamW()  # type: ignore[valid-type]
    schedule: Schedule = Cosine()  # type: ignore[valid-type]
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    gradient_clip: float | None = Field(default=None, gt=0)
    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=32, ge=1)
    valid_batch_size: int = Field(default=32, ge=1)
    early_stopping: int | None = Field(default=None, ge=1)
    max_time: float | None = Field(default=None, gt=0)
    dtype: Literal["float32", "float64"] = "float32"
    device: str = "cpu"
    seed: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, ge=1)
    checkpoint_every: int = Field(default=1, ge=1)
    cache_megabytes: float = Field(default=2048.0, ge=0)
    tensorboard: bool = False

    @abstractmethod
    def task(self) -> Task[Any, Any, Any]:
        """What is learned in this run."""

    @abstractmethod
    def stages(self) -> tuple[Stage[Any], ...]:
        """The stages of the run, one or more; their epochs add up to `epochs`."""

    @classmethod
    @abstractmethod
    def model_arguments(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a model, checked, with every default filled in, as JSON values."""

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, values: Any) -> Any:
        if values.get("valid_file") is None and values.get("valid_fraction") is None:
            values = {**values, "valid_fraction": 0.1}
        if values.get("valid_file") is not None and values.get("valid_fraction") is not None:
            raise SettingError(
                "valid_fraction", "expected either valid_file or valid_fraction, got both; leave one out"
            )
        given = values.get("model") or {}
        if isinstance(given, str):  # a bare name stands for the model with its defaults
            given = {"kind": given}
        if not isinstance(given, Mapping):
            raise SettingError("model", f"expected the arguments of a model by name, got {given!r}")
        if values.get("initial_model") is None:
            try:
                return {**values, "model": cls.model_arguments(given)}
            except SettingError as error:
                raise SettingError(f"model.{error.key}", error.reason) from None
        if given:
            raise SettingError(
                "model", "expected no arguments beside initial_model, which brings its own; leave them out"
            )
        return values

    @field_validator("device")
    @classmethod
    def _usable_device(cls, value: str) -> str:
        require_device(value)
        return value

    @model_validator(mode="after")
    def _patience_needs_validation(self) -> "RunConfig":
        if self.early_stopping is not None and self.valid_fraction == 0:
            raise SettingError(
                "early_stopping", "needs a validation set; set valid_file or a valid_fraction above 0"
            )
        return self

    def to_yaml(self) -> str:
        """The configuration with every default filled in, as YAML that `read_config` reads."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write `to_yaml()` to `path`, atomically."""
        write_text(path, self.to_yaml())


def constructor_section(
    kind: type,
    *,
    from_data: Collection[str] = (),
    described: Collection[str] = (),
    sections: Mapping[str, type[Section]] = MappingProxyType({}),
    left_out: Collection[str] = (),
) -> type[Section]:
    """The settings of a model: the arguments of its constructor, with its types and defaults.

    Args:
        kind: its class.
        from_data: arguments that are computed from the data where they are not given.
        described: arguments that are values with options, given as `{kind: ..., option: ...}`.
        sections: arguments that are values without options, by name, and their settings.
        left_out: arguments that are settings of the run, not of the model.
    """
    hints = get_type_hints(kind.__init__)  # type: ignore[misc]
    fields: dict[str, Any] = {"kind": (str, kind.__name__)}
    for name, parameter in inspect.signature(kind.__init__).parameters.items():  # type: ignore[misc]
        if name in from_data:
            fields[name] = (hints[name] | None, None)
        elif name in described:
            fields[name] = (Mapping[str, Any] | None, None)
        elif name in sections:
            fields[name] = (sections[name] | None, None)
        elif name not in {"self", *left_out}:
            fields[name] = (hints[name], parameter.default)
    return create_model(f"{kind.__name__}Section", __base__=Section, **fields)
