"""The fast CPU executor: generated C++ for each map, compiled at first use."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.compiler import load
from sciten.tensor.multilinear import looped
from sciten.tensor.multilinear.codegen import Kernel
from sciten.tensor.multilinear.description import Multilinear
from sciten.tensor.multilinear.destinations import by_destination, complete
from sciten.tensor.multilinear.index import Index


class Cpu:
    """Runs a `Multilinear` by compiled code, on as many threads as torch uses; float32 and float64."""

    def run(
        self,
        map_: Multilinear,
        arguments: Sequence[Tensor],
        indices: Mapping[str, Index],
        batch: int,
        channels: int,
    ) -> tuple[Tensor, ...]:
        """Results of the map; deterministic for a given number of threads."""
        _require_supported(arguments[0])
        return _Run(map_, [a.contiguous() for a in arguments], indices, batch, channels).results()

    def run_interpolated(
        self,
        map_: Multilinear,
        table: Tensor,
        position: Tensor,
        others: Sequence[Tensor],
        indices: Mapping[str, Index],
        *,
        consumed: int | None = None,
    ) -> tuple[Tensor, ...]:
        """As `run`, with argument 0 interpolated from a `Table` (see `interpolation`), never written to memory.

        `consumed` names the result that is the gradient of argument 0: in its place comes the gradient of
        `position`, `[batch, 1]`.
        """
        arguments = [a.contiguous() for a in (table, *others)]
        run = _Run(map_, arguments, indices, len(position), table.shape[-1], position.contiguous(), consumed)
        return run.results()


def _require_supported(argument: Tensor) -> None:
    if argument.device.type != "cpu" or argument.dtype not in (torch.float32, torch.float64):
        raise ConfigError(
            f"Cpu: expected float32 or float64 on the CPU, got {argument.dtype} on {argument.device}; use "
            "executor=Reference()"
        )


@dataclass
class _Run:
    map_: Multilinear
    arguments: list[Tensor]
    indices: Mapping[str, Index]
    batch: int
    channels: int
    position: Tensor | None = None
    consumed: int | None = None

    def results(self) -> tuple[Tensor, ...]:
        found: dict[int, Tensor] = {}
        for destination, members in passes(self.map_):
            found |= self._group(destination, members)
        return tuple(found[r] for r in range(len(self.map_.results)))

    def _group(self, destination: str | None, members: tuple[int, ...]) -> dict[int, Tensor]:
        results = {r: self._allocate(r) for r in members}
        if self.batch:
            self._launch(destination, results)
        return {r: t[0] if self.map_.results[r].shared else t for r, t in results.items()}

    def _launch(self, destination: str | None, results: dict[int, Tensor]) -> None:
        # A thread should have work for longer than it takes to wake it.
        work = self.map_.operations(self.batch, self.channels) // 20000
        threads = max(1, min(torch.get_num_threads(), work, self.batch))
        index = None
        if destination is not None:
            index = self.indices[destination] if destination else Index.one_row(self.batch)
        order = index.order if index is not None else None
        rows = [self.indices[o.index].rows if o.index is not None else None for o in self.map_.arguments]
        kernel = Kernel(
            self.map_,
            tuple(results),
            self.channels,
            self.arguments[0].dtype == torch.float64,
            self.position is not None,
            self.consumed,
        )
        sides = [
            torch.zeros_like(t[:1]) if kernel.added(r) else None
            for _ in range(threads)
            for r, t in results.items()
        ]
        _function(kernel)(
            ctypes.c_long(self.batch),
            ctypes.c_long(threads),
            _pointers([*self.arguments, self.position]),
            _pointers(rows),
            _pointers(list(results.values())),
            ctypes.c_void_p(order.data_ptr() if order is not None else None),
            ctypes.c_void_p(index.rows.data_ptr() if index is not None else None),
            _pointers(sides),
            ctypes.c_long(len(self.arguments[0]) - 3 if self.position is not None else 0),
        )

    def _allocate(self, result: int) -> Tensor:
        operand = self.map_.results[result]
        rows = 1 if operand.shared else self.indices[operand.index].size if operand.index else self.batch
        like = self.arguments[0]
        if result == self.consumed:
            return like.new_empty(rows, 1)
        shape = [rows, *operand.row_shape(self.channels)]
        added = operand.shared or operand.index is not None
        return like.new_zeros(shape) if added or not complete(self.map_, result) else like.new_empty(shape)


@lru_cache(maxsize=4096)
def passes(map_: Multilinear) -> tuple[tuple[str | None, tuple[int, ...]], ...]:
    """The walks along the batch: by where results are added up, and the results that each walk makes.

    Results along the batch come with those of the shared row, as they read the same; unless there are so many terms
    that tables would take the place of straight-line code.
    """
    groups = by_destination(map_)
    if None in groups and "" in groups:
        together = tuple(sorted(groups[None] + groups[""]))
        if not looped.serves(map_, together) or any(looped.serves(map_, groups[d]) for d in (None, "")):
            del groups[None]
            groups[""] = together
    return tuple(groups.items())


@lru_cache(maxsize=4096)
def _function(kernel: Kernel) -> Callable[..., None]:
    function = load(kernel.source()).run
    function.restype = None
    return function


def _pointers(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(None if t is None else t.data_ptr() for t in tensors))
