"""Optimisers as values; `build` makes the torch optimiser that does the work."""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field
from torch import nn, optim

from sciten.training.sections import Section, one_of


class Adam(Section):
    """Adam (Kingma and Ba, 2015); weight decay enters as a penalty on the loss."""

    kind: Literal["adam"] = "adam"
    learning_rate: float = Field(default=0.01, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)

    def build(self, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
        """The torch optimiser for `parameters`."""
        return optim.Adam(
            parameters, self.learning_rate, betas=self.betas, weight_decay=self.weight_decay, fused=True
        )


class AMSGrad(Section):
    """Adam that never forgets a large gradient (Reddi et al., 2018); what the MACE papers train with."""

    kind: Literal["amsgrad"] = "amsgrad"
    learning_rate: float = Field(default=0.01, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)

    def build(self, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
        """The torch optimiser for `parameters`."""
        return optim.Adam(
            parameters,
            self.learning_rate,
            betas=self.betas,
            weight_decay=self.weight_decay,
            amsgrad=True,
            fused=True,
        )


class AdamW(Section):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter, 2019)."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: float = Field(default=0.01, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)

    def build(self, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
        """The torch optimiser for `parameters`."""
        return optim.AdamW(
            parameters, self.learning_rate, betas=self.betas, weight_decay=self.weight_decay, fused=True
        )


Optimizer = one_of(AMSGrad, Adam, AdamW)
