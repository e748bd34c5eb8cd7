"""Straight-line statements for a `Multilinear`, with as few operations as factoring finds, in whatever language.

Factors without channels (edge harmonics) are combined into scalars once per batch element; sums that recur are named
once; in what remains the most frequent operand is factored out again and again. A code generator subclasses `Body` to
say how its language writes a statement.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import NamedTuple

from sciten.tensor.multilinear.description import Multilinear


class Summand(NamedTuple):
    """`factor * scalar * product of operands`; `scalar` names a channel-free sum, None stands for one."""

    factor: float
    scalar: int | None
    operands: tuple[str, ...]


_Key = tuple[Summand, ...]
#: Sums with channels of each component of a result, and those without.
Collected = tuple[dict[int, list[Summand]], dict[int, list[Summand]]]


@dataclass
class Body(ABC):
    """Statements of one kernel, in order, with what has been named so far.

    Operands are named `x{argument}_{component}` (with channels) and `y{argument}_{component}` (without); other names
    are those of earlier statements. Statements are of two kinds: "V" has channels, "T" has none.
    """

    scalar_lines: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    scalars: dict[tuple[tuple[float, tuple[str, ...]], ...], int] = field(default_factory=dict)
    scaled: dict[tuple[float, int], str] = field(default_factory=dict)
    sums: dict[_Key, str] = field(default_factory=dict)
    loaded: set[str] = field(default_factory=set)
    count: int = 0

    @abstractmethod
    def constant(self, kind: str, name: str, value: str) -> str:
        """The statement that names a value once and for all."""

    @abstractmethod
    def sum(self, kind: str, name: str, summands: Sequence[str]) -> list[str]:
        """The statements that name a sum."""

    @abstractmethod
    def literal(self, factor: float) -> str:
        """A number."""

    @abstractmethod
    def splat(self, kind: str, value: str) -> str:
        """A number or a named scalar as a summand of its own."""

    @abstractmethod
    def load(self, name: str) -> None:
        """Write the statement that loads an operand, where the language has not loaded it beforehand."""

    def name(self, prefix: str) -> str:
        """A name that is not taken yet."""
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
            value = self.horner([Summand(f, None, operands) for f, operands in key], "T")
            self.scalar_lines.append(self.constant("T", f"s{self.scalars[key]}", value))
        return lead, self.scalars[key]

    def coefficient(self, factor: float, scalar: int | None) -> str:
        """The name of factor * scalar, or a literal."""
        if scalar is None:
            return self.literal(factor)
        if factor == 1.0:
            return f"s{scalar}"
        if (factor, scalar) not in self.scaled:
            name = self.name("f")
            self.scaled[factor, scalar] = name
            self.scalar_lines.append(self.constant("T", name, f"{self.literal(factor)} * s{scalar}"))
        return self.scaled[factor, scalar]

    def operand(self, name: str) -> str:
        """An operand's name; it is loaded at its first use."""
        if name[0] in "xy" and name not in self.loaded:
            self.loaded.add(name)
            self.load(name)
        return name

    def vector_sum(self, summands: Sequence[Summand]) -> tuple[float, str]:
        """Name a sum over channels; returns the factor by which it differs from the named one."""
        factor, key = _normalised(summands)
        if len(key) == 1 and key[0].scalar is None and len(key[0].operands) == 1:
            return factor, key[0].operands[0]
        if key not in self.sums:
            self.sums[key] = self.horner(key, "V")
        return factor, self.sums[key]

    def split_sum(self, summands: Sequence[Summand], inner: frozenset[str]) -> str:
        """A sum as products of outer operands with shared sums over inner operands; returns its name."""
        outer = []
        for operands, inside in _grouped(summands, inner).items():
            factor, name = self.vector_sum(inside)
            outer.append(Summand(factor, None, (*operands, name)))
        return self.horner(outer, "V")

    def horner(self, summands: Sequence[Summand], kind: str) -> str:
        """A sum of products, the most frequent operand factored out again and again; returns its name."""
        counts = Counter(chain.from_iterable(set(s.operands) for s in summands))
        common, times = max(counts.items(), key=lambda item: (item[1], item[0]), default=("", 0))
        if times < 2:
            return self._plain_sum(summands, kind)
        inside, outside = [], []
        for s in summands:
            if common in s.operands:
                position = s.operands.index(common)
                inside.append(s._replace(operands=s.operands[:position] + s.operands[position + 1 :]))
            else:
                outside.append(s)
        inner = self.horner(inside, kind)
        name = self.name("t")
        rest = f"{self.horner(outside, kind)} + " if outside else ""
        lines = self.scalar_lines if kind == "T" else self.lines
        value = f"{rest}{self.operand(common)} * {inner}"
        lines.append(self.constant(kind, name, value))
        return name

    def _plain_sum(self, summands: Sequence[Summand], kind: str) -> str:
        name = self.name("t")
        products = []
        for s in summands:
            operands = [self.operand(operand) for operand in s.operands]
            if not operands:
                products.append(self.splat(kind, self.coefficient(s.factor, s.scalar)))
            elif s.factor == 1.0 and s.scalar is None:
                products.append(" * ".join(operands))
            else:
                products.append(" * ".join([self.coefficient(s.factor, s.scalar), *operands]))
        lines = self.scalar_lines if kind == "T" else self.lines
        lines.extend(self.sum(kind, name, products))
        return name

    def collect(self, map_: Multilinear, result: int, components: Collection[int] | None = None) -> Collected:
        """Terms by component (all, or some): those with channels, their channel-free factors summed up first, and
        those without."""
        grouped: dict[tuple[int, tuple[str, ...]], list[tuple[float, tuple[str, ...]]]] = {}
        for coefficient, factors, (target, k) in map_.terms:
            if target == result and (components is None or k in components):
                with_channels = tuple(f"x{a}_{i}" for a, i in factors if map_.arguments[a].channels)
                without = tuple(f"y{a}_{i}" for a, i in factors if not map_.arguments[a].channels)
                grouped.setdefault((k, with_channels), []).append((coefficient, without))
        vector: dict[int, list[Summand]] = {}
        scalar: dict[int, list[Summand]] = {}
        for (k, operands), terms in grouped.items():
            if operands or map_.results[result].channels:
                factor, name = self.scalar(terms)
                vector.setdefault(k, []).append(Summand(factor, name, operands))
            else:
                scalar.setdefault(k, []).extend(Summand(f, None, names) for f, names in terms)
        return vector, scalar


def best_split(vector: dict[int, list[Summand]]) -> frozenset[str]:
    """Which arguments go into the inner sums, so that the fewest multiply-adds remain."""
    present = {o.split("_")[0] for summands in vector.values() for s in summands for o in s.operands}
    # All subsets of a few arguments; of many, whose subsets take forever, one against the rest.
    many = len(present) > 6
    sizes = {1, len(present) - 1, len(present)} - {0} if many else range(1, len(present) + 1)
    candidates = [frozenset(c) for n in sizes for c in combinations(sorted(present), n)]
    return min(candidates, key=lambda inner: (_cost(vector, inner), sorted(inner)), default=frozenset())


def _normalised(summands: Sequence[Summand]) -> tuple[float, _Key]:
    ordered = sorted(summands, key=lambda s: (s.operands, -1 if s.scalar is None else s.scalar))
    lead = ordered[0].factor
    # Rounding makes sums that agree up to an irrational factor agree to the letter.
    return lead, tuple(Summand(round(s.factor / lead, 14), s.scalar, s.operands) for s in ordered)


def _grouped(summands: Sequence[Summand], inner: frozenset[str]) -> dict[tuple[str, ...], list[Summand]]:
    groups: dict[tuple[str, ...], list[Summand]] = {}
    for s in summands:
        outside = tuple(o for o in s.operands if o.split("_")[0] not in inner)
        inside = tuple(o for o in s.operands if o.split("_")[0] in inner)
        groups.setdefault(outside, []).append(Summand(s.factor, s.scalar, inside))
    return groups


def _cost(vector: dict[int, list[Summand]], inner: frozenset[str]) -> int:
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
