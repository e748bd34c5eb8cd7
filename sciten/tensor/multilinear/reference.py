"""The plain executor: torch operations on any device and dtype. Slow, and the truth the fast ones are held to."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sciten.tensor.multilinear.description import Multilinear, Term
from sciten.tensor.multilinear.index import Index
from sciten.tensor.multilinear.layouts import has_blocks, through_components


class Reference:
    """Runs a `Multilinear` by gathering components, multiplying them, and adding up, term group by term group."""

    def run(
        self,
        map_: Multilinear,
        arguments: Sequence[Tensor],
        indices: Mapping[str, Index],
        batch: int,
        channels: int,
    ) -> tuple[Tensor, ...]:
        """Results of the map; shapes as its operands say. Differentiable by torch."""
        if has_blocks(map_):
            return through_components(lambda m, a: self.run(m, a, indices, batch, channels), map_, arguments)
        like = arguments[0]
        gathered = [_gather(map_, i, argument, indices) for i, argument in enumerate(arguments)]
        groups: dict[tuple[int, tuple[int, ...]], list[Term]] = defaultdict(list)
        for term in map_.terms:
            groups[term.target[0], tuple(a for a, _ in term.factors)].append(term)
        results = []
        for r, operand in enumerate(map_.results):
            total = like.new_zeros(batch, operand.components, channels if operand.channels else 1)
            for (target, pattern), terms in groups.items():
                if target == r:
                    total = total + self._group(map_, r, pattern, terms, gathered, total)
            results.append(_reduce(total, operand.channels, operand.shared, indices.get(operand.index or "")))
        return tuple(results)

    def _group(
        self,
        map_: Multilinear,
        result: int,
        pattern: tuple[int, ...],
        terms: list[Term],
        gathered: list[Tensor],
        like: Tensor,
    ) -> Tensor:
        def column(values: list[int]) -> Tensor:
            return torch.tensor(values, device=like.device)

        product = torch.tensor([t.coefficient for t in terms], dtype=like.dtype, device=like.device)[
            None, :, None
        ]
        for position, argument in enumerate(pattern):
            product = product * gathered[argument].index_select(
                1, column([t.factors[position][1] for t in terms])
            )
        if not map_.results[result].channels:
            product = product.sum(-1, keepdim=True)
        product = product.expand(like.shape[0], -1, like.shape[2])
        return torch.zeros_like(like).index_add(1, column([t.target[1] for t in terms]), product)


def _gather(map_: Multilinear, position: int, argument: Tensor, indices: Mapping[str, Index]) -> Tensor:
    operand = map_.arguments[position]
    rows = argument[None] if operand.shared else argument
    if operand.index is not None:
        rows = rows.index_select(0, indices[operand.index].rows)
    return rows if operand.channels else rows[..., None]


def _reduce(total: Tensor, channels: bool, shared: bool, index: Index | None) -> Tensor:
    if not channels:
        total = total[..., 0]
    if shared:
        return total.sum(0)
    if index is not None:
        return total.new_zeros(index.size, *total.shape[1:]).index_add(0, index.rows, total)
    return total
