"""Core shapes under a budget: how much better are the exact ones than the greedy ones, and what do they cost?"""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from sciten.tensor.decompose.core_shape import (
    ExactRanks,
    GreedyRanks,
    Method,
    core_shape,
    higher_order_singular_values,
)

#: Height, width, channels and frames.
SHAPE = (64, 64, 14, 20)
#: Numbers of the decomposition, of the 1,146,880 of the tensor.
BUDGETS = (500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000)
_METHODS: dict[str, Method] = {"greedy": GreedyRanks(), "exact": ExactRanks()}


def moving_gaussians(
    shape: tuple[int, int, int, int] = SHAPE, *, count: int = 12, noise: float = 1e-3, seed: int = 0
) -> Tensor:
    """A film in many channels: Gaussians that move, grow with the channel and change their colour, and noise.

    Args:
        shape: height, width, channels, frames.
        count: of Gaussians.
        noise: standard deviation, beside amplitudes of up to one.
        seed: of random numbers.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *sizes: int) -> Tensor:
        return low + (high - low) * torch.rand(*sizes, generator=generator, dtype=torch.float64)

    y, x, channel, time = (torch.linspace(0, 1, n, dtype=torch.float64) for n in shape)
    start, velocity = uniform(0, 1, 2, count, 1), uniform(-0.7, 0.7, 2, count, 1)
    centre = (start + velocity * time)[..., None, :, None]  # [axis, Gaussian, channel, frame, pixel]
    width = (uniform(0.03, 0.15, count, 1) * (1 + channel))[..., None, None]
    rows, columns = (
        torch.exp(-(((pixel - middle) / width) ** 2)) for pixel, middle in zip((y, x), centre, strict=True)
    )
    peak, spread = uniform(0, 1, count, 1), uniform(0.1, 0.4, count, 1)
    colour = torch.exp(-(((channel - peak) / spread) ** 2))
    film = torch.einsum("gc,gcty,gctx->yxct", colour, rows, columns)
    return film + noise * torch.randn(shape, generator=generator, dtype=torch.float64)


def measure(tensor: Tensor | None = None, budgets: Sequence[int] = BUDGETS) -> dict[str, Any]:
    """Core shapes of a tensor, by default the film, for each budget.

    Returns:
        `shape`, `singular_value_seconds`, and `rows` with the `budget`, and for `greedy` and `exact` the `ranks`, the
        `size`, the relative `error` of the decomposition, its `bound` by singular values, and the `seconds` that the
        choice took.
    """
    film = moving_gaussians() if tensor is None else tensor
    start = perf_counter()
    singular_values = higher_order_singular_values(film)
    seconds = perf_counter() - start
    rows = [
        {
            "budget": budget,
            **{name: _measured(film, singular_values, budget, method) for name, method in _METHODS.items()},
        }
        for budget in budgets
    ]
    return {"shape": list(film.shape), "singular_value_seconds": seconds, "rows": rows}


def _measured(film: Tensor, singular_values: list[Tensor], budget: int, method: Method) -> dict[str, Any]:
    start = perf_counter()
    found = core_shape(singular_values, budget, shape=film.shape, method=method)
    seconds = perf_counter() - start
    norm = float(film.norm())
    return {
        "ranks": list(found.ranks),
        "size": found.size,
        "error": float((found.decompose(film).full() - film).norm()) / norm,
        "bound": found.bound**0.5 / norm,
        "seconds": seconds,
    }
