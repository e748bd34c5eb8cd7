"""The radial networks of a MACE model as tables, made at the first evaluation with fixed weights."""

import copy
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from sciten.tensor.multilinear.interpolation import Table

if TYPE_CHECKING:
    from sciten.potentials.mace.interaction import Interaction
    from sciten.potentials.mace.model import MACE

#: Relative to the largest path weight, and to its steepest slope: on a level with float32 rounding in the network.
TOLERANCE = 1e-6
SLOPE_TOLERANCE = 1e-5


class RadialTables:
    """Tables of one model's path weights over distance, made anew whenever a weight has changed."""

    def __init__(self) -> None:
        self._made_for: list[Tensor] = []
        self._tables: list[Table] = []

    def of(self, model: "MACE") -> list[Table]:
        """One table for each layer, on the model's device and in its dtype.

        Their errors are at most `TOLERANCE` and `SLOPE_TOLERANCE` unless the networks are extremely steep; what was
        reached stands in each table's `error` and `slope_error`.
        """
        layers = cast("list[Interaction]", model.interactions)
        # By value: writing through `.data` leaves no other trace, and these tensors are small.
        state = [p.detach() for layer in layers for p in layer.radial.parameters()]
        if not _same(state, self._made_for):
            with torch.no_grad():
                exact = copy.deepcopy(model.interactions).double().cpu()
            layers = cast("list[Interaction]", exact.requires_grad_(False))
            self._tables = [_tabulate(layer, model) for layer in layers]
            self._made_for = [p.clone() for p in state]
        return self._tables

    def __deepcopy__(self, memo: dict[int, Any]) -> "RadialTables":
        return RadialTables()  # a copy of a model has weights of its own


def _same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(
        x.dtype == y.dtype and x.device == y.device and torch.equal(x, y) for x, y in zip(a, b, strict=True)
    )


def _tabulate(layer: "Interaction", model: "MACE") -> Table:
    def path_weights(distances: Tensor) -> Tensor:
        return layer.path_weights(model.radial_basis(distances))

    table = Table.of(path_weights, model.cutoff, tolerance=TOLERANCE, slope_tolerance=SLOPE_TOLERANCE)
    return table.to(model.device, model.dtype)
