"""Who runs a `Multilinear`, and which one is chosen where nobody says."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from sciten.tensor.multilinear import cpu
from sciten.tensor.multilinear.description import Multilinear
from sciten.tensor.multilinear.index import Index
from sciten.tensor.multilinear.reference import Reference


class Executor(Protocol):
    """Anything that can run a `Multilinear`; all executors give the same numbers."""

    def run(
        self,
        map_: Multilinear,
        arguments: Sequence[Tensor],
        indices: Mapping[str, Index],
        batch: int,
        channels: int,
    ) -> tuple[Tensor, ...]:
        """The results, freshly allocated; no autograd is expected of it."""
        ...


def default_executor(like: Tensor) -> Executor:
    """The fastest executor for tensors like this one."""
    if like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64) and cpu.available():
        return cpu.Cpu()
    return Reference()
