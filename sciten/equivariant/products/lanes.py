"""Samples in the place of channels, for channelwise products of features that have none.

Executors run along channels. With a single one they would handle one number at a time, so that samples are laid along
that axis instead, some at once, filled up with zeros to whole blocks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sciten.tensor.multilinear import Executor, Multilinear, evaluate
from sciten.tensor.tracing import is_traced

#: Samples that are handled at once.
_LANES = 32
#: Terms times samples below which a CPU is done before samples would be laid out anew.
_FEW = 1 << 15


def evaluate_single(map_: Multilinear, arguments: Sequence[Tensor], executor: Executor | None) -> Tensor:
    """The one result of a map with channels everywhere, for features of a single channel.

    Args:
        map_: what to evaluate; its operands have no blocks and no indices.
        arguments: `[samples, components]` each, or `[components]` where the map shares them; the last is not shared.
        executor: who computes; by default the fastest one for the device.

    Returns:
        `[samples, components]`.
    """
    like = arguments[-1]
    rows, traced = like.shape[0], is_traced(like)
    if not traced and like.device.type == "cpu" and rows * len(map_.terms) < _FEW:
        return evaluate(map_, [a.unsqueeze(-1) for a in arguments], executor=executor)[0].squeeze(-1)
    # In a recorded program there are two blocks at least: a single one would be taken for a constant.
    blocks = rows // _LANES + 2 if traced else -(-rows // _LANES)
    packed = [_packed(a, rows, blocks) if a.ndim == 2 else a[:, None].expand(-1, _LANES) for a in arguments]
    (result,) = evaluate(map_, packed, executor=executor)
    result = result.permute(2, 0, 1).flatten(0, 1)
    # A slice would be compared with the number of rows, on which recorded programs must not depend.
    return result.index_select(0, torch.arange(rows, device=like.device)) if traced else result[:rows]


def _packed(tensor: Tensor, rows: int, blocks: int) -> Tensor:
    """`[samples, components]` to `[blocks, components, lanes]`."""
    padded = torch.nn.functional.pad(tensor, (0, 0, 0, blocks * _LANES - rows))
    return padded.view(_LANES, blocks, tensor.shape[1]).permute(1, 2, 0)
