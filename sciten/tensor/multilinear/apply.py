"""Evaluating a `Multilinear` with derivatives of every order, on a chosen executor."""

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from sciten.errors import ConfigError
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


def evaluate(
    map_: Multilinear,
    arguments: Sequence[Tensor],
    indices: Mapping[str, Index] | None = None,
    *,
    executor: Executor | None = None,
) -> tuple[Tensor, ...]:
    """The results of `map_`, differentiable to any order.

    Args:
        map_: the map.
        arguments: one tensor for each of `map_.arguments`, `[rows, components, channels]` less its absent axes.
        indices: the gather and scatter indices that operands name.
        executor: who computes; by default the fastest one that the device has.

    Raises:
        ConfigError: a shape, dtype or index does not fit; the message names the argument.
    """
    indices = indices or {}
    batch, channels = sizes(map_, arguments, indices)
    chosen = executor or default_executor(arguments[0])
    return _Evaluate.apply(map_, indices, batch, channels, chosen, *arguments)  # type: ignore[no-any-return]


def default_executor(like: Tensor) -> Executor:
    """The fastest executor for tensors like this one; where that is plain torch, says once why."""
    from sciten.tensor.multilinear import cpu, triton

    if like.device.type == "cuda":
        reason = triton.unsupported(like)
        if reason is None:
            return triton.Triton()
    elif like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64):
        if cpu.available():  # says so itself where it is not
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


def sizes(map_: Multilinear, arguments: Sequence[Tensor], indices: Mapping[str, Index]) -> tuple[int, int]:
    """Batch and channels; raises `ConfigError` where arguments and indices do not fit the map and each other."""
    if len(arguments) != len(map_.arguments):
        raise ConfigError(f"Multilinear: expected {len(map_.arguments)} arguments, got {len(arguments)}")
    named = {operand.index for operand in (*map_.arguments, *map_.results) if operand.index is not None}
    if missing := named - set(indices):
        raise ConfigError(f"Multilinear: needs the index {', '.join(sorted(missing))}, which was not given")
    lengths = {name: len(indices[name]) for name in sorted(named)}
    if len(set(lengths.values())) > 1:
        raise ConfigError(f"Multilinear: expected indices of one length, the batch, got {lengths}")
    batch: int | None = next(iter(lengths.values()), None)
    device = arguments[0].device
    if foreign := [name for name in lengths if indices[name].rows.device != device]:
        raise ConfigError(
            f"Multilinear: expected the index {foreign[0]} on {device}, where the arguments are"
        )
    channels: int | None = None
    for position, (operand, argument) in enumerate(zip(map_.arguments, arguments, strict=True)):
        expected: list[int | None] = []
        if not operand.shared:
            if operand.index is None and batch is None and argument.ndim:
                batch = argument.shape[0]
            expected.append(batch if operand.index is None else indices[operand.index].size)
        expected.append(operand.components)
        if operand.channels:
            if channels is None and argument.ndim:
                channels = argument.shape[-1]
            expected.append(channels)
        kind = (arguments[0].dtype, device)
        if list(argument.shape) != expected or (argument.dtype, argument.device) != kind:
            raise ConfigError(
                f"Multilinear: expected argument {position} of shape {expected}, {kind[0]} on {kind[1]}, "
                f"got {list(argument.shape)}, {argument.dtype} on {argument.device}"
            )
    return batch if batch is not None else 1, channels if channels is not None else 1
