"""Keeping constants in float64 in a module that is cast to a lower precision."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn


class Float64Buffers(nn.Module):
    """A module some of whose buffers stay float64 whatever dtype the module is cast to.

    Energies must add up to full precision, and a model that went through float32 must get back exact constants.
    """

    def __init__(self) -> None:
        super().__init__()
        self._float64_buffers: list[str] = []

    def keep_float64(self, name: str, value: Tensor, *, persistent: bool = True) -> None:
        """Register a buffer that stays float64; only persistent ones belong to the module's state."""
        self.register_buffer(name, value.to(torch.float64), persistent=persistent)
        self._float64_buffers.append(name)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        kept = {name: getattr(self, name) for name in self._float64_buffers}
        super()._apply(fn, recurse)
        for name, value in kept.items():
            setattr(self, name, value.to(getattr(self, name).device))
        return self
