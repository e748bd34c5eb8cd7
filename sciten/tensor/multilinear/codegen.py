"""C++ for a `Multilinear` on the CPU: straight-line arithmetic over blocks of channels, one batch element at a time.

What makes it fast: factors without channels (edge harmonics) are combined into scalars once per batch element;
sums that recur are computed once; what remains is a short chain of fused multiply-adds on registers full of channels.
Nothing of the size [batch, terms, channels] is ever written.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import NamedTuple

from sciten.tensor.multilinear import looped
from sciten.tensor.multilinear.description import Multilinear


class _Summand(NamedTuple):
    """`factor * scalar * product of operands`; `scalar` names a channel-free sum, None stands for one."""

    factor: float
    scalar: int | None
    operands: tuple[str, ...]


_Key = tuple[_Summand, ...]


@dataclass
class _Body:
    """Statements of one kernel, in order, with what has been named so far."""

    channels: int
    scalar_lines: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    scalars: dict[tuple[tuple[float, tuple[str, ...]], ...], int] = field(default_factory=dict)
    scaled: dict[tuple[float, int], str] = field(default_factory=dict)
    sums: dict[_Key, str] = field(default_factory=dict)
    loaded: set[str] = field(default_factory=set)
    count: int = 0

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def scalar(self, terms: Sequence[tuple[float, tuple[str, ...]]]) -> tuple[float, int | None]:
        """Name a channel-free sum; returns the factor by which it differs from the named one."""
        ordered = sorted(terms, key=lambda term: term[1])
        if len(ordered) == 1 and not ordered[0][1]:
            return ordered[0][0], None
        lead = ordered[0][0]
        key = tuple((coefficient / lead, factors) for coefficient, factors in ordered)
        if key not in self.scalars:
            self.scalars[key] = len(self.scalars)
            value = _horner(
                [_Summand(f, None, operands) for f, operands in key], self, "T", self.scalar_lines
            )
            self.scalar_lines.append(f"const T s{self.scalars[key]} = {value};")
        return lead, self.scalars[key]

    def coefficient(self, factor: float, scalar: int | None) -> str:
        """The name of factor * scalar, or a literal."""
        if scalar is None:
            return f"(T){factor!r}"
        if factor == 1.0:
            return f"s{scalar}"
        if (factor, scalar) not in self.scaled:
            name = self.name("f")
            self.scaled[factor, scalar] = name
            self.scalar_lines.append(f"const T {name} = (T){factor!r} * s{scalar};")
        return self.scaled[factor, scalar]

    def operand(self, name: str) -> str:
        """Load a vector operand at its first use."""
        if name[0] == "x" and name not in self.loaded:
            self.loaded.add(name)
            argument, component = name[1:].split("_")
            self.lines.append(f"const V {name} = load(a{argument} + {int(component) * self.channels} + c);")
        return name

    def vector_sum(self, summands: Sequence[_Summand]) -> tuple[float, str]:
        """Name a sum over channels; returns the factor by which it differs from the named one."""
        factor, key = _normalised(summands)
        if len(key) == 1 and key[0].scalar is None and len(key[0].operands) == 1:
            return factor, key[0].operands[0]
        if key not in self.sums:
            self.sums[key] = _horner(key, self, "V", self.lines)
        return factor, self.sums[key]


def _normalised(summands: Sequence[_Summand]) -> tuple[float, _Key]:
    ordered = sorted(summands, key=lambda s: (s.operands, -1 if s.scalar is None else s.scalar))
    lead = ordered[0].factor
    # Rounding makes sums that agree up to an irrational factor agree to the letter.
    return lead, tuple(_Summand(round(s.factor / lead, 14), s.scalar, s.operands) for s in ordered)


def _horner(summands: Sequence[_Summand], body: _Body, kind: str, lines: list[str]) -> str:
    """Statements for a sum of products, the most frequent operand factored out again and again; returns its name."""
    counts = Counter(chain.from_iterable(set(s.operands) for s in summands))
    common, times = max(counts.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    if times < 2:
        return _plain_sum(summands, body, kind, lines)
    inside, outside = [], []
    for s in summands:
        if common in s.operands:
            position = s.operands.index(common)
            inside.append(s._replace(operands=s.operands[:position] + s.operands[position + 1 :]))
        else:
            outside.append(s)
    inner = _horner(inside, body, kind, lines)
    name = body.name("t")
    if outside:
        rest = _horner(outside, body, kind, lines)
        lines.append(f"const {kind} {name} = {rest} + {body.operand(common)} * {inner};")
    else:
        lines.append(f"const {kind} {name} = {body.operand(common)} * {inner};")
    return name


def _plain_sum(summands: Sequence[_Summand], body: _Body, kind: str, lines: list[str]) -> str:
    name = body.name("t")
    products = []
    for s in summands:
        operands = [body.operand(operand) for operand in s.operands]
        if not operands:
            products.append(f"splat<{kind}>({body.coefficient(s.factor, s.scalar)})")
        elif s.factor == 1.0 and s.scalar is None:
            products.append(" * ".join(operands))
        else:
            products.append(" * ".join([body.coefficient(s.factor, s.scalar), *operands]))
    lines.append(f"{kind} {name} = {products[0]};")
    lines.extend(f"{name} += {product};" for product in products[1:])
    return name


@dataclass(frozen=True)
class Kernel:
    """What to generate: the results of one map that are scattered (or not) alike.

    Attributes:
        map_: the map.
        results: which of its results.
        scattered: whether results are added to rows that several batch elements share.
        channels: number of channels, a constant of the generated code.
        double: float64 instead of float32.
        interpolated: whether argument 0 is a table of knots, interpolated at a position that comes as one more
            argument; it is then made in the first-level cache, batch element by batch element.
        consumed: the result that is the gradient of argument 0, handed on as the gradient of the position.
    """

    map_: Multilinear
    results: tuple[int, ...]
    scattered: bool
    channels: int
    double: bool
    interpolated: bool = False
    consumed: int | None = None

    @property
    def width(self) -> int:
        """Channels in one register block: the largest power of two that fits 64 bytes and divides the channels."""
        width = 8 if self.double else 16
        while self.channels % width:
            width //= 2
        return width

    def source(self) -> str:
        """The C++ source of the kernel."""
        body = _Body(self.channels)
        before: list[str] = []
        after: list[str] = []
        scalar_stores: list[str] = []
        constants: list[str] = []
        unroll = 1
        if looped.serves(self.map_, self.results):
            unroll = next(u for u in (4, 2, 1) if self.channels // self.width % u == 0)
            code = looped.code(self.map_, self.results, self.channels, scattered=self.scattered)
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
            scattered=int(self.scattered),
            n_results=len(self.results),
            sizes=", ".join("1" if r == self.consumed else str(self._row_size(r)) for r in self.results),
            pointers="\n      ".join(self._pointer(a) for a in used),
            outputs="\n      ".join(self._output(i, r) for i, r in enumerate(self.results)),
            scalars="\n      ".join(body.scalar_lines + scalar_stores),
            before="\n      ".join(before),
            loop=self._loop(body.lines),
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

    def _loop(self, lines: list[str]) -> str:
        if not lines:
            return ""
        inside = "\n        ".join(lines)
        return f"for (long c = 0; c < {self.channels}; c += U * W) {{\n        {inside}\n      }}"

    def _row_size(self, result: int) -> int:
        operand = self.map_.results[result]
        return operand.components * (self.channels if operand.channels else 1)

    def _pointer(self, argument: int) -> str:
        operand = self.map_.arguments[argument]
        size = operand.components * (self.channels if operand.channels else 1)
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
        vector, scalar = self._collect(result, body)
        has_channels = self.map_.results[result].channels
        assign = "+=" if self.scattered else "="
        inner = self._best_split(vector)
        components = sorted(set(vector) | set(scalar))
        for k in components:
            total = None
            if k in vector:
                total = self._split_sum(vector[k], inner, body)
            if has_channels:
                store = f"load(r{result} + {k * self.channels} + c) + {total}" if self.scattered else total
                body.lines.append(f"store(r{result} + {k * self.channels} + c, {store});")
                continue
            if k in scalar:
                value = _horner(scalar[k], body, "T", body.scalar_lines)
                scalar_stores.append(f"r{result}[{k}] {assign} {value};")
            if total is not None:
                before.append(f"V acc{result}_{k} = {{}};")
                body.lines.append(f"acc{result}_{k} += {total};")
                after.append(f"r{result}[{k}] {'+=' if k in scalar else assign} sum(acc{result}_{k});")

    def _collect(
        self, result: int, body: _Body
    ) -> tuple[dict[int, list[_Summand]], dict[int, list[_Summand]]]:
        """Terms by component: those with channels, their channel-free factors summed up first, and those without."""
        grouped: dict[tuple[int, tuple[str, ...]], list[tuple[float, tuple[str, ...]]]] = {}
        for coefficient, factors, (target, k) in self.map_.terms:
            if target == result:
                with_channels = tuple(f"x{a}_{i}" for a, i in factors if self.map_.arguments[a].channels)
                without = tuple(f"y{a}_{i}" for a, i in factors if not self.map_.arguments[a].channels)
                grouped.setdefault((k, with_channels), []).append((coefficient, without))
        vector: dict[int, list[_Summand]] = {}
        scalar: dict[int, list[_Summand]] = {}
        for (k, operands), terms in grouped.items():
            if operands or self.map_.results[result].channels:
                factor, name = body.scalar(terms)
                vector.setdefault(k, []).append(_Summand(factor, name, operands))
            else:
                scalar.setdefault(k, []).extend(_Summand(f, None, names) for f, names in terms)
        return vector, scalar

    def _split_sum(self, summands: Sequence[_Summand], inner: frozenset[str], body: _Body) -> str:
        """A sum as products of outer operands with shared sums over inner operands."""
        outer = []
        for operands, inside in _grouped(summands, inner).items():
            factor, name = body.vector_sum(inside)
            outer.append(_Summand(factor, None, (*operands, name)))
        return _horner(outer, body, "V", body.lines)

    def _best_split(self, vector: dict[int, list[_Summand]]) -> frozenset[str]:
        """Which arguments go into the inner sums, so that the fewest multiply-adds remain."""
        present = {o.split("_")[0] for summands in vector.values() for s in summands for o in s.operands}
        candidates = [
            frozenset(c) for n in range(1, len(present) + 1) for c in combinations(sorted(present), n)
        ]
        return min(candidates, key=lambda inner: (_cost(vector, inner), sorted(inner)), default=frozenset())


def _grouped(summands: Sequence[_Summand], inner: frozenset[str]) -> dict[tuple[str, ...], list[_Summand]]:
    groups: dict[tuple[str, ...], list[_Summand]] = {}
    for s in summands:
        outside = tuple(o for o in s.operands if o.split("_")[0] not in inner)
        inside = tuple(o for o in s.operands if o.split("_")[0] in inner)
        groups.setdefault(outside, []).append(_Summand(s.factor, s.scalar, inside))
    return groups


def _cost(vector: dict[int, list[_Summand]], inner: frozenset[str]) -> int:
    shared: set[_Key] = set()
    cost = 0
    for summands in vector.values():
        groups = _grouped(summands, inner)
        cost += len(groups)
        shared |= {_normalised(inside)[1] for inside in groups.values()}
    for key in shared:
        trivial = len(key) == 1 and key[0].scalar is None
        cost += max(len(s.operands) for s in key) - 1 if trivial else len(key)
    return cost


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
        out[i] = row == shared_row ? side[i] : results[i] + row * sizes[i];
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
      for (long k = 0; k < sizes[i]; ++k)
        results[i][row * sizes[i] + k] += sides[t * {n_results} + i][k];
  }}
}}
"""
