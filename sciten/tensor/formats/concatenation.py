"""Tensors put one behind the other along a mode, exactly: each is extended by zeros, and all are added."""

import operator
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce, singledispatch
from typing import Any, TypeVar

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.formats.base import Format
from sciten.tensor.formats.cp import CP
from sciten.tensor.formats.tensor_train import TensorTrain
from sciten.tensor.formats.tree_tensor import TreeTensor
from sciten.tensor.formats.tucker import Tucker

F = TypeVar("F", bound=Format)


def concatenate(tensors: Sequence[F], mode: int) -> F:
    """The tensors one behind the other along a mode, as `torch.cat`; ranks add up.

    Args:
        tensors: in one format, of one dtype, device and batch, and trees of one tree; their lengths may differ in this
            mode alone.
        mode: from 0, or from the end if negative.

    Raises:
        ConfigError: there is none, they do not go together, or they are operators.
    """
    if not tensors:
        raise ConfigError("concatenate: expected at least one tensor, got none")
    first = tensors[0]
    d = len(first.modes)
    if not -d <= mode < d:
        raise ConfigError(f"concatenate: expected a mode from {-d} to {d - 1}, got {mode}")
    place = mode % d
    for other in tensors:
        if not isinstance(other, Format) or first.operator or other.operator:
            raise ConfigError(f"concatenate: expected vectors in a low-rank format, got {other!r:.120}")
        if _others(other, place) != _others(first, place):
            raise ConfigError(
                f"concatenate: expected equal modes but for mode {place}, got {first!r} and {other!r}"
            )
    lengths = [x.shape[place] for x in tensors]
    starts = [sum(lengths[:k]) for k in range(len(lengths))]
    extended = (
        _extended(x, place, start, sum(lengths) - start - x.shape[place])
        for x, start in zip(tensors, starts, strict=True)
    )
    total: F = reduce(operator.add, extended)
    return total


def _others(x: Format, mode: int) -> tuple[int, ...]:
    return (*x.shape[:mode], *x.shape[mode + 1 :])


@singledispatch
def _extended(x: Format, mode: int, before: int, after: int) -> Any:
    """The tensor with so many zeros before and after its entries along a mode."""
    raise ConfigError(
        f"concatenate: expected CP, Tucker, TensorTrain or TreeTensor, got a {type(x).__name__}"
    )


@_extended.register(CP)
@_extended.register(Tucker)
def _(x: CP | Tucker, mode: int, before: int, after: int) -> CP | Tucker:
    return replace(x, factors=_padded(x.factors, mode, before, after))


@_extended.register
def _(x: TensorTrain, mode: int, before: int, after: int) -> TensorTrain:
    return TensorTrain(_padded(x.cores, mode, before, after))


@_extended.register
def _(x: TreeTensor, mode: int, before: int, after: int) -> TreeTensor:
    return TreeTensor(x.tree, _padded(x.cores, x.tree.leaves[mode], before, after))


def _padded(cores: Sequence[Tensor], place: int, before: int, after: int) -> tuple[Tensor, ...]:
    core = cores[place]
    head, tail = (core.new_zeros(*core.shape[:-2], n, core.shape[-1]) for n in (before, after))
    return (*cores[:place], torch.cat([head, core, tail], -2), *cores[place + 1 :])
