"""Several processes as one: started by torchrun, each takes its share of every batch."""

import contextlib
import importlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Ranks:
    """This process among all of them."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"  # where this process computes, and where its group can add

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, items: "list[int]") -> "list[int]":
        """This process's part of `items`, possibly none."""
        return items[self.rank :: self.size]

    def total(self, value: Tensor) -> Tensor:
        """The sum of `value` over all processes."""
        if self.size == 1:
            return value
        shared = value.detach().to(self.device, copy=True)
        distributed.all_reduce(shared)
        return shared.to(value.device)

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over all processes; a missing one counts as zero."""
        if self.size == 1:
            return
        parameters = [parameter for parameter in parameters if parameter.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = self.total(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        parts = flat.split([parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def wait(self) -> None:
        """Return when every process has come here."""
        self.total(torch.zeros(1))


@contextlib.contextmanager
def ranks(device: str) -> Iterator[Ranks]:
    """The processes that torchrun started, or this one alone; a group opened here is closed at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks(device=device)
        return
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    opened = not distributed.is_initialized()
    if opened:
        # This module's functions take the group of the moment of its import as a default. Imported later, as optimisers
        # do, it would keep the group, and so gloo's threads, until the interpreter ends: a thread that then lets go
        # of a tensor aborts the process (pytorch issue 190489).
        importlib.import_module("torch.distributed.nn.functional")
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    group = Ranks(distributed.get_rank(), distributed.get_world_size(), device)
    try:
        yield group
        if opened:
            group.wait()  # none leaves while others still need it
    finally:
        if opened:
            distributed.destroy_process_group()
