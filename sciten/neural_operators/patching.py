"""Multi-grid domain decomposition: fields in patches, and coarser grids for what is far from them.

After Kossaifi, Kovachki, Azizzadenesheli and Anandkumar, "Multi-Grid Tensorized Fourier Neural Operator for
High-Resolution PDEs", arXiv 2310.00120, the section on multi-grid domain decomposition: a model works on one patch at
a time, its memory is that of a patch, and what is far away still reaches it, at the resolution that its distance
deserves. There, coarser views of the surroundings are further channels of a patch. They lie over it at another scale,
which no convolution can undo; here an operator answers on the coarser grid, and its answer is interpolated to the
patch's points.
"""

import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from math import ceil, isfinite, prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sciten.errors import ConfigError
from sciten.neural_operators.windows import Windows
from sciten.tensor.tracing import is_traced

_LARGE = 1 << 12  # points; for fewer, giving memory back takes longer than it is worth


@dataclass(frozen=True)
class MultigridPatching:
    """How fields on a regular grid are cut into patches of equal shape, and put together again.

    With levels, an operator first answers on a coarser grid, which has half as many patches along each axis (rounded
    up) of just as many points, and so on for each level; an axis of one patch stays as it is, and has no padding. At
    the last possible level the grid is one patch. See `sciten.neural_operators.resampling` for how fields come from
    one grid to the other.

    Any number of points will do. Where it is not a multiple of the number of patches, some patches share a point with
    their neighbour, which comes from one of them when they are stitched.

    Args:
        patches: how many patches lie along each axis, one to three axes.
        levels: how many coarser grids there are.
        padding: what a patch has of its neighbours' points on either side, as a part of its own extent (rounded up to
            whole points, see `in_proportion`); cut off when patches are stitched. From 0 to 1.
        periodic: for each axis, whether it is periodic. Others are mirrored about their end points.
        at_a_time: how many patches a model is given at one time, out of all patches of a batch; without, all of them.
            In training only what goes into the model is then kept, and what happens in it is computed a second time in
            the backward pass, so that memory is that of so many patches. A model must not mix the members of a
            batch, as batch normalisation does.

    Raises:
        ConfigError: an argument is out of range, or a level would be no coarser than the one before.
    """

    patches: tuple[int, ...]
    levels: int = 1
    padding: float = 0.0
    periodic: tuple[bool, ...] = (True, True)
    at_a_time: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "patches", tuple(self.patches))
        object.__setattr__(self, "periodic", tuple(self.periodic))
        if not 1 <= len(self.patches) <= 3 or not all(isinstance(n, int) and n >= 1 for n in self.patches):
            raise ConfigError(
                "MultigridPatching: expected patches as one to three numbers of at least 1, one for each axis, got "
                f"{self.patches}"
            )
        if len(self.periodic) != len(self.patches):
            raise ConfigError(
                f"MultigridPatching: expected periodic as {len(self.patches)} truth values, one for each axis of "
                f"patches {self.patches}, got {self.periodic}"
            )
        if not (isfinite(self.padding) and 0 <= self.padding <= 1):
            raise ConfigError(
                f"MultigridPatching: expected padding from 0 to 1, a part of the patch, got {self.padding}"
            )
        if self.at_a_time is not None and not (isinstance(self.at_a_time, int) and self.at_a_time >= 1):
            raise ConfigError(
                f"MultigridPatching: expected at_a_time of at least 1 patch, got {self.at_a_time}"
            )
        self._require_levels()

    def _require_levels(self) -> None:
        most = (max(self.patches) - 1).bit_length()
        if not isinstance(self.levels, int) or self.levels < 0:
            raise ConfigError(f"MultigridPatching: expected levels of at least 0, got {self.levels}")
        if self.levels > most:
            raise ConfigError(
                f"MultigridPatching: expected at most {most} levels for patches {self.patches}, since the whole domain "
                f"is one patch of level {most}, got {self.levels}; take fewer levels or more patches"
            )

    def description(self) -> dict[str, Any]:
        """The arguments as JSON values, but for `periodic`, which is said by the model or by the data."""
        return {key: value for key, value in asdict(self).items() if key != "periodic"} | {
            "patches": list(self.patches)
        }

    @property
    def n_patches(self) -> int:
        """How many patches a field falls into."""
        return prod(self.patches)

    @property
    def patch_periodic(self) -> tuple[bool, ...]:
        """For each axis, whether a patch is periodic: where it is the whole axis."""
        return tuple(p and count == 1 for p, count in zip(self.periodic, self.patches, strict=True))

    def patch_shape(self, grid: Sequence[int]) -> tuple[int, ...]:
        """The shape of patches, padding included, of fields on a `grid` of so many points."""
        return tuple(windows.size for windows in self._windows(grid))

    def in_proportion(self, grid: Sequence[int]) -> tuple[bool, ...]:
        """For each axis, whether patches, padding included, are the same parts of the domain on all finer grids.

        Elsewhere they are to within the points that are rounded up to, and a model that was trained on one grid is the
        same on another only so far.
        """
        extents = (n if periodic else n - 1 for n, periodic in zip(grid, self.periodic, strict=True))
        return tuple(
            count == 1 or (extent % count == 0 and round(self.padding * extent / count, 9) % 1 == 0)
            for extent, count in zip(extents, self.patches, strict=True)
        )

    def coarser(self) -> "MultigridPatching":
        """How fields on the next coarser grid are cut; only with levels."""
        return replace(self, patches=tuple(-(-count // 2) for count in self.patches), levels=self.levels - 1)

    def coarser_grid(self, grid: Sequence[int]) -> tuple[int, ...]:
        """The points along each axis of the next coarser grid: as many fewer as there are fewer patches."""
        return tuple(-(-n * -(-count // 2) // count) for n, count in zip(grid, self.patches, strict=True))

    def grids(self, grid: Sequence[int]) -> list[tuple["MultigridPatching", tuple[int, ...]]]:
        """A grid and all coarser ones, each with how it is cut."""
        coarser = self.coarser().grids(self.coarser_grid(grid)) if self.levels else []
        return [(self, tuple(grid)), *coarser]

    def patch(self, x: Tensor) -> Tensor:
        """Fields `[B, C, *grid]` to patches `[B * n_patches, C, *patch_shape]`.

        Patches of a field follow each other, the last axis fastest.

        Raises:
            ConfigError: `x` has another number of axes, or fewer points than patches.
        """
        windows = self._windows(x.shape[2:])
        for k, own in enumerate(windows):
            x = own.cut(x, 2 + k)
        return _split(x, windows)

    def apply(self, function: Callable[[Tensor], Tensor], patches: Tensor) -> Tensor:
        """A function of patches `[B * n_patches, ...]`, `at_a_time` of them at one time."""
        if self.at_a_time is None:
            return function(patches)
        return torch.cat([_by_itself(function, some) for some in patches.split(self.at_a_time)])

    def stitch(self, y: Tensor, grid: Sequence[int]) -> Tensor:
        """Patches `[B * n_patches, C, *patch_shape]` of fields on `grid` to these fields, `[B, C, *grid]`.

        Raises:
            ConfigError: the shape of `y` does not belong to `grid`.
        """
        windows = self._windows(grid)
        self._require_patches(y, windows)
        fields = _join(y, windows)
        for k, own in enumerate(windows):
            fields = own.stitch(fields, 2 + k)
        return fields

    def _windows(self, grid: Sequence[int]) -> list[Windows]:
        if len(grid) != len(self.patches) or any(n < p for n, p in zip(grid, self.patches, strict=True)):
            raise ConfigError(
                f"MultigridPatching: expected a grid of {len(self.patches)} axes with at least {self.patches} points, "
                f"one for each patch, got {tuple(grid)}; take fewer patches or a finer grid"
            )
        return [
            Windows(n, count, self._halo(n, count, periodic), periodic)
            for n, count, periodic in zip(grid, self.patches, self.periodic, strict=True)
        ]

    def _halo(self, n: int, count: int, periodic: bool) -> int:
        extent = -(-n // count) - (0 if periodic else 1)
        return ceil(round(self.padding * extent, 9)) if count > 1 else 0  # 0.1 of 30 is 3.0000000000000004

    def _require_patches(self, y: Tensor, windows: Sequence[Windows]) -> None:
        shape = [own.size for own in windows]
        if y.ndim != 2 + len(windows) or list(y.shape[2:]) != shape or y.shape[0] % self.n_patches:
            grid = tuple(own.points for own in windows)
            raise ConfigError(
                f"MultigridPatching: expected patches of shape [a multiple of {self.n_patches}, channels, "
                f"{', '.join(map(str, shape))}] for grid {grid}, got {list(y.shape)}; the model must keep the "
                "number of points"
            )


def patching_from(
    description: MultigridPatching | Mapping[str, Any], periodic: Sequence[bool]
) -> MultigridPatching:
    """The patching that `MultigridPatching.description` describes, of a domain with these axes.

    Raises:
        ConfigError: it describes none, or one of another number of axes.
    """
    known = [f.name for f in fields(MultigridPatching) if f.name != "periodic"]
    if isinstance(description, MultigridPatching):
        description = description.description()
    if (
        not isinstance(description, Mapping)
        or not isinstance(description.get("patches"), Sequence)
        or set(description) - set(known)
    ):
        raise ConfigError(
            f"patching: expected patches, a number for each axis, and, of {', '.join(known[1:])}, any, got "
            f"{description}"
        )
    values = dict(description)
    if len(values["patches"]) != len(periodic):
        raise ConfigError(
            f"patching: expected patches as {len(periodic)} numbers, one for each axis, got "
            f"{list(values['patches'])}"
        )
    return MultigridPatching(**values, periodic=tuple(periodic))


def _by_itself(function: Callable[[Tensor], Tensor], patches: Tensor) -> Tensor:
    """A function of patches of which nothing is kept, for the backward pass to compute it again."""
    if not torch.is_grad_enabled():
        result = function(patches)
    else:
        result = checkpoint(function, patches, use_reentrant=False)
    if result.device.type == "cpu" and not is_traced(result) and result[:, 0].numel() >= _LARGE:
        if result.requires_grad:
            result.register_hook(lambda _: _give_back())  # what the patches after these have left
        _give_back()
    return result


def _give_back() -> None:
    """Hand memory that was freed back to the system.

    glibc keeps it in pieces that the next tensors, which it aligns, do not fit into: a step would need several times
    the memory of its tensors.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's function of that name; None on other systems."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def _split(x: Tensor, windows: Sequence[Windows]) -> Tensor:
    """`[B, C, count · size of each axis]` to `[B * patches, C, *sizes]`."""
    d = len(windows)
    x = x.reshape(*x.shape[:2], *(n for own in windows for n in (own.count, own.size)))
    return x.permute(0, *range(2, 2 + 2 * d, 2), 1, *range(3, 3 + 2 * d, 2)).flatten(0, d)


def _join(y: Tensor, windows: Sequence[Windows]) -> Tensor:
    """The inverse of `_split`."""
    d, counts = len(windows), [own.count for own in windows]
    y = y.reshape(y.shape[0] // prod(counts), *counts, *y.shape[1:])
    pairs = (k for axis in range(d) for k in (1 + axis, 2 + d + axis))
    return y.permute(0, 1 + d, *pairs).reshape(
        y.shape[0], y.shape[1 + d], *(own.count * own.size for own in windows)
    )
