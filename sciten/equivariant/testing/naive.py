"""A `Multilinear` read literally: one term after the other, one component at a time. The truth for `Reference`."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sciten.tensor.multilinear import Index, Multilinear
from sciten.tensor.multilinear.description import Operand


def term_by_term(
    map_: Multilinear, arguments: Sequence[Tensor], indices: Mapping[str, Index], batch: int, channels: int
) -> tuple[Tensor, ...]:
    """The results of a map, differentiated by torch and not by the map's own derivatives.

    Args:
        map_: the map; operands in e3nn's layout (`blocks`) are not among what is tested with it.
        arguments: as for `evaluate`.
        indices: as for `evaluate`.
        batch: rows that terms are computed for.
        channels: of operands that have any.
    """
    columns = [
        _columns(operand, argument, indices)
        for operand, argument in zip(map_.arguments, arguments, strict=True)
    ]
    parts: dict[tuple[int, int], list[Tensor]] = {}
    for coefficient, factors, target in map_.terms:
        value = arguments[0].new_full((1, 1), coefficient)
        for argument, component in factors:
            value = value * columns[argument][component]
        width = channels if map_.results[target[0]].channels else value.shape[1]
        parts.setdefault(target, []).append(value.expand(batch, width))
    results = []
    for r, operand in enumerate(map_.results):
        zero = arguments[0].new_zeros(batch, channels if operand.channels else 1)
        sums = [zero] * operand.components
        for component in range(operand.components):
            for value in parts.get((r, component), []):
                more = value if operand.channels else value.sum(1, keepdim=True)
                sums[component] = sums[component] + more
        results.append(_added(operand, torch.stack(sums, 1), indices))
    return tuple(results)


def _columns(operand: Operand, argument: Tensor, indices: Mapping[str, Index]) -> Sequence[Tensor]:
    """The components for each element of the batch, `[batch or 1, channels or 1]` each."""
    rows = argument[None] if operand.shared else argument
    if operand.index is not None:
        rows = rows[indices[operand.index].rows]
    return (rows if operand.channels else rows[..., None]).unbind(1)


def _added(operand: Operand, values: Tensor, indices: Mapping[str, Index]) -> Tensor:
    """A result `[batch, components, channels]` less absent axes, rows added where they are scattered or shared."""
    values = values if operand.channels else values[..., 0]
    if operand.shared:
        return values.sum(0)
    if operand.index is None:
        return values
    index = indices[operand.index]
    received = torch.nn.functional.one_hot(index.rows, index.size).to(values)
    return torch.tensordot(received, values, dims=([0], [0]))
