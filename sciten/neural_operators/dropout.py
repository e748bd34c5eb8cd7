"""Tensor dropout: parts of a factorised weight are left out at random, so that none relies on another.

Kolbeinsson et al., "Tensor Dropout for Robust Learning", IEEE J. Sel. Top. Signal Process. 15, 630 (2021): rank indices
are kept or dropped, each by itself with a Bernoulli variable, and what is kept is divided by the probability of being
kept. As the scales of different ranks are independent and of mean one, and a rebuilt weight is linear in each, the mean
of the rebuilt weight is the weight.

Factors are complex numbers as pairs, `[..., 2]`; an index is dropped with both parts. Where all indices of a rank are
dropped, the weight of that step is zero, which the mean needs: only the rest of the model (skip connections) is then
trained. That happens with probability p^r, often for small ranks: a rank of one is better given a probability of zero.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sciten.errors import ConfigError


def rank_scales(
    ranks: Sequence[int],
    probability: float | Sequence[float],
    like: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, ...]:
    """For each rank r a factor `[r]` of its indices: 0 with `probability`, otherwise 1 / (1 - probability).

    Args:
        ranks: of CP one, of Tucker one for each mode of the core, of a tensor train one for each bond.
        probability: of being dropped, for all ranks or for each.
        like: a tensor that has the dtype and device of the factors.
        generator: what is drawn from; without, torch's own.

    Raises:
        ConfigError: a probability is not in [0, 1), or there is not one for each rank.
    """
    return tuple(
        torch.empty(rank, dtype=like.dtype, device=like.device).bernoulli_(1 - dropped, generator=generator)
        / (1 - dropped)
        for rank, dropped in zip(ranks, _for_each(ranks, probability), strict=True)
    )


def drop_cp(weights: Tensor, scale: Tensor) -> Tensor:
    """The weights `[..., r, 2]` of outer products, or one factor `[..., n, r, 2]`, times the scale `[r]`.

    Raises:
        ConfigError: the scale has another length.
    """
    return _scaled("drop_cp", weights, -2, scale)


def drop_tucker(core: Tensor, scales: Sequence[Tensor]) -> Tensor:
    """A core `[..., r_1, ..., r_d, 2]` times the scales `[r_k]` of its modes; the factors stay as they are.

    Raises:
        ConfigError: a scale has another length, or there are more than the core has modes.
    """
    for k, scale in enumerate(scales):
        core = _scaled("drop_tucker", core, k - len(scales) - 1, scale)
    return core


def drop_tensor_train(cores: Sequence[Tensor], scales: Sequence[Tensor]) -> list[Tensor]:
    """Cores `[..., r_k, n_k, r_(k+1), 2]` with the scale of each inner bond in the core before it.

    Raises:
        ConfigError: a scale has another length, or there is not one for each inner bond.
    """
    if len(scales) != len(cores) - 1:
        raise ConfigError(
            f"drop_tensor_train: expected scales for the {len(cores) - 1} bonds between {len(cores)} cores, got "
            f"{len(scales)}"
        )
    scaled = [
        _scaled("drop_tensor_train", core, -2, scale) for core, scale in zip(cores, scales, strict=False)
    ]
    return [*scaled, cores[-1]]


def _for_each(ranks: Sequence[int], probability: float | Sequence[float]) -> list[float]:
    given = [probability] * len(ranks) if isinstance(probability, int | float) else list(probability)
    if len(given) != len(ranks):
        raise ConfigError(
            f"rank_scales: expected one probability for each of {len(ranks)} ranks, got {len(given)}"
        )
    for dropped in given:
        if not 0 <= dropped < 1:
            raise ConfigError(
                f"rank_scales: expected a probability from 0 to below 1 of being dropped, got {dropped}; at 1 nothing "
                "is left to train"
            )
    return given


def _scaled(name: str, factor: Tensor, axis: int, scale: Tensor) -> Tensor:
    if factor.ndim < -axis or scale.shape != factor.shape[axis : axis + 1]:
        raise ConfigError(
            f"{name}: expected scales as long as the ranks of a factor of shape {list(factor.shape)}, got "
            f"{list(scale.shape)} for axis {axis}"
        )
    return factor * scale.view(-1, *[1] * (-axis - 1))
