"""C++ for a `Multilinear` on the CPU: straight-line arithmetic over blocks of channels, one batch element at a time.

What makes it fast: factors without channels (edge harmonics) are combined into scalars once per batch element;
sums that recur are computed once; what remains is a short chain of fused multiply-adds on registers full of channels.
Nothing of the size [batch, terms, channels] is ever written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sciten.tensor.multilinear import looped
from sciten.tensor.multilinear.description import Multilinear, Operand
from sciten.tensor.multilinear.factoring import Body, best_split


@dataclass
class _Body(Body):
    """Statements of C++: `V` is a register of channels, `T` a number."""

    channels: int = field(kw_only=True)
    width: int = field(kw_only=True)
    blocked: set[int] = field(
        kw_only=True
    )  # arguments that the loop has in local memory, component by component

    def constant(self, kind: str, name: str, value: str) -> str:
        return f"const {kind} {name} = {value};"

    def sum(self, kind: str, name: str, summands: Sequence[str]) -> list[str]:
        return [f"{kind} {name} = {summands[0]};", *(f"{name} += {summand};" for summand in summands[1:])]

    def literal(self, factor: float) -> str:
        return f"(T){factor!r}"

    def splat(self, kind: str, value: str) -> str:
        return f"splat<{kind}>({value})"

    def load(self, name: str) -> None:
        if name[0] == "x":
            argument, component = name[1:].split("_")
            if int(argument) in self.blocked:
                self.lines.append(f"const V {name} = load(l{argument} + {int(component) * self.width});")
                return
            self.lines.append(f"const V {name} = load(a{argument} + {int(component) * self.channels} + c);")


@dataclass(frozen=True)
class Kernel:
    """What to generate: results of one map that can be made in one walk along the batch.

    Attributes:
        map_: the map.
        results: which of its results: some along the batch, and some that are added up by one index or in one row.
        channels: number of channels, a constant of the generated code.
        double: float64 instead of float32.
        interpolated: whether argument 0 is a table of knots, interpolated at a position that comes as one more
            argument; it is then made in the first-level cache, batch element by batch element.
        consumed: the result that is the gradient of argument 0, handed on as the gradient of the position.
    """

    map_: Multilinear
    results: tuple[int, ...]
    channels: int
    double: bool
    interpolated: bool = False
    consumed: int | None = None

    def added(self, result: int) -> bool:
        """Whether a result is added to rows that several batch elements share."""
        operand = self.map_.results[result]
        return operand.shared or operand.index is not None

    @property
    def width(self) -> int:
        """Channels in one register block: the largest power of two that fits 64 bytes and divides the channels."""
        width = 8 if self.double else 16
        while self.channels % width:
            width //= 2
        return width

    def source(self) -> str:
        """The C++ source of the kernel."""
        blocked = {a for a, operand in enumerate(self.map_.arguments) if operand.blocks is not None}
        body = _Body(channels=self.channels, width=self.width, blocked=blocked)
        before: list[str] = []
        after: list[str] = []
        scalar_stores: list[str] = []
        constants: list[str] = []
        unroll = 1
        if looped.serves(self.map_, self.results):
            unroll = next(u for u in (4, 2, 1) if self.channels // self.width % u == 0)
            block = unroll * self.width
            code = looped.code(self.map_, self.results, self.channels, block, added=self.added)
            constants, before, body.lines, after = code.constants, code.before, code.loop, code.after
        else:
            for result in self.results:
                self._result(result, body, before, after, scalar_stores)
        used = sorted({a for t in self.map_.terms if t.target[0] in self.results for a, _ in t.factors})
        return _TEMPLATE.format(
            type="double" if self.double else "float",
            width=self.width,
            unroll=unroll,
            bytes=self.width * (8 if self.double else 4),
            channels=self.channels,
            scattered=int(any(map(self.added, self.results))),
            added=", ".join(str(int(self.added(r))) for r in self.results),
            n_results=len(self.results),
            sizes=", ".join("1" if r == self.consumed else str(self._row_size(r)) for r in self.results),
            pointers="\n      ".join(self._pointer(a) for a in used),
            outputs="\n      ".join(self._output(i, r) for i, r in enumerate(self.results)),
            scalars="\n      ".join(body.scalar_lines + scalar_stores),
            before="\n      ".join(before),
            loop=self._loop(body.lines, used),
            after="\n      ".join(after + self._consume()),
            constants="\n".join(constants),
            interpolation=_INTERPOLATION.format(size=self._table_row()) if self.interpolated else "",
        )

    def _table_row(self) -> int:
        return self.map_.arguments[0].components * self.channels

    def _output(self, position: int, result: int) -> str:
        if result == self.consumed:
            written = {t.target[1] for t in self.map_.terms if t.target[0] == result}
            zero = "" if len(written) == self.map_.results[result].components else " = {}"
            return f"T r{result}[{self._table_row()}]{zero};"
        return f"T* r{result} = out[{position}];"

    def _consume(self) -> list[str]:
        if self.consumed not in self.results:
            return []
        position = self.results.index(self.consumed)
        return [
            f"out[{position}][0] = slope(arguments[0], last_knot, arguments[{len(self.map_.arguments)}][b], "
            f"r{self.consumed});"
        ]

    def _loop(self, lines: list[str], arguments: Sequence[int]) -> str:
        if not lines:
            return ""
        unpack = [
            line
            for a in arguments
            for line in self._moves(self.map_.arguments[a], f"l{a}", f"a{a}", "{local} = {outside};")
        ]
        pack: list[str] = []
        for r in self.results:
            operand = self.map_.results[r]
            if operand.blocks is not None:
                unpack.append(f"T o{r}[{operand.components} * U * W] = {{}};")
                assign = "+=" if self.added(r) else "="
                pack += self._moves(operand, f"o{r}", f"r{r}", f"{{outside}} {assign} {{local}};")[1:]
        inside = "\n        ".join([*unpack, *lines, *pack])
        return f"for (long c = 0; c < {self.channels}; c += U * W) {{\n        {inside}\n      }}"

    def _moves(self, operand: Operand, local: str, outside: str, statement: str) -> list[str]:
        """Between a row with blocks and local memory that holds U * W channels of each component side by side."""
        if operand.blocks is None:
            return []
        lines = [f"T {local}[{operand.components} * U * W];"]
        start = 0
        for length in operand.blocks:
            move = statement.format(
                local=f"{local}[({start} + m) * (U * W) + u]",
                outside=f"{outside}[{start * self.channels} + (c + u) * {length} + m]",
            )
            lines.append(f"for (int u = 0; u < U * W; ++u) for (int m = 0; m < {length}; ++m) {move}")
            start += length
        return lines

    def _row_size(self, result: int) -> int:
        return self.map_.results[result].row_size(self.channels)

    def _pointer(self, argument: int) -> str:
        operand = self.map_.arguments[argument]
        size = operand.row_size(self.channels)
        if argument == 0 and self.interpolated:
            return f"T a0[{size}]; interpolate(arguments[0], last_knot, arguments[{len(self.map_.arguments)}][b], a0);"
        row = "0" if operand.shared else f"rows[{argument}][b]" if operand.index is not None else "b"
        lines = [f"const T* a{argument} = arguments[{argument}] + {row} * {size};"]
        if not operand.channels:
            lines += [f"const T y{argument}_{i} = a{argument}[{i}];" for i in range(operand.components)]
        return " ".join(lines)

    def _result(
        self, result: int, body: _Body, before: list[str], after: list[str], scalar_stores: list[str]
    ) -> None:
        vector, scalar = body.collect(self.map_, result)
        has_channels = self.map_.results[result].channels
        added = self.added(result)
        assign = "+=" if added else "="
        inner = best_split(vector)
        components = sorted(set(vector) | set(scalar))
        for k in components:
            total = None
            if k in vector:
                total = body.split_sum(vector[k], inner)
            if self.map_.results[result].blocks is not None:
                body.lines.append(f"store(o{result} + {k * self.width}, {total});")
                continue
            if has_channels:
                store = f"load(r{result} + {k * self.channels} + c) + {total}" if added else total
                body.lines.append(f"store(r{result} + {k * self.channels} + c, {store});")
                continue
            if k in scalar:
                value = body.horner(scalar[k], "T")
                scalar_stores.append(f"r{result}[{k}] {assign} {value};")
            if total is not None:
                before.append(f"V acc{result}_{k} = {{}};")
                body.lines.append(f"acc{result}_{k} += {total};")
                after.append(f"r{result}[{k}] {'+=' if k in scalar else assign} sum(acc{result}_{k});")


# Cubic Hermite interpolation between knots that hold values and slopes: [knot][value, slope][component][channel].
_INTERPOLATION = """\
static inline const T* knot(const T* table, long last, T position, T* t) {{
  // Beyond the ends the last interval is extended; NaN must not become an address.
  const long k = position >= 0 ? (position < last ? (long)position : last) : 0;
  *t = position - k;
  return table + k * {size} * 2;
}}
static inline void interpolate(const T* table, long last, T position, T* value) {{
  T t;
  const T* p = knot(table, last, position, &t);
  const T s = 1 - t, a = s * s * (1 + 2 * t), b = s * s * t, c = t * t * (3 - 2 * t), d = -t * t * s;
  for (long i = 0; i < {size}; i += W)
    store(value + i, a * load(p + i) + b * load(p + {size} + i)
                     + c * load(p + 2 * {size} + i) + d * load(p + 3 * {size} + i));
}}
static inline T slope(const T* table, long last, T position, const T* gradient) {{
  T t;
  const T* p = knot(table, last, position, &t);
  const T s = 1 - t, c = 6 * t * s, b = s * (1 - 3 * t), d = t * (3 * t - 2);
  V total = {{}};
  for (long i = 0; i < {size}; i += W)
    total += load(gradient + i) * (c * (load(p + 2 * {size} + i) - load(p + i))
                                   + b * load(p + {size} + i) + d * load(p + 3 * {size} + i));
  return sum(total);
}}
"""

_TEMPLATE = """\
#include <cstring>
typedef {type} T;
typedef T V __attribute__((vector_size({bytes}), aligned(sizeof(T)), may_alias));
enum {{ W = {width}, U = {unroll} }};
static inline V load(const T* p) {{ return *(const V*)p; }}
static inline void store(T* p, V v) {{ *(V*)p = v; }}
static inline T sum(V v) {{ T total = 0; for (int i = 0; i < W; ++i) total += v[i]; return total; }}
template <class X> static inline X splat(T s) {{ return X{{}} + s; }}
static const long sizes[] = {{{sizes}}};
static const bool added[] = {{{added}}};
{constants}
{interpolation}
// Batch elements first..last (in the order that sorts the scattered rows). A row that the previous chunk ends with
// is added up in `side` and joined afterwards, so that no two threads write to the same place.
static void chunk(long first, long last, const T* const* arguments, const long* const* rows, T* const* results,
                  const long* order, const long* scatter, T* const* side, long last_knot) {{
  const long shared_row = {scattered} && first > 0 ? scatter[order ? order[first - 1] : first - 1] : -1;
  for (long n = first; n < last; ++n) {{
      const long b = order ? order[n] : n;
      T* out[{n_results}];
      const long row = {scattered} ? scatter[b] : b;
      for (int i = 0; i < {n_results}; ++i)
        out[i] = !added[i] ? results[i] + b * sizes[i] : row == shared_row ? side[i] : results[i] + row * sizes[i];
      {outputs}
      {pointers}
      {scalars}
      {before}
      {loop}
      {after}
  }}
}}

extern "C" void run(long batch, long threads, const T* const* arguments, const long* const* rows, T* const* results,
                    const long* order, const long* scatter, T* const* sides, long last_knot) {{
  #pragma omp parallel for num_threads(threads) schedule(static, 1) if (threads > 1)
  for (long t = 0; t < threads; ++t) {{
    const long first = batch * t / threads, last = batch * (t + 1) / threads;
    if (first < last)
      chunk(first, last, arguments, rows, results, order, scatter, sides + t * {n_results}, last_knot);
  }}
  if (!{scattered}) return;
  for (long t = 1; t < threads; ++t) {{
    const long first = batch * t / threads, last = batch * (t + 1) / threads;
    if (first == 0 || first == last) continue;
    const long row = scatter[order ? order[first - 1] : first - 1];
    for (int i = 0; i < {n_results}; ++i)
      for (long k = 0; added[i] && k < sizes[i]; ++k)
        results[i][row * sizes[i] + k] += sides[t * {n_results} + i][k];
  }}
}}
"""
