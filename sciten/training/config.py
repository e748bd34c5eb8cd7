"""The configuration of the training of a potential."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

from ase.data import chemical_symbols
from pydantic import Field, field_validator, model_validator

from sciten.potentials import MACE, POTENTIALS, Potential, TensorNet
from sciten.potentials.periodic_table import atomic_number
from sciten.training.losses import Loss
from sciten.training.optimizers import AMSGrad, Optimizer
from sciten.training.run_config import RunConfig, Stage, constructor_section
from sciten.training.schedules import Constant, Plateau, Schedule
from sciten.training.sections import Section, SettingError, nearest
from sciten.training.task import Task

_NOT_IN_MODEL = ("isolated_atom_energies", "seed", "dtype")  # settings of the run, not of the model
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


class TrainConfig(RunConfig):
    """Everything that decides the training of a potential; see `RunConfig` for what every run has.

    Attributes:
        train_file: HDF5 file of an `AtomsDataset`; `valid_file` likewise.
        model: the arguments of the potential, by name, and as `kind` which one it is (MACE by default);
            `elements`, `average_neighbors`, `scale` and `shift` are computed from the data where not given.
        isolated_atom_energies: "file" takes them from the isolated-atom frames of the training file, "fit" by
            least squares from the training energies, "initial" keeps those of `initial_model`; or a map, eV
            by element.
        train_isolated_atoms: whether frames of isolated atoms are trained on as well.
        initial_model: folder of a model to continue from, restricted to the elements of the data.
        loss: weights and error function.
        second_stage: see `SecondStage`; None for none.
        allow_missing: whether frames may lack a label that is trained on (they are left out of its loss).
        dtype: of weights and features; energies are always added up in float64.
        cache_megabytes: memory for prepared neighbour lists; frames beyond it are prepared anew each time.
    """

    isolated_atom_energies: Literal["file", "fit", "initial"] | Mapping[str, float] = "file"
    train_isolated_atoms: bool = False
    loss: Loss = Loss()
    second_stage: SecondStage | None = None
    optimizer: Optimizer = AMSGrad()  # type: ignore[valid-type]
    schedule: Schedule = Plateau()  # type: ignore[valid-type]
    ema_decay: float | None = Field(default=0.99, gt=0, lt=1)
    gradient_clip: float | None = Field(default=10.0, gt=0)
    batch_size: int = Field(default=10, ge=1)
    allow_missing: bool = False

    def task(self) -> Task[Any, Any, Any]:
        """Learning a potential."""
        from sciten.training.potential_task import PotentialTask  # which is made of what needs this module

        return PotentialTask(self)

    @classmethod
    def model_arguments(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of the potential; elements may be symbols or atomic numbers."""
        values = {str(key): value for key, value in given.items()}
        try:
            if isinstance(values.get("elements"), Sequence):
                values["elements"] = [atomic_number(element) for element in values["elements"]]
        except ValueError as error:
            raise SettingError("elements", str(error)) from None
        section = model_section(potential_class(str(values.get("kind", "MACE"))))
        return section(**values).model_dump(mode="json")

    @field_validator("isolated_atom_energies", mode="before")
    @classmethod
    def _by_symbol(cls, value: Any) -> Any:
        return (
            {_symbol(key): energy for key, energy in value.items()} if isinstance(value, Mapping) else value
        )

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

    def stages(self) -> tuple[Stage[Loss], ...]:
        """The stages of the run, one or two."""
        optimizer: Any = self.optimizer
        first = Stage(self._second_start(), self.loss, optimizer.learning_rate, self.schedule)
        if self.second_stage is None:
            return (first,)
        given = {key: getattr(self.second_stage, key) for key in self.loss.weights()}
        loss = self.loss.model_copy(update={key: value for key, value in given.items() if value is not None})
        rate = self.second_stage.learning_rate or optimizer.learning_rate
        return first, Stage(self.epochs - first.epochs, loss, rate, self.second_stage.schedule)


@cache
def model_section(kind: type[Potential]) -> type[Section]:
    """The settings of a potential: the arguments of its constructor, with its types and defaults."""
    return constructor_section(kind, from_data=_FROM_DATA, described=_DESCRIBED, left_out=_NOT_IN_MODEL)


def potential_class(kind: str) -> type[MACE] | type[TensorNet]:
    """The potential that `model.kind` names."""
    if kind not in POTENTIALS:
        raise SettingError("kind", f"unknown {kind!r}, {nearest(kind, POTENTIALS)}")
    return POTENTIALS[kind]


def _symbol(element: Any) -> str:
    return chemical_symbols[atomic_number(element)]
