"""The loss on energies, forces and stress, as sums that several processes can add up.

    loss = Σ_q weight_q · Σ_i w_i f(error_q,i) / N_q,   q = energy per atom, force and stress component,

with N_q the number of labelled entries in the whole global batch, f the square or Huber's function and w_i
the weight of the frame's configuration type. With `L2` and every label there, this is mace-torch's "weighted"
loss.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sciten.datasets import AtomsBatch
from sciten.potentials import Prediction
from sciten.training.sections import Section, one_of
from sciten.training.task import LossSums

LABELS = ("energy", "forces", "stress")


class L2(Section):
    """The square of the error."""

    kind: Literal["l2"] = "l2"

    def __call__(self, error: Tensor) -> Tensor:
        """Entry by entry."""
        return error.square()


class Huber(Section):
    """Half the square of a small error, linear beyond `delta` (eV per atom, eV/Å or eV/Å³; Huber 1964)."""

    kind: Literal["huber"] = "huber"
    delta: float = Field(default=0.01, gt=0)

    def __call__(self, error: Tensor) -> Tensor:
        """Entry by entry."""
        return nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=self.delta)


class Loss(Section):
    """Weights of the labels, function of the error, and weights of configuration types (1 if not named)."""

    energy: float = Field(default=1.0, ge=0)
    forces: float = Field(default=100.0, ge=0)
    stress: float = Field(default=0.0, ge=0)
    function: one_of(L2, Huber) = L2()  # type: ignore[valid-type]
    config_type_weights: Mapping[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)

    def weights(self) -> dict[str, float]:
        """The weight of each label."""
        return {label: getattr(self, label) for label in LABELS}

    def config_type_weight(self, config_type: str) -> float:
        """The weight of a configuration type."""
        return self.config_type_weights.get(config_type, 1.0)


def label_counts(batch: AtomsBatch) -> Tensor:
    """How many energies, force components and stress components are labelled, `[3]`, float64."""
    counts = [_count(getattr(batch, f"{label}_mask")) for label in LABELS]
    per_entry = torch.tensor([1.0, 3.0, 6.0], dtype=torch.float64, device=batch.positions.device)
    return torch.stack([c.to(per_entry) for c in counts]) * per_entry


def loss_sums(batch: AtomsBatch, prediction: Prediction, loss: Loss) -> LossSums:
    """The sums of `loss` over the labels of `batch`; quantities that were not predicted count as zero."""
    zero = prediction.energy.new_zeros(())
    by_type = [loss.config_type_weight(name) for name in batch.config_types]
    weight = prediction.energy.new_tensor(by_type)
    atoms = torch.bincount(batch.frame, minlength=batch.n_frames)
    sums = [zero, zero, zero]
    if batch.energy is not None and batch.energy_mask is not None:
        error = (prediction.energy - batch.energy) / atoms
        sums[0] = (loss.function(error) * weight)[batch.energy_mask].sum()
    if batch.forces is not None and batch.forces_mask is not None and prediction.forces is not None:
        error = prediction.forces - batch.forces
        sums[1] = (loss.function(error) * weight[batch.frame, None])[batch.forces_mask].sum()
    if batch.stress is not None and batch.stress_mask is not None and prediction.stress is not None:
        error = prediction.stress - batch.stress
        sums[2] = (loss.function(error) * weight[:, None])[batch.stress_mask].sum()
    return LossSums(torch.stack(sums), label_counts(batch))


def _count(mask: Tensor | None) -> Tensor:
    return torch.zeros(()) if mask is None else mask.sum()
