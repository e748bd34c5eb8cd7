"""Learning-rate schedules as values. Each gives a factor on the learning rate of its stage.

The factor is a pure function of the position in the stage and, for `Plateau`, of a small state, so that a
resumed run continues on exactly the same rates.
"""

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

from pydantic import Field

from sciten.training.sections import Section, one_of


@dataclass
class PlateauState:
    """What `Plateau` remembers between epochs; all zero or None for the others."""

    factor: float = 1.0
    best: float | None = None
    bad_epochs: int = 0


class Constant(Section):
    """The same rate throughout, after a linear warm-up."""

    kind: Literal["constant"] = "constant"
    warmup_epochs: float = Field(default=0.0, ge=0)

    def factor(self, epoch: float, epochs: int, state: PlateauState) -> float:
        """The factor at `epoch` (with its fraction) of `epochs`."""
        return warmup(epoch, self.warmup_epochs)

    def observe(self, valid_loss: float, state: PlateauState) -> None:
        """Learn the validation loss at the end of an epoch; nothing to do here."""


class Cosine(Section):
    """Half a cosine from the learning rate down to `final` times it (Loshchilov and Hutter, 2017)."""

    kind: Literal["cosine"] = "cosine"
    warmup_epochs: float = Field(default=0.0, ge=0)
    final: float = Field(default=0.01, ge=0, le=1)

    def factor(self, epoch: float, epochs: int, state: PlateauState) -> float:
        """The factor at `epoch` (with its fraction) of `epochs`."""
        decaying = max(epochs - self.warmup_epochs, 1e-9)
        progress = min(max((epoch - self.warmup_epochs) / decaying, 0.0), 1.0)
        return warmup(epoch, self.warmup_epochs) * (
            self.final + (1 - self.final) * 0.5 * (1 + cos(pi * progress))
        )

    def observe(self, valid_loss: float, state: PlateauState) -> None:
        """Learn the validation loss at the end of an epoch; nothing to do here."""


class Plateau(Section):
    """Multiply the rate by `reduce_by` when the validation loss has not improved for over `patience` epochs.

    The rule of `torch.optim.lr_scheduler.ReduceLROnPlateau` (relative threshold, no cooldown).
    """

    kind: Literal["plateau"] = "plateau"
    warmup_epochs: float = Field(default=0.0, ge=0)
    reduce_by: float = Field(default=0.8, gt=0, lt=1)
    patience: int = Field(default=50, ge=0)
    threshold: float = Field(default=1e-4, ge=0)
    minimum: float = Field(default=0.0, ge=0, le=1)

    def factor(self, epoch: float, epochs: int, state: PlateauState) -> float:
        """The factor at `epoch` (with its fraction) of `epochs`."""
        return warmup(epoch, self.warmup_epochs) * state.factor

    def observe(self, valid_loss: float, state: PlateauState) -> None:
        """Learn the validation loss at the end of an epoch and reduce the factor where it is time to."""
        if state.best is None or valid_loss < state.best * (1 - self.threshold):
            state.best, state.bad_epochs = valid_loss, 0
            return
        state.bad_epochs += 1
        if state.bad_epochs > self.patience:
            state.factor, state.bad_epochs = max(state.factor * self.reduce_by, self.minimum), 0


def warmup(epoch: float, epochs: float) -> float:
    """A linear rise from 1 % to 1 over the first `epochs`."""
    return 1.0 if epoch >= epochs else 0.01 + 0.99 * epoch / epochs


Schedule = one_of(Plateau, Constant, Cosine)
