"""Radial networks as tables, made at the first evaluation with fixed weights."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sciten.tensor.multilinear.interpolation import Table

#: Relative to the largest weight of a path, and to its steepest slope: on a level with float32 rounding in the network.
TOLERANCE = 1e-6
SLOPE_TOLERANCE = 1e-5
Network = TypeVar("Network", bound=nn.Module)


class RadialTables:
    """Tables of one model's radial networks over distance, made anew whenever a weight has changed."""

    def __init__(self) -> None:
        self._made_for: list[Tensor] = []
        self._tables: list[Table] = []

    def of(
        self,
        networks: Sequence[Network],
        function: Callable[[Network, Tensor], Tensor],
        cutoff: float,
    ) -> list[Table]:
        """One table for each network, on its device and in its dtype.

        Their errors are at most `TOLERANCE` and `SLOPE_TOLERANCE` unless the networks are extremely steep; what was
        reached stands in each table's `error` and `slope_error`.

        Args:
            networks: their parameters decide whether the tables are still good.
            function: what is tabulated: a float64 copy of a network, and distances `[n]`, Å, to
                `[n, components, channels]`.
            cutoff: end of the tables, Å.
        """
        # By value: writing through `.data` leaves no other trace, and these tensors are small.
        state = [p.detach() for network in networks for p in network.parameters()]
        if not _same(state, self._made_for):
            self._tables = [_tabulate(network, function, cutoff) for network in networks]
            self._made_for = [p.clone() for p in state]
        return self._tables

    def __deepcopy__(self, memo: dict[int, Any]) -> "RadialTables":
        return RadialTables()  # a copy of a model has weights of its own


def _same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(
        x.dtype == y.dtype and x.device == y.device and torch.equal(x, y) for x, y in zip(a, b, strict=True)
    )


def _tabulate(network: Network, function: Callable[[Network, Tensor], Tensor], cutoff: float) -> Table:
    like = next(network.parameters())
    with torch.no_grad():
        exact = copy.deepcopy(network).double().requires_grad_(False)

    def tabulated(distances: Tensor) -> Tensor:
        return function(exact, distances.to(like.device)).cpu()

    table = Table.of(tabulated, cutoff, tolerance=TOLERANCE, slope_tolerance=SLOPE_TOLERANCE)
    return table.to(like.device, like.dtype)
