"""Evaluating a `Multilinear`, with derivatives of every order."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.multilinear.description import Multilinear
from sciten.tensor.multilinear.executors import Executor, default_executor
from sciten.tensor.multilinear.index import Index
from sciten.tensor.multilinear.operator import record
from sciten.tensor.multilinear.shapes import sizes
from sciten.tensor.tracing import is_traced


def evaluate(
    map_: Multilinear,
    arguments: Sequence[Tensor],
    indices: Mapping[str, Index] | None = None,
    *,
    executor: Executor | None = None,
) -> tuple[Tensor, ...]:
    """The results of `map_`, differentiable to any order by `torch.autograd`; `torch.func` does not follow it.

    Args:
        map_: the map.
        arguments: one tensor for each of `map_.arguments`, `[rows, components, channels]` less its absent axes.
        indices: the gather and scatter indices that operands name.
        executor: who computes; by default the fastest one that the device has.

    Raises:
        ConfigError: a shape, dtype or index does not fit, where the message names the argument; or the executor is
            none.
    """
    indices = indices or {}
    batch, channels = sizes(map_, arguments, indices)
    if is_traced(arguments[0]):
        return record(map_, arguments, indices, executor)
    chosen = executor or default_executor(arguments[0])
    if isinstance(chosen, type) or not hasattr(chosen, "run"):
        raise ConfigError(f"Multilinear: expected an executor such as Reference() or Cpu(), got {chosen!r}")
    return _Evaluate.apply(map_, indices, batch, channels, chosen, *arguments)  # type: ignore[no-any-return]


class _Evaluate(torch.autograd.Function):
    # The gradient of a map is another map, evaluated by this same function: so every order of derivative exists.
    @staticmethod
    def forward(
        ctx: Any,
        map_: Multilinear,
        indices: Mapping[str, Index],
        batch: int,
        channels: int,
        executor: Executor,
        *arguments: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*arguments)
        ctx.settings = (map_, indices, batch, channels, executor)
        return executor.run(map_, arguments, indices, batch, channels)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:  # type: ignore[override]
        map_, indices, batch, channels, executor = ctx.settings
        wanted = [i for i, needed in enumerate(ctx.needs_input_grad[5:]) if needed]
        given = [r for r, cotangent in enumerate(cotangents) if cotangent is not None]
        gradients: list[Tensor | None] = [None] * len(ctx.saved_tensors)
        if wanted and given:
            derivative = map_.derivative(wanted, given)
            values = _Evaluate.apply(
                derivative,
                indices,
                batch,
                channels,
                executor,
                *ctx.saved_tensors,
                *(cotangents[r] for r in given),
            )
            for argument, value in zip(wanted, values, strict=True):
                gradients[argument] = value
        return (None, None, None, None, None, *gradients)
