"""A tensor product as a short program.

Whatever the connection mode, the couplings themselves are one sparse channelwise map for all paths that run over
equally many channels. Multiplicities are brought to that form before it (repeated, paired, or mixed by the weights) and
mixed by the weights after it, which is a matrix product and stays one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from sciten.equivariant.clebsch_gordan import wigner_3j
from sciten.equivariant.irreps import Irreps
from sciten.equivariant.products.instructions import Instruction
from sciten.tensor.multilinear import Executor, Multilinear, Operand, Term, evaluate


@dataclass(frozen=True)
class _Weights:
    """The flat weights of a call, `[weight_numel]` or `[batch, weight_numel]`, by path."""

    flat: Tensor
    instructions: tuple[Instruction, ...]

    def of(self, path: int) -> Tensor:
        start = sum(ins.weight_numel for ins in self.instructions[:path])
        shape = self.instructions[path].path_shape
        return self.flat.narrow(-1, start, prod(shape)).reshape(*self.flat.shape[:-1], *shape)


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
    paths: tuple[_Path, ...]

    def read(self, result: Tensor, dim: int, weights: _Weights) -> Tensor:
        """The block of the entry, `[batch, 2l + 1, mul]`."""
        after, slots = self.paths[0].after, 1 if self.paths[0].after == "keep" else len(self.paths)
        block = result[:, self.start : self.start + dim * slots]
        if after == "keep":
            return block
        block = block.reshape(block.shape[0], dim, slots * block.shape[-1])
        if after == "sum":
            return block.sum(-1, keepdim=True)
        matrices = [weights.of(p.position) for p in self.paths]
        last = matrices[0].shape[-1]
        return block @ torch.cat([m.reshape(*weights.flat.shape[:-1], -1, last) for m in matrices], dim=-2)


@dataclass(frozen=True)
class _Kernel:
    """One channelwise map with what it reads and writes.

    Attributes:
        map_: arguments are the weights (where there are any) and the two inputs.
        sources: for each input the entries and views that lie one after the other in it.
        weighted: the paths whose weights are its first argument.
        outputs: where its results go.
    """

    map_: Multilinear
    sources: tuple[tuple[tuple[int, View], ...], tuple[tuple[int, View], ...]]
    weighted: tuple[int, ...]
    outputs: tuple[_Output, ...]

    def run(
        self, inputs: tuple[list[Tensor], list[Tensor]], weights: _Weights, executor: Executor | None
    ) -> Tensor:
        arguments = []
        if self.weighted:
            channels = [weights.of(path).flatten(weights.flat.ndim - 1) for path in self.weighted]
            arguments.append(torch.stack(channels, dim=-2))
        for blocks, sources in zip(inputs, self.sources, strict=True):
            read = [view(blocks[entry], weights) for entry, view in sources]
            arguments.append(torch.cat(read, dim=1))
        (result,) = evaluate(self.map_, arguments, executor=executor)
        return result


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
        kernels = tuple(_kernel(irreps, paths, shared_weights) for paths in groups.values())
        return cls(irreps, instructions, kernels)

    def run(self, x: Tensor, y: Tensor, flat_weights: Tensor, executor: Executor | None) -> Tensor:
        """`[batch, irreps_in1.dim]` and `[batch, irreps_in2.dim]` to `[batch, irreps_out.dim]`."""
        weights = _Weights(flat_weights, self.instructions)
        inputs = (_blocks(x, self.irreps[0]), _blocks(y, self.irreps[1]))
        found: dict[int, Tensor] = {}
        for kernel in self.kernels:
            result = kernel.run(inputs, weights, executor)
            for output in kernel.outputs:
                block = output.read(result, self.irreps[2][output.entry].ir.dim, weights)
                found[output.entry] = found[output.entry] + block if output.entry in found else block
        pieces = [
            found[i].transpose(1, 2).flatten(1) if i in found else x.new_zeros(x.shape[0], entry.dim)
            for i, entry in enumerate(self.irreps[2])
        ]
        return torch.cat(pieces, dim=1) if pieces else x.new_zeros(x.shape[0], 0)


def _blocks(x: Tensor, irreps: Irreps) -> list[Tensor]:
    """From e3nn's layout, `[batch, mul (2l + 1)]` for each entry, to `[batch, 2l + 1, mul]` views."""
    return [
        x[:, where].unflatten(1, (entry.mul, entry.ir.dim)).transpose(1, 2)
        for where, entry in zip(irreps.slices(), irreps, strict=True)
    ]


def _kernel(irreps: tuple[Irreps, Irreps, Irreps], paths: Sequence[_Path], shared_weights: bool) -> _Kernel:
    starts: tuple[dict[tuple[int, View], int], ...] = ({}, {})
    sizes = [0, 0]
    for path in paths:
        for side, entry in enumerate((path.instruction.i_in1, path.instruction.i_in2)):
            key = (entry, path.views[side])
            if key not in starts[side]:
                starts[side][key] = sizes[side]
                sizes[side] += irreps[side][entry].ir.dim
    weighted = tuple(path.position for path in paths if path.weighted)
    outputs, size = _outputs(irreps[2], paths)
    first = 1 if weighted else 0
    terms = []
    for output in outputs:
        for slot, path in enumerate(output.paths):
            ins = path.instruction
            entries = (irreps[0][ins.i_in1], irreps[1][ins.i_in2], irreps[2][ins.i_out])
            coupling = ins.path_weight * wigner_3j(*(entry.ir.l for entry in entries))
            x0, y0 = starts[0][ins.i_in1, path.views[0]], starts[1][ins.i_in2, path.views[1]]
            weight = ((0, weighted.index(path.position)),) if path.weighted else ()
            slots, slot = (1, 0) if path.after == "keep" else (len(output.paths), slot)
            terms += [
                Term(
                    float(coupling[i, j, k]),
                    (*weight, (first, x0 + int(i)), (first + 1, y0 + int(j))),
                    (0, output.start + int(k) * slots + slot),
                )
                for i, j, k in zip(*coupling.nonzero(), strict=True)
            ]
    arguments = [Operand(n, channels=not isinstance(paths[0].views[s], _Summed)) for s, n in enumerate(sizes)]
    if weighted:
        arguments.insert(0, Operand(len(weighted), shared=shared_weights))
    map_ = Multilinear(tuple(arguments), (Operand(size),), tuple(terms))
    return _Kernel(map_, (tuple(starts[0]), tuple(starts[1])), weighted, outputs)


def _outputs(irreps_out: Irreps, paths: Sequence[_Path]) -> tuple[tuple[_Output, ...], int]:
    """Where the paths write: those of one entry that are treated alike afterwards side by side, order by order."""
    together: dict[tuple[int, str], list[_Path]] = {}
    for path in paths:
        together.setdefault((path.instruction.i_out, path.after), []).append(path)
    outputs = []
    size = 0
    for (entry, after), members in sorted(together.items(), key=lambda item: item[0]):
        outputs.append(_Output(entry, size, tuple(members)))
        size += irreps_out[entry].ir.dim * (1 if after == "keep" else len(members))
    return tuple(outputs), size
