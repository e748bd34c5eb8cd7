"""The configuration of a training run: frozen values in Python, and YAML as their serialisation."""

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import yaml
from ase.data import chemical_symbols
from pydantic import BeforeValidator, Field, create_model, field_validator, model_validator

from sciten.errors import ConfigError
from sciten.files import write_text
from sciten.potentials import MACE, POTENTIALS, Potential, TensorNet
from sciten.potentials.devices import require_device
from sciten.potentials.periodic_table import atomic_number
from sciten.training.losses import Loss
from sciten.training.optimizers import AMSGrad, Optimizer
from sciten.training.schedules import Constant, Plateau, Schedule
from sciten.training.sections import Section, SettingError, nearest

_NOT_IN_MODEL = {"self", "isolated_atom_energies", "seed", "dtype"}  # settings of the run, not of the model
_DESCRIBED = ("product", "edge_product")  # values with options, such as {kind: GauntProduct, method: grid}
_FROM_DATA = ("elements", "average_neighbors", "scale", "shift")


class SecondStage(Section):
    """A last part of the run with its own loss weights and learning rate; the best model is chosen within it.

    Attributes:
        start: the epoch it starts at, or a fraction of all epochs.
        energy, forces, stress: loss weights; None keeps the first stage's.
        learning_rate: rate at its start; None keeps the first stage's.
        schedule: of the learning rate within it.
    """

    start: int | float = Field(default=0.75, gt=0)
    energy: float | None = Field(default=1000.0, ge=0)
    forces: float | None = Field(default=None, ge=0)
    stress: float | None = Field(default=None, ge=0)
    learning_rate: float | None = Field(default=None, gt=0)
    schedule: Schedule = Constant()  # type: ignore[valid-type]


@dataclass(frozen=True)
class Stage:
    """One stage as the loop runs it."""

    epochs: int
    loss: Loss
    learning_rate: float
    schedule: Any


class TrainConfig(Section):
    """Everything that decides a training run; two equal configurations on equal data give equal weights.

    Attributes:
        train_file: HDF5 file of an `AtomsDataset`.
        output: folder for the model, metrics, checkpoint and report.
        valid_file: validation set; without it, `valid_fraction` of the training file is set aside.
        valid_fraction: 0.1 unless a `valid_file` is given; 0 trains without validation.
        valid_seed: of the choice of validation frames; apart from `seed`, so that runs with several seeds
            compare on the same frames.
        model: the arguments of the potential, by name, and as `kind` which one it is (MACE by default);
            `elements`, `average_neighbors`, `scale` and `shift` are computed from the data where not given.
        isolated_atom_energies: "file" takes them from the isolated-atom frames of the training file, "fit" by
            least squares from the training energies, "initial" keeps those of `initial_model`; or a map, eV
            by element.
        train_isolated_atoms: whether frames of isolated atoms are trained on as well.
        initial_model: folder of a model to continue from, restricted to the elements of the data.
        freeze: parameters to keep fixed: names or shell patterns of blocks, such as `embedding` or
            `interactions.0.*`.
        loss: weights and error function.
        second_stage: see `SecondStage`; None for none.
        optimizer, schedule: see their modules.
        ema_decay: decay per step of the exponential moving average of the weights, which is what is validated
            and saved; None for none.
        gradient_clip: largest norm of the gradient; None for none.
        epochs: passes over the training set, all stages together.
        batch_size: frames per optimiser step, over all processes together; `valid_batch_size` likewise.
        early_stopping: epochs without a better validation loss after which a stage ends; None for none.
        max_time: minutes of training after which no further epoch is started; None for no limit.
        allow_missing: whether frames may lack a label that is trained on (they are left out of its loss).
        dtype: of weights and features; energies are always added up in float64.
        device: of torch.
        seed: of initial weights and of the order of frames.
        threads: of torch on the CPU; None leaves them as they are.
        checkpoint_every: epochs from checkpoint to checkpoint.
        cache_megabytes: memory for prepared neighbour lists; frames beyond it are prepared anew each time.
        tensorboard: whether to write TensorBoard events as well (extra `tensorboard`).
    """

    train_file: Path
    output: Path
    valid_file: Path | None = None
    valid_fraction: float | None = Field(default=None, ge=0, lt=1)
    valid_seed: int = Field(default=0, ge=0)
    model: Mapping[str, Any] = Field(default_factory=dict)
    isolated_atom_energies: Literal["file", "fit", "initial"] | Mapping[str, float] = "file"
    train_isolated_atoms: bool = False
    initial_model: Path | None = None
    freeze: Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)] = ()
    loss: Loss = Loss()
    second_stage: SecondStage | None = None
    optimizer: Optimizer = AMSGrad()  # type: ignore[valid-type]
    schedule: Schedule = Plateau()  # type: ignore[valid-type]
    ema_decay: float | None = Field(default=0.99, gt=0, lt=1)
    gradient_clip: float | None = Field(default=10.0, gt=0)
    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=10, ge=1)
    valid_batch_size: int = Field(default=32, ge=1)
    early_stopping: int | None = Field(default=None, ge=1)
    max_time: float | None = Field(default=None, gt=0)
    allow_missing: bool = False
    dtype: Literal["float32", "float64"] = "float32"
    device: str = "cpu"
    seed: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, ge=1)
    checkpoint_every: int = Field(default=1, ge=1)
    cache_megabytes: float = Field(default=2048.0, ge=0)
    tensorboard: bool = False

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
        if isinstance(given, str):  # a bare name stands for the potential with its defaults
            given = {"kind": given}
        if not isinstance(given, Mapping):
            raise SettingError("model", f"expected the arguments of a potential by name, got {given!r}")
        if values.get("initial_model") is None:
            return {**values, "model": _model_arguments(given)}
        if given:
            raise SettingError(
                "model", "expected no arguments beside initial_model, which brings its own; leave them out"
            )
        return values

    @field_validator("isolated_atom_energies", mode="before")
    @classmethod
    def _by_symbol(cls, value: Any) -> Any:
        return (
            {_symbol(key): energy for key, energy in value.items()} if isinstance(value, Mapping) else value
        )

    @field_validator("device")
    @classmethod
    def _usable_device(cls, value: str) -> str:
        require_device(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if self.isolated_atom_energies == "initial" and self.initial_model is None:
            raise SettingError(
                "isolated_atom_energies", "expected 'file', 'fit' or a map; 'initial' needs initial_model"
            )
        for stage in self.stages():
            if not any(stage.loss.weights().values()):
                raise SettingError(
                    "loss", "expected a weight above 0 for energy, forces or stress in every stage, got none"
                )
        if self.early_stopping is not None and self.valid_fraction == 0:
            raise SettingError(
                "early_stopping", "needs a validation set; set valid_file or a valid_fraction above 0"
            )
        if self.second_stage is not None and not 1 <= self._second_start() < self.epochs:
            raise SettingError(
                "second_stage.start",
                f"expected an epoch from 1 to {self.epochs - 1} or a fraction of epochs={self.epochs}, "
                f"got {self.second_stage.start}",
            )
        return self

    def _second_start(self) -> int:
        start = self.second_stage.start if self.second_stage is not None else self.epochs
        return round(start * self.epochs) if start < 1 else int(start)

    def stages(self) -> tuple[Stage, ...]:
        """The stages of the run, one or two."""
        optimizer: Any = self.optimizer
        first = Stage(self._second_start(), self.loss, optimizer.learning_rate, self.schedule)
        if self.second_stage is None:
            return (first,)
        given = {key: getattr(self.second_stage, key) for key in self.loss.weights()}
        loss = self.loss.model_copy(update={key: value for key, value in given.items() if value is not None})
        rate = self.second_stage.learning_rate or optimizer.learning_rate
        return first, Stage(self.epochs - first.epochs, loss, rate, self.second_stage.schedule)

    def to_yaml(self) -> str:
        """The configuration with every default filled in, as YAML that `read_config` reads."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write `to_yaml()` to `path`, atomically."""
        write_text(path, self.to_yaml())


def read_config(path: str | os.PathLike[str] | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """A configuration from a YAML file and `key=value` overrides.

    Args:
        path: YAML file; None for overrides alone.
        overrides: each `dotted.key=value` with the value in YAML: `loss.forces=100`, `schedule=cosine`.

    Raises:
        ConfigError: the file cannot be read, or a key is unknown (the nearest is named) or unusable.
    """
    source = "command line" if path is None else str(path)
    values = {} if path is None else _read_yaml(Path(path))
    for override in overrides:
        _set(values, override)
    try:
        return TrainConfig(**values)
    except SettingError as error:
        hint = (
            f"; give it there or as {error.key}=... on the command line" if "required" in error.reason else ""
        )
        raise ConfigError(f"{source}: {error.key}: {error.reason}{hint}") from None


@cache
def model_section(kind: type[Potential]) -> type[Section]:
    """The settings of a potential: the arguments of its constructor, with its types and defaults."""
    hints = get_type_hints(kind.__init__)
    fields: dict[str, Any] = {"kind": (str, kind.__name__)}
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        if name in _FROM_DATA:
            fields[name] = (hints[name] | None, None)
        elif name in _DESCRIBED:
            fields[name] = (Mapping[str, Any] | None, None)
        elif name not in _NOT_IN_MODEL:
            fields[name] = (hints[name], parameter.default)
    return create_model(f"{kind.__name__}Section", __base__=Section, **fields)


def potential_class(kind: str) -> type[MACE] | type[TensorNet]:
    """The potential that `model.kind` names."""
    if kind not in POTENTIALS:
        raise SettingError("model.kind", f"unknown {kind!r}, {nearest(kind, POTENTIALS)}")
    return POTENTIALS[kind]


def _model_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    values = {str(key): value for key, value in given.items()}
    try:
        if isinstance(values.get("elements"), Sequence):
            values["elements"] = [atomic_number(element) for element in values["elements"]]
        return model_section(potential_class(str(values.get("kind", "MACE"))))(**values).model_dump(
            mode="json"
        )
    except SettingError as error:
        key = error.key if error.key.startswith("model.") else f"model.{error.key}"
        raise SettingError(key, error.reason) from None
    except ValueError as error:
        raise SettingError("model.elements", str(error)) from None


def _symbol(element: Any) -> str:
    return chemical_symbols[atomic_number(element)]


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected YAML: {' '.join(str(error).split())}") from error
    if document is not None and not isinstance(document, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, got {str(document)[:60]!r}")
    return _with_text_keys(document or {})


def _with_text_keys(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {str(key): _with_text_keys(entry) for key, entry in value.items()}


def _set(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(
            f"{override!r}: expected an override of the form key=value, such as loss.forces=100"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{override!r}: expected a value in YAML: {' '.join(str(error).split())}"
        ) from error
    *sections, last = key.split(".")
    for section in sections:
        inner = values.get(section)
        if inner is not None and not isinstance(inner, str | dict):
            raise ConfigError(f"{override!r}: {section} is {inner!r}, which has no settings of its own")
        values[section] = {"kind": inner} if isinstance(inner, str) else dict(inner or {})
        values = values[section]
    values[last] = value
