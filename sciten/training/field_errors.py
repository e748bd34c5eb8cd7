"""Relative errors of fields as sums over many batches, which several processes can add up."""

import torch
from torch import Tensor

from sciten.datasets import FieldGrid
from sciten.training.field_losses import RelativeH1, RelativeL2


def measures(grid: FieldGrid) -> dict[str, RelativeL2 | RelativeH1]:
    """The errors that are reported on a grid, by name."""
    return {"relative_l2": RelativeL2(), "relative_h1": RelativeH1(grid.lengths, grid.periodic)}


class FieldErrors:
    """Running sums of relative errors, for each step of a rollout.

    Args:
        grid: of the fields.
        steps: of the rollout.
        device: where sums are kept.

    Attributes:
        sums: `[steps, 3]`, float64: relative L2 errors, relative H1 errors, and how many of each.
    """

    def __init__(self, grid: FieldGrid, steps: int, device: torch.device | str = "cpu") -> None:
        self.sums = torch.zeros(steps, 3, dtype=torch.float64, device=device)
        self._measures = measures(grid)

    def add(self, step: int, prediction: Tensor, target: Tensor) -> None:
        """Count the errors of a batch `[B, C, *grid]` at a step."""
        for column, measure in enumerate(self._measures.values()):
            self.sums[step, column] += measure.ratios(prediction, target).detach().double().sum()
        self.sums[step, 2] += len(target)

    def metrics(self, prefix: str) -> dict[str, float]:
        """Means over samples and steps; where there are several steps, those of the last one as well."""
        by_step = self.sums[:, :2] / self.sums[:, 2:].clamp(min=1)
        names = [f"{prefix}_{name}" for name in self._measures]
        found = dict(zip(names, by_step.mean(0).tolist(), strict=True))
        if len(by_step) > 1:
            last = [f"{name}_last" for name in names]
            found |= dict(zip(last, by_step[-1].tolist(), strict=True))
        return found
