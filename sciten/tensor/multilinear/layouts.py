"""Blocked layouts (see `Operand.blocks`) for executors that know only `[rows, components, channels]`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from sciten.tensor.multilinear.description import Multilinear, Operand


def through_components(
    run: Callable[[Multilinear, list[Tensor]], tuple[Tensor, ...]],
    map_: Multilinear,
    arguments: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """What `run` gives for the same map without blocks, laid out as the map says."""
    unpacked = [_unpack(operand, a) for operand, a in zip(map_.arguments, arguments, strict=True)]
    results = run(_plain(map_), unpacked)
    return tuple(_pack(operand, result) for operand, result in zip(map_.results, results, strict=True))


def has_blocks(map_: Multilinear) -> bool:
    """Whether any operand has blocks."""
    return any(operand.blocks is not None for operand in (*map_.arguments, *map_.results))


@lru_cache(maxsize=1024)
def _plain(map_: Multilinear) -> Multilinear:
    arguments, results = (
        tuple(replace(operand, blocks=None) for operand in operands)
        for operands in (map_.arguments, map_.results)
    )
    return Multilinear(arguments, results, map_.terms)


def _unpack(operand: Operand, tensor: Tensor) -> Tensor:
    if operand.blocks is None:
        return tensor
    channels = tensor.shape[-1] // operand.components
    parts = tensor.split([channels * length for length in operand.blocks], dim=-1)
    blocks = [
        p.unflatten(-1, (channels, n)).transpose(-1, -2) for p, n in zip(parts, operand.blocks, strict=True)
    ]
    return torch.cat(blocks, dim=-2)


def _pack(operand: Operand, tensor: Tensor) -> Tensor:
    if operand.blocks is None:
        return tensor
    return torch.cat([b.transpose(-1, -2).flatten(-2) for b in tensor.split(operand.blocks, dim=-2)], dim=-1)
