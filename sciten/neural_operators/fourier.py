"""Truncated Fourier transforms of real fields on regular grids, with the channels last.

A field is a sum over frequencies k of c_k exp(2πi k·j / n) at the points j, so that coefficients do not depend on the
resolution: c = rfftn(field, norm="forward"). Of an axis with m modes the frequencies -(m // 2) ... (m - 1) // 2 are
kept; of the last axis, whose negative frequencies follow from the others, 0 ... m // 2.

Where few modes of short axes are kept, which is the rule for neural operators, products with the matrices of the
transforms are several times faster than FFTs: they compute what is kept only, read a field once for each axis, and
leave the numbers where the next product wants them. Coefficients are real tensors with an axis of parts, real and
imaginary, after the batch: `[batch, 2, *modes, channels]`.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import log2, prod

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.tracing import is_traced

#: Operations of a matrix product that take as long as one of an FFT (which is 2.5 n log2 n for n real numbers).
_FFT_COST = 12.0


def mode_shape(modes: Sequence[int]) -> tuple[int, ...]:
    """How many coefficients are kept along each axis."""
    return (*modes[:-1], modes[-1] // 2 + 1)


def require_resolution(name: str, grid: Sequence[int], modes: Sequence[int]) -> None:
    """Raise `ConfigError` unless the grid resolves the modes."""
    if any(n < m for n, m in zip(grid, modes, strict=True)):
        raise ConfigError(
            f"{name}: expected at least {' × '.join(map(str, modes))} points, one for each mode, got "
            f"{' × '.join(map(str, grid))}; use a finer grid or a model of fewer modes"
        )


def analyse(fields: Tensor, modes: Sequence[int], *, matrices: bool | None = None) -> Tensor:
    """Coefficients `[batch, 2, *modes, channels]` of fields `[batch, *grid, channels]`.

    Args:
        fields: real.
        modes: kept along each axis.
        matrices: whether by products with matrices or by FFT; by default what is cheaper.
    """
    grid = fields.shape[1:-1]
    if matrices is None:
        matrices = matrices_are_cheaper(grid, modes)
    if not matrices:
        return _analyse_by_fft(fields, modes)
    batch, channels = fields.shape[0], fields.shape[-1]
    found, kept, parts, shape = fields, 1, 1, mode_shape(modes)
    for axis in reversed(range(len(grid))):
        # [axes before, this axis, parts, modes so far and channels] -> [axes before, parts, this mode, ...]
        matrix = _matrix(_analysis_matrix, grid[axis], modes[axis], parts == 1, fields)
        found = torch.matmul(matrix, found.reshape(-1, grid[axis] * parts, kept * channels))
        kept, parts = kept * shape[axis], 2
    return found.reshape(batch, 2, *shape, channels)


def synthesise(
    coefficients: Tensor, modes: Sequence[int], grid: Sequence[int], *, matrices: bool | None = None
) -> Tensor:
    """Fields `[batch, *grid, channels]` of coefficients `[batch, 2, *modes, channels]`; as `analyse` otherwise."""
    if matrices is None:
        matrices = matrices_are_cheaper(grid, modes)
    if not matrices:
        return _synthesise_by_fft(coefficients, modes, grid)
    channels = coefficients.shape[-1]
    found, shape, rows = coefficients, mode_shape(modes), coefficients.shape[0]
    for axis, n in enumerate(grid):
        last = axis + 1 == len(grid)
        matrix = _matrix(_synthesis_matrix, n, modes[axis], last, coefficients)
        columns = found.reshape(rows, 2 * shape[axis], prod(shape[axis + 1 :]) * channels)
        found, rows = torch.matmul(matrix, columns), rows * n
    return found.reshape(coefficients.shape[0], *grid, channels)


def matrices_are_cheaper(grid: Sequence[int], modes: Sequence[int]) -> bool:
    """Whether products with matrices take fewer operations than an FFT, weighed by what those take.

    A program that is recorded for all numbers of points has FFTs, which need not know them.
    """
    if not all(isinstance(n, int) for n in grid):
        return False
    before, after, products = prod(grid), 1, 0
    for axis in reversed(range(len(grid))):
        before //= grid[axis]
        kept = mode_shape(modes)[axis]
        parts = 1 if axis + 1 == len(grid) else 2
        products += 2 * before * (grid[axis] * parts) * (2 * kept) * after
        after *= kept
    return products <= _FFT_COST * 2.5 * prod(grid) * log2(max(2, prod(grid)))


def _matrix(make: Callable[[int, int, bool], Tensor], n: int, m: int, last: bool, like: Tensor) -> Tensor:
    """What `make` gives, in the precision and on the device of `like`; kept for later calls."""
    if is_traced(like):  # what is made then has no values, or belongs to a graph
        return make(n, m, last).to(like.device, like.dtype)
    return _kept_matrix(make, n, m, last, like.dtype, like.device)


@lru_cache(maxsize=256)
def _kept_matrix(
    make: Callable[[int, int, bool], Tensor],
    n: int,
    m: int,
    last: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    with torch.inference_mode(False):  # where it was made first, or training could not use it
        return make(n, m, last).to(device, dtype)


def _analysis_matrix(n: int, m: int, real: bool) -> Tensor:
    """`[(part, mode), point]` for the last axis, whose input is real; `[(part, mode), (point, part)]` for others."""
    waves = _waves(n, _frequencies(m, real)) / n
    if real:
        parts = torch.stack([waves.real, -waves.imag])  # [part, mode, point]
        return parts.reshape(-1, n)
    # Parts of exp(-iφ) (a + ib).
    rows = torch.stack(
        [torch.stack([waves.real, waves.imag], -1), torch.stack([-waves.imag, waves.real], -1)]
    )
    return rows.reshape(-1, 2 * n)


def _synthesis_matrix(n: int, m: int, real: bool) -> Tensor:
    """`[point, (part, mode)]` for the last axis, whose output is real; `[(point, part), (part, mode)]` for others."""
    frequencies = _frequencies(m, real)
    waves = _waves(n, frequencies).mT  # [point, mode]
    if real:
        # A frequency stands for its negative too, but for zero and, with an even number of points, the highest.
        alone = (frequencies == 0) | (2 * frequencies == n)
        waves = waves * torch.where(alone, 1.0, 2.0)
        return torch.stack([waves.real, -waves.imag], 1).reshape(n, -1)
    to_real = torch.stack([waves.real, -waves.imag], 1)  # [point, part, mode]
    to_imaginary = torch.stack([waves.imag, waves.real], 1)
    return torch.stack([to_real, to_imaginary], 1).reshape(2 * n, -1)


def _frequencies(m: int, last: bool) -> Tensor:
    return torch.arange(m // 2 + 1) if last else torch.arange(m) - m // 2


def _waves(n: int, frequencies: Tensor) -> Tensor:
    """exp(2πi k j / n) for modes and points, complex128."""
    # Whole turns are left out in integers, which are exact.
    turns = (frequencies[:, None] * torch.arange(n)) % n
    angles = turns.to(torch.float64) * (2 * torch.pi / n)
    return torch.polar(torch.ones_like(angles), angles)


def _analyse_by_fft(fields: Tensor, modes: Sequence[int]) -> Tensor:
    axes = tuple(range(1, fields.ndim - 1))
    spectrum = torch.fft.rfftn(fields, dim=axes, norm="forward")
    for axis, m in zip(axes[:-1], modes, strict=False):
        places = _frequencies(m, False).to(fields.device) % spectrum.shape[axis]
        spectrum = spectrum.index_select(axis, places)
    spectrum = spectrum.narrow(axes[-1], 0, modes[-1] // 2 + 1)
    return torch.view_as_real(spectrum).movedim(-1, 1)


def _synthesise_by_fft(coefficients: Tensor, modes: Sequence[int], grid: Sequence[int]) -> Tensor:
    spectrum = torch.view_as_complex(coefficients.movedim(1, -1).contiguous())
    axes = tuple(range(1, spectrum.ndim - 1))
    for axis, (m, n) in enumerate(zip(modes[:-1], grid, strict=False), 1):
        places = _frequencies(m, False).to(spectrum.device) % n
        wider = spectrum.new_zeros(*spectrum.shape[:axis], n, *spectrum.shape[axis + 1 :])
        spectrum = wider.index_copy(axis, places, spectrum)
    return torch.fft.irfftn(spectrum, s=list(grid), dim=axes, norm="forward")
