"""What every neural operator shares: channels, axes, the scales of its fields, and whether it works on patches."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import lcm
from typing import Any

import torch
from torch import Tensor, nn

from sciten.errors import ConfigError
from sciten.neural_operators.arguments import require_whole
from sciten.neural_operators.patching import MultigridPatching, patching_from
from sciten.neural_operators.resampling import resampled


class NeuralOperator(nn.Module, ABC):
    """A map from fields on a regular grid to fields on the same grid.

    Fields come and go in their own units: the model holds their means and standard deviations, and a subclass's
    `transform` sees numbers of order one. With `patching` it sees one patch after the other in the place of whole
    fields. Where this has levels, an operator of the next coarser grid answers first; its answer is interpolated, given
    to `transform` as further channels, and added to what `transform` finds.

    Args:
        in_channels: numbers at each point of the input.
        out_channels: numbers at each point of the output.
        periodic: for each axis, whether the domain is periodic. The n points of a periodic axis of length one lie at
            i / n, those of others at i / (n - 1), both ends included.
        input_scale: mean and standard deviation of each input channel; (0, 1) without.
        output_scale: the same of the outputs.
        positional_grid: whether `transform` is given the coordinates as its last channels, from 0 to 1 in the domain.
        patching: how fields are cut, or its description; its `periodic` is that of the operator.
        dtype: of the scales.

    Attributes:
        coarse: the operator of the next coarser grid, from scaled inputs to scaled outputs. A subclass makes one where
            `patching` has levels.
        patch_channels: of what `transform` is given.
        patch_periodic: for each axis, whether what it is given is periodic.
    """

    input_mean: Tensor
    input_std: Tensor
    output_mean: Tensor
    output_std: Tensor
    coarse: "NeuralOperator | None"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        periodic: Sequence[bool],
        input_scale: Sequence[tuple[float, float]] | None = None,
        output_scale: Sequence[tuple[float, float]] | None = None,
        positional_grid: bool = False,
        patching: MultigridPatching | Mapping[str, Any] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        require_whole(name, in_channels=in_channels, out_channels=out_channels)
        if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise ConfigError(f"{name}: expected a dtype of real numbers, as torch.float32, got {dtype!r}")
        if not 1 <= len(periodic) <= 3:
            raise ConfigError(f"{name}: expected one to three axes, got periodic={tuple(periodic)}")
        self.in_channels, self.out_channels = int(in_channels), int(out_channels)
        self.periodic = tuple(bool(p) for p in periodic)
        self.positional_grid = positional_grid
        self.patching = None if patching is None else patching_from(patching, self.periodic)
        self.patch_periodic = self.periodic if self.patching is None else self.patching.patch_periodic
        answered = self.patching is not None and self.patching.levels > 0
        places = len(self.periodic) if positional_grid else 0
        self.patch_channels = in_channels + (out_channels if answered else 0) + places
        self.coarse = None
        for kind, count, scale in (
            ("input", in_channels, input_scale),
            ("output", out_channels, output_scale),
        ):
            pairs = [(0.0, 1.0)] * count if scale is None else scale
            try:
                values = torch.tensor([[float(x) for x in pair] for pair in pairs], dtype=dtype)
            except (TypeError, ValueError):
                values = torch.empty(0)
            if values.shape != (count, 2) or not bool((values[:, 1] > 0).all() and values.isfinite().all()):
                raise ConfigError(
                    f"{name}: expected {kind}_scale as a mean and a positive standard deviation for each of {count} "
                    f"channels, got {scale}"
                )
            self.register_buffer(f"{kind}_mean", values[:, 0].clone())
            self.register_buffer(f"{kind}_std", values[:, 1].clone())

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values; `type(self)(**arguments())` has the same architecture."""

    @abstractmethod
    def transform(self, fields: Tensor) -> Tensor:
        """Scaled inputs `[batch, patch_channels, *grid]` to scaled outputs `[batch, out_channels, *grid]`."""

    @property
    def n_dims(self) -> int:
        """How many axes the grid has."""
        return len(self.periodic)

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and fields."""
        return self.input_mean.dtype

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.input_mean.device

    def forward(self, fields: Tensor) -> Tensor:
        """Fields `[batch, in_channels, *grid]` to fields `[batch, out_channels, *grid]`, in their own units.

        Raises:
            ConfigError: the number of axes or channels does not fit, or the numbers are not real.
        """
        self.require_fields(fields)
        scaled = (fields.to(self.dtype) - self._along(self.input_mean)) / self._along(self.input_std)
        return self._transformed(scaled) * self._along(self.output_std) + self._along(self.output_mean)

    def translations(self, grid: Sequence[int]) -> tuple[int, ...]:
        """For each axis, by how many points inputs are to be shifted for just the outputs to be shifted.

        Whole patches where an axis is cut, on the coarser grids too; 0 where nothing but the whole axis will do.
        """
        if self.positional_grid:
            return (0,) * self.n_dims
        counts = (1,) * self.n_dims if self.patching is None else self.patching.patches
        cut = zip(grid, counts, self.periodic, strict=True)
        units = tuple(
            (n // count if count > 1 else 1) if periodic and n % count == 0 else 0
            for n, count, periodic in cut
        )
        if self.patching is None or self.coarse is None:
            return units
        fewer = self.patching.coarser_grid(grid)
        return tuple(map(_common, units, self.coarse.translations(fewer), grid, fewer))

    def require_fields(self, fields: Tensor) -> None:
        """Raise `ConfigError` unless the model can take `fields`."""
        if not isinstance(fields, Tensor) or fields.is_complex():
            got = f"a tensor of {fields.dtype}" if isinstance(fields, Tensor) else type(fields).__name__
            raise ConfigError(
                f"{type(self).__name__}: expected fields as a tensor of real numbers, got {got}; use torch.as_tensor, "
                "and for complex fields two channels"
            )
        if fields.ndim != 2 + self.n_dims or fields.shape[1] != self.in_channels:
            raise ConfigError(
                f"{type(self).__name__}: expected fields of shape [batch, {self.in_channels}"
                f"{', points' * self.n_dims}], got {list(fields.shape)}; give it the channels and axes that it "
                "was made for, or make one for these"
            )

    def scales(self) -> dict[str, list[tuple[float, float]]]:
        """`input_scale` and `output_scale` for `arguments`."""
        return {
            "input_scale": _pairs(self.input_mean, self.input_std),
            "output_scale": _pairs(self.output_mean, self.output_std),
        }

    def _transformed(self, fields: Tensor) -> Tensor:
        grid, cutting = fields.shape[2:], self.patching
        given = [fields, *([self._coordinates(grid, fields)] if self.positional_grid else [])]
        if cutting is None:
            return self.transform(_joined(given))
        answer = self._coarse_answer(fields, cutting)
        if answer is not None:
            given.insert(1, answer)
        patches = _joined([cutting.patch(one) for one in given])
        del given  # coordinates of the whole grid
        found = cutting.stitch(cutting.apply(self.transform, patches), grid)
        return found if answer is None else answer + found

    def _coarse_answer(self, fields: Tensor, cutting: MultigridPatching) -> Tensor | None:
        if not cutting.levels:
            return None
        if self.coarse is None:
            raise ConfigError(
                f"{type(self).__name__}: expected an operator for coarser grids, as patching with levels="
                f"{cutting.levels} asks for, got none; set `coarse`, or take levels=0"
            )
        coarser = resampled(fields, cutting.coarser_grid(fields.shape[2:]), self.periodic)
        answer = self.coarse._transformed(coarser)  # of scaled fields, which have been checked
        return resampled(answer.to(self.dtype), fields.shape[2:], self.periodic)

    def _coordinates(self, grid: Sequence[int], like: Tensor) -> Tensor:
        """`[1, axes, *grid]`, from 0 to 1."""
        lines = [
            torch.arange(n, dtype=like.dtype, device=like.device) / max(1, n if periodic else n - 1)
            for n, periodic in zip(grid, self.periodic, strict=True)
        ]
        return torch.stack(torch.meshgrid(*lines, indexing="ij"))[None]

    def _along(self, channels: Tensor) -> Tensor:
        return channels.view(-1, *[1] * self.n_dims)


def _common(unit: int, coarse_unit: int, points: int, coarse_points: int) -> int:
    """Points of an axis that are whole units of both its grids; 0 where there are no fewer than it has."""
    theirs, rest = divmod(coarse_unit * points, coarse_points)
    found = 0 if rest else lcm(unit, theirs)
    return found if found < points else 0


def _joined(fields: Sequence[Tensor]) -> Tensor:
    """All channels; what is one field, or its patches, is taken for each of a batch. In memory, channels come last."""
    if len(fields) == 1:
        return fields[0]
    size = fields[0].shape[0]
    all_of_them = (
        one if one.shape[0] == size else one.repeat(size // one.shape[0], *[1] * (one.ndim - 1))
        for one in fields
    )
    return torch.cat([one.movedim(1, -1) for one in all_of_them], -1).movedim(-1, 1)


def _pairs(mean: Tensor, std: Tensor) -> list[tuple[float, float]]:
    return list(zip(mean.tolist(), std.tolist(), strict=True))
