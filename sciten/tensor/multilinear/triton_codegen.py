"""Triton for a `Multilinear`: straight-line arithmetic over tiles of batch elements and channels.

A kernel along the batch computes one tile, `[ELEMENTS, LANES]`, of every result and stores it. A kernel that scatters
gives each program one segment of the batch elements that are added up in the same row: it walks them in order, adds
up in registers and writes once, so that no atomics are needed and the result does not depend on the run. Sums and
products are accumulated in the type ACC, whatever the type in memory.

A result without channels is a sum over channels. Each block of channels writes its share, `[rows, components,
blocks]`, which the caller adds up: one block, the rule for narrow maps, leaves nothing to add, and several keep their
parallelism.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sciten.tensor.multilinear.description import Multilinear
from sciten.tensor.multilinear.factoring import Body, best_split


@dataclass(frozen=True)
class TritonKernel:
    """What to generate: some components of results that are scattered (or not) alike.

    Attributes:
        map_: the map.
        outputs: the (result, component) pairs that this kernel writes.
        scattered: whether results are added to rows that several batch elements share.
        ordered: whether the elements of a segment come in an order that is an argument of its own.
        single: whether a tile has one batch element, so that none lies beyond the last.
        exact: whether blocks of channels are full. Loads that need no mask save a fifth of all instructions.
    """

    map_: Multilinear
    outputs: tuple[tuple[int, int], ...]
    scattered: bool
    ordered: bool = False
    single: bool = False
    exact: bool = False

    @property
    def arguments(self) -> tuple[int, ...]:
        """The arguments that the kernel reads."""
        wanted = set(self.outputs)
        return tuple(sorted({a for t in self.map_.terms if t.target in wanted for a, _ in t.factors}))

    @property
    def gathered(self) -> tuple[int, ...]:
        """Those among them that are read through an index."""
        return tuple(a for a in self.arguments if self.map_.arguments[a].index is not None)

    @property
    def results(self) -> tuple[int, ...]:
        """The results that it writes to."""
        return tuple(sorted({result for result, _ in self.outputs}))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the kernel's run-time parameters, in order."""
        where = ("segments", *(("order",) if self.ordered else ())) if self.scattered else ("batch",)
        return (
            *where,
            *(f"a{a}" for a in self.arguments),
            *(f"i{a}" for a in self.gathered),
            *(f"r{r}" for r in self.results),
        )

    def source(self) -> str:
        """The source of a module with the Triton function `kernel`."""
        body = _Body(map_=self.map_, single=self.single, exact=self.exact)
        writer = _Scattered(body) if self.scattered else _Along(body)
        for result in self.results:
            components = [k for r, k in self.outputs if r == result]
            self._result(result, components, body, writer)
        template = _SCATTERED if self.scattered else _ALONG
        indent = "\n        " if self.scattered else "\n    "
        return template.format(
            # Compiling takes seconds: a size or address divisible by 16 is no reason to do it again.
            plain=", ".join(f'"{name}"' for name in self.parameters),
            parameters=", ".join(self.parameters),
            element=f"tl.load(order + j{body.mask(channels=False, other='0')})" if self.ordered else "j",
            outputs="\n    ".join(self._output(r) for r in self.results),
            before="\n    ".join(writer.before),
            pointers=indent.join(self._pointer(a, body) for a in self.arguments),
            lines=indent.join([*body.scalar_lines, *body.lines]),
            after="\n    ".join(writer.after),
        )

    def _result(self, result: int, components: Sequence[int], body: "_Body", writer: "_Along") -> None:
        channels = self.map_.results[result].channels
        vector, scalar = body.collect(self.map_, result, components)
        inner = best_split(vector)
        for k in components:
            # In this order a scalar sum is named before the vector sum that it may be added to.
            plain = body.horner(scalar[k], "T") if k in scalar else None
            wide = body.split_sum(vector[k], inner) if k in vector else None
            if channels and wide is not None:
                writer.wide(result, k, wide)
            else:
                writer.narrow(result, k, wide, plain)

    def _pointer(self, argument: int, body: "_Body") -> str:
        operand = self.map_.arguments[argument]
        row = "0" if operand.shared else "b"
        load = ""
        if operand.index is not None:
            load = f"g{argument} = tl.load(i{argument} + b{body.mask(channels=False, other='0')}); "
            row = f"g{argument}"
        width = f"{operand.components} * CHANNELS" if operand.channels else f"{operand.components}"
        offset = "" if operand.shared else f" + {row} * ({width})"
        return f"{load}p{argument} = a{argument}{offset}{' + c' if operand.channels else ''}"

    def _output(self, result: int) -> str:
        operand = self.map_.results[result]
        row = "segment" if self.scattered else "b"
        if operand.channels:
            return f"q{result} = r{result} + {row} * ({operand.components} * CHANNELS) + c"
        return f"q{result} = r{result} + {row} * ({operand.components} * blocks) + tl.program_id(1)"


@dataclass
class _Body(Body):
    """Statements of Triton: values with channels are tiles, those without are columns or, where shared, scalars."""

    map_: Multilinear = field(kw_only=True)
    single: bool = field(kw_only=True)
    exact: bool = field(kw_only=True)

    def mask(self, *, batch: bool = True, channels: bool = True, other: str | None = None) -> str:
        """The arguments of a load or store for elements that may lie beyond the batch or the channels."""
        batch, channels = batch and not self.single, channels and not self.exact
        if not (batch or channels):
            return ""
        name = "inside" if batch and channels else "in_batch" if batch else "in_channels"
        return f", mask={name}" + (f", other={other}" if other else "")

    def constant(self, kind: str, name: str, value: str) -> str:
        return f"{name} = {value}"

    def sum(self, kind: str, name: str, summands: Sequence[str]) -> list[str]:
        return [f"{name} = {summands[0]}", *(f"{name} += {summand}" for summand in summands[1:])]

    def literal(self, factor: float) -> str:
        # Beside a tensor a number takes that tensor's type without rounding to float32 in between.
        return repr(factor)

    def splat(self, kind: str, value: str) -> str:
        # A number on its own would become a float32 scalar.
        return value if value[0] in "sf" else f"tl.full([ELEMENTS, 1], {value}, ACC)"

    def load(self, name: str) -> None:
        argument, component = name[1:].split("_")
        shared = self.map_.arguments[int(argument)].shared
        if name[0] == "x":
            mask = self.mask(batch=not shared, other="0.0")
            self.lines.append(f"{name} = tl.load(p{argument} + {component} * CHANNELS{mask}).to(ACC)")
        else:
            mask = self.mask(batch=not shared, channels=False, other="0.0")
            self.scalar_lines.append(f"{name} = tl.load(p{argument} + {component}{mask}).to(ACC)")

    def store(self, result: int, place: str, value: str, mask: str) -> str:
        """The statement that stores a component."""
        return f"tl.store(q{result} + {place}, ({value}).to(r{result}.dtype.element_ty){mask})"

    def over_channels(self, value: str) -> str:
        """The sum of a tile over its channels, a column."""
        inside = value if self.exact else f"tl.where(in_channels, {value}, 0.0)"
        return f"tl.sum({inside}, 1, keep_dims=True)"


class _Along:
    """Writes each component of a result when it is there."""

    def __init__(self, body: _Body) -> None:
        self.body = body
        self.before: list[str] = []
        self.after: list[str] = []

    def wide(self, result: int, component: int, value: str) -> None:
        """Store a component with channels."""
        self.body.lines.append(self.body.store(result, f"{component} * CHANNELS", value, self.body.mask()))

    def narrow(self, result: int, component: int, wide: str | None, plain: str | None) -> None:
        """Store a component without channels: the sum over channels of `wide`, and `plain`."""
        shares = [self.body.over_channels(wide)] if wide is not None else []
        if plain is not None:
            shares.append(f"tl.where(leading, {plain}, 0.0)")
        name, mask = self.body.name("n"), self.body.mask(channels=False)
        self.body.lines.append(f"{name} = {' + '.join(shares)}")
        self.body.lines.append(self.body.store(result, f"{component} * blocks", name, mask))


class _Scattered(_Along):
    """Adds up each component over the elements of a segment, and writes it after the last."""

    def wide(self, result: int, component: int, value: str) -> None:
        """Add up a component with channels."""
        total, mask = self._add(f"{result}_{component}", "LANES", value), self.body.mask(batch=False)
        self.after.append(self.body.store(result, f"{component} * CHANNELS", total, mask))

    def narrow(self, result: int, component: int, wide: str | None, plain: str | None) -> None:
        """Add up a component without channels."""
        shares = []
        if wide is not None:
            shares.append(self.body.over_channels(self._add(f"{result}_{component}", "LANES", wide)))
        if plain is not None:
            total = self._add(f"{result}_{component}_plain", "1", plain)
            shares.append(f"tl.where(leading, {total}, 0.0)")
        name = self.body.name("n")
        self.after.append(f"{name} = {' + '.join(shares)}")
        self.after.append(self.body.store(result, f"{component} * blocks", name, ""))

    def _add(self, name: str, width: str, value: str) -> str:
        """Add a value to an accumulator; returns the expression for its total."""
        self.before.append(f"sum{name} = tl.zeros([ELEMENTS, {width}], ACC)")
        # Elements beyond the end of the segment hold zeros, but a shared operand may hold infinity.
        added = value if self.body.single else f"tl.where(in_batch, {value}, 0.0)"
        self.body.lines.append(f"sum{name} += {added}")
        return f"sum{name}" if self.body.single else f"tl.sum(sum{name}, 0, keep_dims=True)"


_HEAD = """\
import triton
import triton.language as tl


@triton.jit(do_not_specialize=[{plain}])
def kernel({parameters}, CHANNELS: tl.constexpr, ELEMENTS: tl.constexpr, LANES: tl.constexpr, ACC: tl.constexpr):
    c = tl.program_id(1) * LANES + tl.arange(0, LANES)[None, :]
    in_channels = c < CHANNELS
    leading = tl.program_id(1) == 0
    blocks = tl.num_programs(1)
"""

# Offsets are 64 bits wide: rows * components * channels may exceed 2**31.
_ALONG = (
    _HEAD
    + """\
    b = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)[:, None]
    in_batch = b < batch
    inside = in_batch & in_channels
    {outputs}
    {pointers}
    {lines}
"""
)

_SCATTERED = (
    _HEAD
    + """\
    segment = tl.program_id(0).to(tl.int64) + tl.arange(0, 1)[:, None]
    first = tl.load(segments + tl.program_id(0))
    last = tl.load(segments + tl.program_id(0) + 1)
    {outputs}
    {before}
    for start in range(first, last, ELEMENTS):
        j = start + tl.arange(0, ELEMENTS)[:, None]
        in_batch = j < last
        inside = in_batch & in_channels
        b = {element}
        {pointers}
        {lines}
    {after}
"""
)
