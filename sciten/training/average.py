"""The exponential moving average of a model's weights."""

import copy

import torch
from torch import nn


class WeightAverage:
    """A copy of a model whose weights follow the model's own with an exponential moving average.

    The decay of step n is min(decay, (1 + n) / (10 + n)), so that the first steps are forgotten soon
    (the rule of torch_ema and TensorFlow). With `decay=None` the copy simply is as the model.

    Attributes:
        model: the copy, weights fixed, in evaluation mode.
        updates: how many steps it has followed.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Follow one optimiser step of `model`."""
        self.updates += 1
        decay = 0.0 if self.decay is None else min(self.decay, (1 + self.updates) / (10 + self.updates))
        for average, weight in zip(self.model.parameters(), model.parameters(), strict=True):
            if decay == 0:
                average.copy_(weight)
            else:
                average.lerp_(weight, 1 - decay)
