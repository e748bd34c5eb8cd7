"""An argument that is a tabulated function of one number per batch element, evaluated where it is consumed.

The path weights of a convolution are such functions of the edge length once a model's weights are fixed. Interpolating
them inside the kernel saves the radial network and the largest array of the whole model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sciten.tensor.multilinear import cpu
from sciten.tensor.multilinear.apply import evaluate
from sciten.tensor.multilinear.description import Multilinear
from sciten.tensor.multilinear.executors import default_executor
from sciten.tensor.multilinear.index import Index
from sciten.tensor.multilinear.shapes import sizes


@dataclass(frozen=True)
class Table:
    """Values and slopes of a function of x at evenly spaced knots, for cubic Hermite interpolation.

    Attributes:
        knots: `[n_knots + 1, 2, components, channels]`: values, and slopes times the spacing. The last knot is there
            twice, so that a position rounded up to the end of the domain stays within.
        spacing: distance of neighbouring knots.
        error: largest deviation of a value from the function found between the knots (the first interval, next to
            zero, apart), relative to the largest value.
        slope_error: the same for slopes.
    """

    knots: Tensor
    spacing: float
    error: float
    slope_error: float

    @classmethod
    def of(
        cls,
        function: Callable[[Tensor], Tensor],
        end: float,
        *,
        tolerance: float,
        slope_tolerance: float,
        max_knots: int = 8192,
    ) -> "Table":
        """Tabulate a function `[n] -> [n, components, channels]` of float64 on [0, end].

        Knots are doubled in number until the errors, measured in float64 at and around the middle of every interval,
        where Hermite interpolation is worst, are within the tolerances (or `max_knots` is reached: see `error`).
        """
        count = 128
        while True:
            table = cls._with(function, end, count)
            if (table.error <= tolerance and table.slope_error <= slope_tolerance) or count >= max_knots:
                return table
            count *= 2

    @classmethod
    def _with(cls, function: Callable[[Tensor], Tensor], end: float, count: int) -> "Table":
        spacing = end / count
        x = torch.linspace(0, end, count + 1, dtype=torch.float64)
        x[0] = 1e-3 * spacing  # the function may hold 0/0 at zero itself, and cancel close to it
        values, slopes = _with_slope(function, x)
        knots = torch.stack([values, slopes * spacing], dim=1)
        table = cls(torch.cat([knots, knots[-1:]]), spacing, 0.0, 0.0)
        errors = [
            table._errors(function, (torch.arange(1, count) + shift).double()) for shift in (0.21, 0.5, 0.79)
        ]
        scale, slope_scale = values.abs().max().item(), slopes.abs().max().item()
        return cls(
            table.knots,
            spacing,
            max(e for e, _ in errors) / (scale or 1.0),
            max(e for _, e in errors) / (slope_scale or 1.0),
        )

    def _errors(self, function: Callable[[Tensor], Tensor], position: Tensor) -> tuple[float, float]:
        x = position * self.spacing
        exact, exact_slope = _with_slope(function, x)
        value, slope = _with_slope(self.at, position)
        return (
            (value - exact).abs().max().item(),
            (slope / self.spacing - exact_slope).abs().max().item(),
        )

    @property
    def end(self) -> float:
        """End of the domain, where the last true knot lies."""
        return (len(self.knots) - 2) * self.spacing

    def to(self, device: torch.device, dtype: torch.dtype) -> "Table":
        """The same table on another device, in another dtype."""
        return Table(self.knots.to(device, dtype), self.spacing, self.error, self.slope_error)

    def at(self, position: Tensor) -> Tensor:
        """Interpolated values `[n, components, channels]` at positions in units of the spacing; differentiable."""
        knot = position.detach().floor().long().clamp(0, len(self.knots) - 3)
        t = (position - knot)[:, None, None]
        low, high = self.knots[knot], self.knots[knot + 1]
        s = 1 - t
        return s * s * ((1 + 2 * t) * low[:, 0] + t * low[:, 1]) + t * t * (
            (3 - 2 * t) * high[:, 0] - s * high[:, 1]
        )


def _with_slope(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    value, slope = torch.func.jvp(function, (x,), (torch.ones_like(x),))  # type: ignore[misc]
    return value, slope


def evaluate_interpolated(
    map_: Multilinear,
    table: Table,
    x: Tensor,
    others: Sequence[Tensor],
    indices: Mapping[str, Index] | None = None,
) -> tuple[Tensor, ...]:
    """As `evaluate`, with argument 0 the table's values at `x`, `[batch]`, each within the table's domain.

    On the CPU the values stay in the cache, and the results can be differentiated once; elsewhere they are written out.
    """
    indices = indices or {}
    position = x / table.spacing
    sizes(map_, [table.knots[0, 0].expand(len(x), -1, -1), *others], indices)
    if isinstance(default_executor(table.knots), cpu.Cpu):
        return _Interpolated.apply(map_, table.knots, indices, position, *others)  # type: ignore[no-any-return]
    return evaluate(map_, [table.at(position), *others], indices)


class _Interpolated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        map_: Multilinear,
        knots: Tensor,
        indices: Mapping[str, Index],
        position: Tensor,
        *others: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(knots, position, *others)
        ctx.settings = (map_, indices)
        return cpu.Cpu().run_interpolated(map_, knots, position, others, indices)

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        map_, indices = ctx.settings
        knots, position, *others = ctx.saved_tensors
        wanted = [i for i, needed in enumerate(ctx.needs_input_grad[3:]) if needed]
        gradients: list[Tensor | None] = [None] * (1 + len(others))
        consumed = wanted.index(0) if 0 in wanted else None
        values = cpu.Cpu().run_interpolated(
            map_.derivative(wanted), knots, position, [*others, *cotangents], indices, consumed=consumed
        )
        for argument, value in zip(wanted, values, strict=True):
            gradients[argument] = value[:, 0] if argument == 0 else value
        return (None, None, None, *gradients)
