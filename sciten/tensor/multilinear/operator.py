"""`Multilinear` as a torch operator, so that `torch.compile`, `torch.export` and `make_fx` can record it.

Eager code does not come here: it runs an executor directly (see `apply`), on which the dispatcher would only cost time.
What is recorded holds the whole map as text, so that an exported program means the same in another process.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.multilinear.cpu import Cpu
from sciten.tensor.multilinear.description import Multilinear
from sciten.tensor.multilinear.executors import Executor, default_executor
from sciten.tensor.multilinear.index import Index
from sciten.tensor.multilinear.reference import Reference
from sciten.tensor.multilinear.shapes import sizes
from sciten.tensor.multilinear.triton import Triton
from sciten.tensor.tracing import constant

#: The executors that a recorded program can name.
_EXECUTORS: Mapping[str, type[Reference] | type[Cpu] | type[Triton]] = {
    "reference": Reference,
    "cpu": Cpu,
    "triton": Triton,
}


def record(
    map_: Multilinear, arguments: Sequence[Tensor], indices: Mapping[str, Index], executor: Executor | None
) -> tuple[Tensor, ...]:
    """The results of `map_` through the operator; differentiable to any order.

    Raises:
        ConfigError: the executor is none of sciten's own, or has settings, which a recorded program does not keep.
    """
    name = (
        ""
        if executor is None
        else next((n for n, kind in _EXECUTORS.items() if type(executor) is kind), None)
    )
    if name is None or (isinstance(executor, Triton) and executor != Triton()):
        raise ConfigError(
            "Multilinear: expected Reference(), Cpu() or Triton() as the executor of a "
            f"program that is recorded, got {executor!r}"
        )
    names = sorted(indices)
    return tuple(
        torch.ops.sciten.multilinear(
            map_.recorded or _text(map_),
            name,
            ",".join(names),
            list(arguments),
            [indices[name].rows for name in names],
            [indices[name].size for name in names],
        )
    )


@constant
def _text(map_: Multilinear) -> str:
    return map_.to_text()


@torch.library.custom_op("sciten::multilinear", mutates_args=())
def _multilinear(
    text: str,
    executor: str,
    names: str,
    arguments: Sequence[Tensor],
    rows: Sequence[Tensor],
    lengths: Sequence[int],
) -> list[Tensor]:
    map_ = Multilinear.from_text(text)
    # Kernels follow indices without looking, and while the program was recorded there was nothing to check.
    indices = {name: Index(row, n) for name, row, n in zip(_split(names), rows, lengths, strict=True)}
    batch, channels = sizes(map_, arguments, indices)
    chosen: Executor = _EXECUTORS[executor]() if executor else default_executor(arguments[0])
    return list(chosen.run(map_, arguments, indices, batch, channels))


@_multilinear.register_fake
def _(
    text: str,
    executor: str,
    names: str,
    arguments: Sequence[Tensor],
    rows: Sequence[Tensor],
    lengths: Sequence[int],
) -> list[Tensor]:
    map_ = Multilinear.from_text(text)
    indices = {name: Index.trusted(row, n) for name, row, n in zip(_split(names), rows, lengths, strict=True)}
    batch, channels = sizes(map_, arguments, indices)
    results = []
    for operand in map_.results:
        row = () if operand.shared else (batch if operand.index is None else indices[operand.index].size,)
        results.append(arguments[0].new_empty((*row, *operand.row_shape(channels))))
    return results


def _split(names: str) -> list[str]:
    return names.split(",") if names else []


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.text, ctx.executor, ctx.names, arguments, rows, ctx.lengths = inputs
    ctx.n_arguments = len(arguments)
    ctx.save_for_backward(*arguments, *rows)


def _backward(ctx: Any, cotangents: Sequence[Tensor | None]) -> tuple[Any, ...]:
    arguments, rows = ctx.saved_tensors[: ctx.n_arguments], ctx.saved_tensors[ctx.n_arguments :]
    wanted = [i for i, needed in enumerate(ctx.needs_input_grad[3]) if needed]
    given = [r for r, cotangent in enumerate(cotangents) if cotangent is not None]
    gradients: list[Tensor | None] = [None] * ctx.n_arguments
    if wanted and given:
        derivative = Multilinear.from_text(ctx.text).derivative(wanted, given)
        values = torch.ops.sciten.multilinear(
            derivative.to_text(),
            ctx.executor,
            ctx.names,
            [*arguments, *(cotangents[r] for r in given)],
            list(rows),
            ctx.lengths,
        )
        for argument, value in zip(wanted, values, strict=True):
            gradients[argument] = value
    # An empty list of lengths is taken for a list of tensors.
    return None, None, None, gradients, [None] * len(rows), None if ctx.lengths else []


_multilinear.register_autograd(_backward, setup_context=_setup_context)
