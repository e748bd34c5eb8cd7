"""Who runs a `Multilinear`, and which one is chosen where nobody says."""

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from sciten.tensor.compiler import available
from sciten.tensor.multilinear import cpu, triton
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
    """The fastest executor for tensors like this one; where that is plain torch, says once why."""
    if like.device.type == "cuda":
        reason = triton.unsupported(like)
        if reason is None:
            return triton.Triton()
    elif like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64):
        if available():  # says so itself where it is not
            return cpu.Cpu()
        return Reference()
    else:
        reason = f"there is no compiled kernel for {like.dtype} on {like.device.type}"
    if reason is not None and like.device.type != "meta":
        _warn_once(reason)
    return Reference()


@cache
def _warn_once(reason: str) -> None:
    warnings.warn(
        f"Multilinear: {reason}: products run on plain torch operations, with the same results but slower",
        stacklevel=4,
    )
