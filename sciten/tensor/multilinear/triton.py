"""The GPU executor: Triton kernels generated for each map, imported from the kernel cache and compiled at first use.

Kernels gather, multiply and scatter in one go. Scattered rows are added up by one program each, in sorted order, so
that results are the same in every run. On the CPU the same kernels run under Triton's interpreter, for tests.
"""

import importlib.util
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from sciten.errors import ConfigError, MissingExtraError, StorageError
from sciten.files import write_text
from sciten.tensor.compiler import cache_folder
from sciten.tensor.multilinear.description import Multilinear, Operand, Term
from sciten.tensor.multilinear.destinations import by_destination, complete
from sciten.tensor.multilinear.index import Index
from sciten.tensor.multilinear.layouts import has_blocks, through_components
from sciten.tensor.multilinear.triton_codegen import TritonKernel

#: Types in memory, and the type of sums and products.
_ACCUMULATORS = {
    torch.float64: torch.float64,
    torch.float32: torch.float32,
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
}
#: Rows with more elements than this are cut into pieces, lest few programs work while the others idle.
_LONG_ROW = 128
_ADD_UP = Multilinear((Operand(1),), (Operand(1, index="row"),), (Term(1.0, ((0, 0),), (0, 0)),))


def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache
def unavailable(device: torch.device) -> str | None:
    """Why Triton kernels cannot run on a device; None where they can."""
    if not _installed():
        return "triton is not installed (pip install sciten[triton])"
    if device.type == "cuda":
        if torch.version.hip is None and torch.cuda.get_device_capability(device) < (7, 0):
            return "Triton needs a GPU of compute capability 7.0 or higher"
        return None
    if device.type == "cpu":
        if _interpreted():
            return None
        return "Triton runs on the CPU only under TRITON_INTERPRET=1, set before triton is imported"
    return f"Triton does not serve {device.type}"


def unsupported(like: Tensor) -> str | None:
    """Why Triton kernels cannot run on tensors like this one; None where they can."""
    if like.dtype not in _ACCUMULATORS:
        return f"Triton kernels are for float64, float32, float16 and bfloat16, not {like.dtype}"
    return unavailable(like.device)


def available() -> bool:
    """Whether triton is installed and can run: a CUDA device is there, or the interpreter is switched on."""
    return unavailable(torch.device("cuda" if torch.cuda.is_available() else "cpu")) is None


@cache
def _interpreted() -> bool:
    # The mode is settled when triton is imported, whatever the variable says afterwards.
    import triton

    return not isinstance(triton.language.sum, triton.runtime.JITFunction)


@dataclass(frozen=True)
class Triton:
    """Runs a `Multilinear` by Triton kernels; float64, float32, and float16 and bfloat16 summed in float32.

    Results are deterministic. Maps are split into several kernels by components of their results: within these limits,
    float32 kernels of convolutions and contractions up to lmax = 3, and of their first two derivatives, compile for
    compute capability 9.0 without spilling registers, in about ten seconds each (once: Triton keeps them on disk).

    Attributes:
        max_terms: terms of one kernel; a component with more has a kernel of its own.
        max_sums: 32-bit registers for sums of a scattering kernel, half of what a thread has.
        tile: values of one tile for each warp, a power of two: 32 is one for each thread, and needs the fewest
            registers.
    """

    max_terms: int = 800
    max_sums: int = 128
    tile: int = 32

    def __post_init__(self) -> None:
        for name, value in (("max_terms", self.max_terms), ("max_sums", self.max_sums)):
            if value < 1:
                raise ConfigError(f"Triton: expected {name} of at least 1, got {value}")
        if self.tile < 32 or self.tile != _power_of_two(self.tile):
            raise ConfigError(f"Triton: expected tile to be a power of two from 32 on, got {self.tile}")

    def run(
        self,
        map_: Multilinear,
        arguments: Sequence[Tensor],
        indices: Mapping[str, Index],
        batch: int,
        channels: int,
    ) -> tuple[Tensor, ...]:
        """Results of the map.

        Raises:
            MissingExtraError: triton is not installed.
            ConfigError: the device or dtype is none that this executor serves.
        """
        _require_supported(arguments[0])
        if has_blocks(map_):
            return through_components(lambda m, a: self.run(m, a, indices, batch, channels), map_, arguments)
        return _Run(self, map_, [a.contiguous() for a in arguments], indices, batch, channels).results()


def _require_supported(argument: Tensor) -> None:
    if reason := unsupported(argument):
        error = ConfigError if _installed() else MissingExtraError
        raise error(
            f"Triton: cannot run on {argument.dtype} on {argument.device}: {reason}; or use executor=Reference()"
        )


@dataclass(frozen=True)
class _Segments:
    """Which batch elements each program of a scattering kernel adds up.

    Attributes:
        bounds: `[n + 1]`: where each segment begins, and the last one ends.
        order: the permutation that sorts the elements; None where they are sorted.
        rows: the index that adds segments up in rows; None where each segment is a row.
    """

    bounds: Tensor
    order: Tensor | None = None
    rows: Index | None = None

    def __len__(self) -> int:
        return len(self.bounds) - 1


@dataclass
class _Run:
    executor: Triton
    map_: Multilinear
    arguments: list[Tensor]
    indices: Mapping[str, Index]
    batch: int
    channels: int

    def results(self) -> tuple[Tensor, ...]:
        found: dict[int, Tensor] = {}
        device = self.arguments[0].device
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            for destination, members in by_destination(self.map_).items():
                found |= self._group(destination, members)
        return tuple(found[r] for r in range(len(self.map_.results)))

    def _group(self, destination: str | None, members: tuple[int, ...]) -> dict[int, Tensor]:
        segments = None if destination is None else self._segments(destination)
        buffers = {r: self._allocate(r, segments) for r in members}
        registers = self._accumulator.itemsize // 4 * self.executor.tile // 32
        sums = None if segments is None else max(1, self.executor.max_sums // registers)
        for outputs in _parts(self.map_, members, self.executor.max_terms, sums):
            self._launch(outputs, segments, buffers)
        return {r: self._finished(r, segments, buffer) for r, buffer in buffers.items()}

    @property
    def _accumulator(self) -> torch.dtype:
        return _ACCUMULATORS[self.arguments[0].dtype]

    @property
    def _lanes(self) -> int:
        """Channels of a tile."""
        lanes = min(self.executor.tile, _power_of_two(self.channels))
        while self.channels > lanes * 65535:  # as many blocks as a grid's second axis has
            lanes *= 2
        return lanes

    @property
    def _blocks(self) -> int:
        return max(1, -(-self.channels // self._lanes))

    def _segments(self, destination: str) -> _Segments:
        # About a thousand pieces occupy a GPU; shorter ones would only make more partial sums.
        length = max(32, _power_of_two(self.batch // 1024))
        if not destination:
            device = self.arguments[0].device
            bounds = torch.arange(0, self.batch + length, length, device=device).clamp_(max=self.batch)
            return _Segments(bounds)
        index = self.indices[destination]
        if index.longest <= _LONG_ROW:
            return _Segments(index.offsets, index.order)
        bounds, rows = index.pieces(length)
        return _Segments(bounds, index.order, rows)

    def _allocate(self, result: int, segments: _Segments | None) -> Tensor:
        operand = self.map_.results[result]
        rows = self.batch if segments is None else len(segments)
        shape = [rows, operand.components, self.channels if operand.channels else self._blocks]
        partial = (segments is not None and segments.rows is not None) or operand.shared
        partial |= not operand.channels and self._blocks > 1
        like = self.arguments[0]
        dtype = self._accumulator if partial else like.dtype
        return (torch.empty if complete(self.map_, result) else torch.zeros)(
            shape, dtype=dtype, device=like.device
        )

    def _launch(
        self,
        outputs: tuple[tuple[int, int], ...],
        segments: _Segments | None,
        buffers: Mapping[int, Tensor],
    ) -> None:
        summed = not all(self.map_.results[r].channels for r, _ in outputs)
        lanes = self._lanes
        # A tile is one value for each thread of a warp. Only small tiles along the batch are better joined: sums over
        # channels and segments of several warps would have to meet in shared memory.
        small = segments is None and lanes < self.executor.tile
        warps = 4 if small and not summed else 1
        elements = max(1, self.executor.tile * warps // lanes)
        kernel = TritonKernel(
            self.map_,
            outputs,
            scattered=segments is not None,
            ordered=segments is not None and segments.order is not None,
            single=elements == 1,
            exact=self.channels > 0 and self.channels % lanes == 0,
        )
        if segments is None:
            where: list[Any] = [self.batch]
            programs = -(-self.batch // elements)
        else:
            where = [segments.bounds, *([] if segments.order is None else [segments.order])]
            programs = len(segments)
        if not programs:
            return
        _function(kernel)[programs, self._blocks](
            *where,
            *(self.arguments[a] for a in kernel.arguments),
            *(self.indices[self.map_.arguments[a].index or ""].rows for a in kernel.gathered),
            *(buffers[r] for r in kernel.results),
            CHANNELS=self.channels,
            ELEMENTS=elements,
            LANES=lanes,
            ACC=_triton_type(self._accumulator),
            num_warps=warps,
            enable_fp_fusion=True,
        )

    def _finished(self, result: int, segments: _Segments | None, buffer: Tensor) -> Tensor:
        operand = self.map_.results[result]
        if not operand.channels:
            buffer = buffer[..., 0] if self._blocks == 1 else buffer.sum(-1)
        if operand.shared:
            buffer = buffer.sum(0)
        elif segments is not None and segments.rows is not None:
            rows = segments.rows
            flat = buffer.reshape(len(segments), 1, -1)
            run = _Run(self.executor, _ADD_UP, [flat], {"row": rows}, len(segments), flat.shape[-1])
            buffer = run.results()[0].view(rows.size, *buffer.shape[1:])
        return buffer.to(self.arguments[0].dtype)


def _power_of_two(least: int) -> int:
    return 1 << max(0, least - 1).bit_length()


@lru_cache(maxsize=4096)
def _parts(
    map_: Multilinear, members: tuple[int, ...], max_terms: int, max_sums: int | None
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """The (result, component) pairs that have terms, cut into parts of about equal numbers of terms."""
    counts = Counter(t.target for t in map_.terms if t.target[0] in members)
    limit = max_sums or max(1, len(counts))
    total = sum(counts.values())
    parts = max(1, -(-total // max_terms), -(-len(counts) // limit))
    share = -(-total // parts)
    return tuple(_cut(counts, share, max_terms, limit))


def _cut(
    counts: Mapping[tuple[int, int], int], share: int, max_terms: int, limit: int
) -> Iterator[tuple[tuple[int, int], ...]]:
    part: list[tuple[int, int]] = []
    terms = 0
    for output, count in sorted(counts.items()):
        # Each part comes as close to its share as whole components allow.
        enough = terms + count / 2 > share or terms + count > max_terms or len(part) == limit
        if part and enough:
            yield tuple(part)
            part, terms = [], 0
        part.append(output)
        terms += count
    if part:
        yield tuple(part)


@lru_cache(maxsize=4096)
def _function(kernel: TritonKernel) -> Any:
    return _imported(kernel.source()).kernel


def _imported(source: str) -> Any:
    """The module of a generated source, which Triton reads from disk: it is kept in the kernel cache."""
    name = f"triton_{sha256(source.encode()).hexdigest()[:32]}"
    path = cache_folder() / f"{name}.py"
    try:
        kept = path.read_text(encoding="utf-8") == source
    except (OSError, UnicodeDecodeError):
        kept = False
    if not kept:
        try:
            write_text(path, source)
        except StorageError as error:
            raise StorageError(f"{error}; set SCITEN_CACHE to a folder that can be written to") from error
    spec = importlib.util.spec_from_file_location(f"sciten_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _triton_type(dtype: torch.dtype) -> Any:
    import triton.language as tl

    return tl.float64 if dtype == torch.float64 else tl.float32
