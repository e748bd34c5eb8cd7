"""A tensor product as a short program.

Whatever the connection mode, the couplings themselves are one sparse channelwise map for all paths that run over
equally many channels. Multiplicities are brought to that form before it (repeated, paired, or mixed by the weights) and
mixed by the weights after it, which is a matrix product and stays one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.equivariant.irreps import Irreps
from sciten.equivariant.products.instructions import Instruction
from sciten.equivariant.products.lanes import evaluate_single
from sciten.equivariant.products.terms import coupling_terms, places
from sciten.tensor.multilinear import Executor, Multilinear, Operand, Term, evaluate


class _Weights:
    """The weights of a call by path, from the flat ones, `[weight_numel]` or `[batch, weight_numel]`."""

    def __init__(self, flat: Tensor, instructions: Sequence[Instruction]) -> None:
        self.batch = flat.shape[:-1]
        self._flat, self._instructions = flat, instructions
        self._paths: Sequence[Tensor] | None = None

    def of(self, path: int) -> Tensor:
        if self._paths is None:
            # Not a cached property, whose lock in Python 3.11 `torch.compile` cannot enter. Split, not sliced: the
            # gradient of a split is one concatenation, that of every slice a tensor full of zeros.
            self._paths = self._flat.split([ins.weight_numel for ins in self._instructions], dim=-1)
        return self._paths[path].reshape(*self.batch, *self._instructions[path].path_shape)

    def stacked(self, paths: Sequence[int]) -> Tensor:
        """Of paths with one weight for each channel: `[..., len(paths), channels]`."""
        if len(paths) == sum(ins.has_weight for ins in self._instructions):
            # All that there are, and paths ascend: they lie side by side already.
            return self._flat.unflatten(-1, (len(paths), -1))
        return torch.stack([self.of(path).flatten(len(self.batch)) for path in paths], dim=-2)


# How the channels of one input are laid out for a path, from a block [batch, 2l + 1, mul].


@dataclass(frozen=True)
class _Plain:
    """Its own channels."""

    def __call__(self, block: Tensor, weights: "_Weights") -> Tensor:
        return block


@dataclass(frozen=True)
class _Summed:
    """No channels: a single one, or their sum."""

    def __call__(self, block: Tensor, weights: "_Weights") -> Tensor:
        return block[..., 0] if block.shape[-1] == 1 else block.sum(-1)


@dataclass(frozen=True)
class _Outer:
    """One of the two factors of all pairs (u, v), which are numbered u-major."""

    times: int
    inner: bool

    def __call__(self, block: Tensor, weights: "_Weights") -> Tensor:
        return block.repeat(1, 1, self.times) if self.inner else block.repeat_interleave(self.times, dim=-1)


@dataclass(frozen=True)
class _Pairs:
    """One of the two factors of the pairs u < v."""

    side: int

    def __call__(self, block: Tensor, weights: "_Weights") -> Tensor:
        mul = block.shape[-1]
        return block[..., torch.triu_indices(mul, mul, 1, device=block.device)[self.side]]


@dataclass(frozen=True)
class _Mixed:
    """The channels of the other input: each a sum over these, weighted by a path's weights (u, v)."""

    path: int
    transposed: bool

    def __call__(self, block: Tensor, weights: "_Weights") -> Tensor:
        matrix = weights.of(self.path)
        return block @ (matrix.transpose(-1, -2) if self.transposed else matrix)


View = _Plain | _Summed | _Outer | _Pairs | _Mixed


@dataclass(frozen=True)
class _Path:
    """An instruction in terms of a channelwise product.

    Attributes:
        position: of the instruction.
        views: how the inputs are laid out.
        channels: over which the product runs.
        weighted: whether a weight per channel multiplies the product.
        after: how the channels of the product become those of the output: as they are, summed, or mixed by weights.
    """

    position: int
    instruction: Instruction
    views: tuple[View, View]
    channels: int
    weighted: bool = False
    after: str = "keep"


def _path(position: int, ins: Instruction, u: int, v: int) -> _Path:
    plain = _Path(position, ins, (_Plain(), _Plain()), u)
    mode, weighted = ins.connection_mode, ins.has_weight
    if mode in ("uvu<v", "u<vw"):
        pairs = replace(plain, views=(_Pairs(0), _Pairs(1)), channels=u * (u - 1) // 2)
        return replace(pairs, after="mix") if mode == "u<vw" else replace(pairs, weighted=weighted)
    if mode == "uuu":
        return replace(plain, weighted=weighted)
    if mode == "uuw":
        return replace(plain, after="mix" if weighted else "sum")
    narrow = {
        1: replace(plain, views=(_Summed(), _Plain()), channels=v),
        2: replace(plain, views=(_Plain(), _Summed())),
    }
    if mode == "uvu":
        if v == 1 or not weighted:
            return replace(narrow[2], weighted=weighted)
        return replace(plain, views=(_Plain(), _Mixed(position, transposed=True)))
    if mode == "uvv":
        if u == 1 or not weighted:
            return replace(narrow[1], weighted=weighted)
        return replace(plain, views=(_Mixed(position, transposed=False), _Plain()), channels=v)
    outer = replace(plain, views=(_Outer(v, inner=False), _Outer(u, inner=True)), channels=u * v)
    path = narrow[2] if v == 1 else narrow[1] if u == 1 else outer
    return replace(path, after="mix") if mode == "uvw" else replace(path, weighted=weighted)


@dataclass(frozen=True)
class _Output:
    """Rows of a kernel's result that belong to one entry of the output, `[2l + 1, paths, channels]` of them."""

    entry: int
    start: int
    size: int
    paths: tuple[_Path, ...]

    def read(self, block: Tensor, dim: int, weights: _Weights) -> Tensor:
        """The block of the entry, `[batch, 2l + 1, mul]`, from its rows."""
        after = self.paths[0].after
        if after == "keep":
            return block
        block = block.unflatten(1, (dim, len(self.paths))).flatten(2)
        if after == "sum":
            return block.sum(-1, keepdim=True)
        matrices = [weights.of(p.position) for p in self.paths]
        return block @ torch.cat([m.flatten(len(weights.batch), -2) for m in matrices], dim=-2)


@dataclass(frozen=True)
class _Kernel:
    """One channelwise map with what it reads and writes.

    Attributes:
        map_: arguments are the weights (where there are any) and the two inputs.
        sources: for each input the entries and views that lie one after the other in it; None where the map reads
            the features as they are.
        weighted: the paths whose weights are its first argument.
        channels: over which it runs; samples can take the place of a single one.
        outputs: where its results go; None where the result is the product as it is.
    """

    map_: Multilinear
    sources: tuple[tuple[tuple[int, View], ...] | None, ...]
    weighted: tuple[int, ...]
    channels: int
    outputs: tuple[_Output, ...] | None

    def run(
        self, features: tuple[Tensor, Tensor], blocks: "_Blocks", weights: _Weights, executor: Executor | None
    ) -> Tensor:
        arguments = []
        if self.weighted:
            arguments.append(weights.stacked(self.weighted))
        for side, sources in enumerate(self.sources):
            if sources is None:
                arguments.append(features[side])
            else:
                read = [view(blocks.of(side)[entry], weights) for entry, view in sources]
                arguments.append(torch.cat(read, dim=1))
        if self.channels > 1:
            return evaluate(self.map_, arguments, executor=executor)[0]
        # The axis of the one channel is left out; features that are read as they are do not have it.
        weight = [a.squeeze(-1) for a in arguments[:-2]]
        result = evaluate_single(self.map_, [*weight, *(a.flatten(1) for a in arguments[-2:])], executor)
        return result if self.outputs is None else result[..., None]


class _Blocks:
    """The entries of both inputs, from e3nn's layout, `[batch, mul (2l + 1)]` each, to `[batch, 2l + 1, mul]` views."""

    def __init__(self, features: tuple[Tensor, Tensor], irreps: tuple[Irreps, ...]) -> None:
        self._features, self._irreps = features, irreps
        self._found: dict[int, list[Tensor]] = {}

    def of(self, side: int) -> list[Tensor]:
        if side not in self._found:
            parts = self._features[side].split([entry.dim for entry in self._irreps[side]], dim=1)
            self._found[side] = [
                part.unflatten(1, (entry.mul, entry.ir.dim)).transpose(1, 2)
                for part, entry in zip(parts, self._irreps[side], strict=True)
            ]
        return self._found[side]


@dataclass(frozen=True)
class Program:
    """A tensor product of three lists of irreps.

    Attributes:
        irreps: of the inputs and the output.
        instructions: normalised.
        kernels: the channelwise maps, which together make the product.
    """

    irreps: tuple[Irreps, Irreps, Irreps]
    instructions: tuple[Instruction, ...]
    kernels: tuple[_Kernel, ...]

    @classmethod
    @lru_cache(maxsize=256)
    def of(
        cls,
        irreps: tuple[Irreps, Irreps, Irreps],
        instructions: tuple[Instruction, ...],
        *,
        shared_weights: bool,
    ) -> "Program":
        """The program of these instructions."""
        groups: dict[tuple[int, bool, bool], list[_Path]] = {}
        for position, ins in enumerate(instructions):
            path = _path(position, ins, irreps[0][ins.i_in1].mul, irreps[1][ins.i_in2].mul)
            if path.channels and ins.path_weight != 0:
                narrow = tuple(isinstance(view, _Summed) for view in path.views)
                groups.setdefault((path.channels, *narrow), []).append(path)  # type: ignore[arg-type]
        alone = len(groups) == 1
        kernels = tuple(_kernel(irreps, paths, shared_weights, alone) for paths in groups.values())
        return cls(irreps, instructions, kernels)

    def operations(self) -> int:
        """Multiplications and additions for one sample: the couplings, and the sums by which weights mix channels."""
        total = sum(kernel.map_.operations(1, kernel.channels) for kernel in self.kernels)
        for position, ins in enumerate(self.instructions):
            entries = [side[entry] for side, entry in zip(self.irreps, ins[:3], strict=True)]
            (u, v, w), dims = [entry.mul for entry in entries], [entry.ir.dim for entry in entries]
            path = _path(position, ins, u, v)
            mixed = sum(
                dim for view, dim in zip(path.views, dims[:2], strict=True) if isinstance(view, _Mixed)
            )
            total += 2 * u * v * mixed + (2 * path.channels * w * dims[2] if path.after == "mix" else 0)
        return total

    def run(self, x: Tensor, y: Tensor, flat_weights: Tensor, executor: Executor | None) -> Tensor:
        """`[batch, irreps_in1.dim]` and `[batch, irreps_in2.dim]` to `[batch, irreps_out.dim]`."""
        weights = _Weights(flat_weights, self.instructions)
        blocks = _Blocks((x, y), self.irreps)
        found: dict[int, Tensor] = {}
        for kernel in self.kernels:
            result = kernel.run((x, y), blocks, weights, executor)
            if kernel.outputs is None:
                return result
            parts = result.split([output.size for output in kernel.outputs], dim=1)
            for output, rows in zip(kernel.outputs, parts, strict=True):
                block = output.read(rows, self.irreps[2][output.entry].ir.dim, weights)
                found[output.entry] = found[output.entry] + block if output.entry in found else block
        # Sums over nothing: zeros that belong to the graph, so that a gradient of what no path reaches is there.
        zero = x[:, :0].sum(1, keepdim=True) + y[:, :0].sum(1, keepdim=True)
        pieces = [
            found[i].transpose(1, 2).flatten(1) if i in found else zero.expand(-1, entry.dim)
            for i, entry in enumerate(self.irreps[2])
        ]
        return torch.cat([zero[:, :0], *pieces], dim=1)


@dataclass(frozen=True)
class _Side:
    """How a kernel reads one input.

    Attributes:
        starts: first component of each entry and view.
        operand: the argument of the map.
        sources: as in `_Kernel`.
    """

    starts: dict[tuple[int, View], int]
    operand: Operand
    sources: tuple[tuple[int, View], ...] | None


def _side(irreps: Irreps, side: int, paths: Sequence[_Path]) -> _Side:
    channels, view = paths[0].channels, paths[0].views[side]
    single, narrow = channels == 1, isinstance(view, _Summed)
    if (
        all(path.views[side] == view for path in paths)
        and (view == _Plain() or (narrow and single))
        and all(entry.mul == channels for entry in irreps)
    ):
        starts, size = _in_order([(i, view) for i in range(len(irreps))], irreps)
        return _Side(starts, _operand(size, irreps, single), None)
    entries = [(path.instruction.i_in1, path.instruction.i_in2)[side] for path in paths]
    read = [(entry, path.views[side]) for entry, path in zip(entries, paths, strict=True)]
    starts, size = _in_order(list(dict.fromkeys(read)), irreps)
    return _Side(starts, Operand(size, channels=single or not narrow), tuple(starts))


def _operand(size: int, irreps: Irreps, single: bool) -> Operand:
    """Features as they are, in e3nn's layout, which of a single channel is that of their components."""
    return Operand(size, blocks=None if single else tuple(entry.ir.dim for entry in irreps))


def _in_order(sources: Sequence[tuple[int, View]], irreps: Irreps) -> tuple[dict[tuple[int, View], int], int]:
    """Where each source starts if they lie one after the other, and their length."""
    starts, size = {}, 0
    for source in sources:
        starts[source] = size
        size += irreps[source[0]].ir.dim
    return starts, size


def _result(
    irreps_out: Irreps, paths: Sequence[_Path], alone: bool
) -> tuple[Operand, tuple[_Output, ...], bool]:
    """The result of a kernel, what it holds for the entries of the output, and whether it is the product as it is."""
    outputs, size = _outputs(irreps_out, paths)
    channels = {entry.mul for entry in irreps_out}
    if not (alone and channels == {paths[0].channels} and all(path.after == "keep" for path in paths)):
        return Operand(size), outputs, False
    starts, size = _in_order([(i, _Plain()) for i in range(len(irreps_out))], irreps_out)
    placed = tuple(replace(output, start=starts[output.entry, _Plain()]) for output in outputs)
    return _operand(size, irreps_out, paths[0].channels == 1), placed, True


def _kernel(
    irreps: tuple[Irreps, Irreps, Irreps], paths: Sequence[_Path], shared_weights: bool, alone: bool
) -> _Kernel:
    left, right = (_side(irreps[side], side, paths) for side in (0, 1))
    weighted = tuple(path.position for path in paths if path.weighted)
    result, outputs, whole = _result(irreps[2], paths, alone)
    first = 1 if weighted else 0
    terms: list[Term] = []
    for output in outputs:
        for slot, path in enumerate(output.paths):
            ins = path.instruction
            degrees = [side[entry].ir.l for side, entry in zip(irreps, ins[:3], strict=True)]
            x0, y0 = left.starts[ins.i_in1, path.views[0]], right.starts[ins.i_in2, path.views[1]]
            slots, slot = (1, 0) if path.after == "keep" else (len(output.paths), slot)
            terms += coupling_terms(
                ins.path_weight * wigner_3j(*degrees),
                places(first, x0, 2 * degrees[0] + 1),
                places(first + 1, y0, 2 * degrees[1] + 1),
                places(0, output.start + slot, 2 * degrees[2] + 1, step=slots),
                factors=((0, weighted.index(path.position)),) if path.weighted else (),
            )
    weights = (Operand(len(weighted), shared=shared_weights),) if weighted else ()
    map_ = Multilinear((*weights, left.operand, right.operand), (result,), tuple(terms))
    sources = (left.sources, right.sources)
    return _Kernel(map_, sources, weighted, paths[0].channels, None if whole else outputs)


def _outputs(irreps_out: Irreps, paths: Sequence[_Path]) -> tuple[tuple[_Output, ...], int]:
    """Where the paths write: those of one entry that are treated alike afterwards side by side, order by order."""
    together: dict[tuple[int, str], list[_Path]] = {}
    for path in paths:
        together.setdefault((path.instruction.i_out, path.after), []).append(path)
    outputs = []
    size = 0
    for (entry, after), members in sorted(together.items(), key=lambda item: item[0]):
        rows = irreps_out[entry].ir.dim * (1 if after == "keep" else len(members))
        outputs.append(_Output(entry, size, rows, tuple(members)))
        size += rows
    return tuple(outputs), size
