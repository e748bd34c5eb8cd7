"""The fast CPU executor: generated C++ for each map, compiled at first use."""

import ctypes
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from sciten.tensor.multilinear.codegen import Kernel
from sciten.tensor.multilinear.compiler import compiler, load
from sciten.tensor.multilinear.description import Multilinear, Operand
from sciten.tensor.multilinear.index import Index


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether there is a C++ compiler; says once where there is none."""
    if compiler() is None:
        warnings.warn(
            "sciten: no C++ compiler found (c++, g++, clang++ or the variable CXX): products run on plain torch "
            "operations, with the same results but several times slower",
            stacklevel=2,
        )
        return False
    return True


class Cpu:
    """Runs a `Multilinear` by compiled code, on as many threads as torch uses; float32 and float64."""

    def run(
        self, map_: Multilinear, arguments: Sequence[Tensor], indices: Mapping[str, Index], batch: int, channels: int
    ) -> tuple[Tensor, ...]:
        """Results of the map; deterministic for a given number of threads."""
        double = arguments[0].dtype == torch.float64
        values = [argument.contiguous() for argument in arguments]
        results: dict[int, Tensor] = {}
        for destination, members in _by_destination(map_).items():
            results |= self._run_group(map_, destination, members, values, indices, batch, channels, double)
        return tuple(results[r] for r in range(len(map_.results)))

    def _run_group(
        self,
        map_: Multilinear,
        destination: str | None,
        members: tuple[int, ...],
        values: list[Tensor],
        indices: Mapping[str, Index],
        batch: int,
        channels: int,
        double: bool,
    ) -> dict[int, Tensor]:
        scattered = destination is not None
        results = {r: _allocate(map_, r, values[0], indices, batch, channels) for r in members}
        if batch == 0:
            return {r: tensor.zero_() for r, tensor in results.items()}
        # A thread should have work for longer than it takes to wake it.
        threads = max(1, min(torch.get_num_threads(), map_.operations(batch, channels) // 20000, batch))
        index = None
        if scattered:
            index = indices[destination] if destination else Index(torch.zeros(batch, dtype=torch.int64), 1)
        order = index.order if index is not None else None
        rows = [indices[o.index].rows if o.index is not None else None for o in map_.arguments]
        sides = [
            torch.zeros(_row_size(map_.results[r], channels) if scattered else 0, dtype=values[0].dtype)
            for _ in range(threads)
            for r in members
        ]
        _function(Kernel(map_, members, scattered, channels, double))(
            ctypes.c_long(batch),
            ctypes.c_long(threads),
            _pointers(values),
            _pointers(rows),
            _pointers(list(results.values())),
            ctypes.c_void_p(order.data_ptr() if order is not None else None),
            ctypes.c_void_p(index.rows.data_ptr() if index is not None else None),
            _pointers(sides),
        )
        return results


def _by_destination(map_: Multilinear) -> dict[str | None, tuple[int, ...]]:
    """Results by where they are added up: None for along the batch, "" for one shared row, else the index's name."""
    groups: dict[str | None, tuple[int, ...]] = {}
    for r, operand in enumerate(map_.results):
        destination = "" if operand.shared else operand.index
        groups[destination] = (*groups.get(destination, ()), r)
    return groups


def _row_size(operand: Operand, channels: int) -> int:
    return operand.components * (channels if operand.channels else 1)


def _allocate(
    map_: Multilinear, result: int, like: Tensor, indices: Mapping[str, Index], batch: int, channels: int
) -> Tensor:
    operand = map_.results[result]
    rows = [] if operand.shared else [indices[operand.index].size if operand.index else batch]
    shape = [*rows, operand.components, *([channels] if operand.channels else [])]
    added = operand.shared or operand.index is not None
    return like.new_zeros(shape) if added or not _complete(map_, result) else like.new_empty(shape)


@lru_cache(maxsize=4096)
def _complete(map_: Multilinear, result: int) -> bool:
    """Whether every component of a result has a term, so that all of it is written."""
    return len({t.target[1] for t in map_.terms if t.target[0] == result}) == map_.results[result].components


@lru_cache(maxsize=4096)
def _function(kernel: Kernel) -> Callable[..., None]:
    function = load(kernel.source()).run
    function.restype = None
    return function


def _pointers(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(None if t is None else t.data_ptr() for t in tensors))
