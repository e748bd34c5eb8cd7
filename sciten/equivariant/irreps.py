"""Irreducible representations of O(3) with multiplicities, written as e3nn writes them: "8x0e + 4x1o"."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Union

from sciten.errors import ConfigError

_ENTRY = re.compile(r"\s*(?:(\d+)\s*x\s*)?(\d+)\s*([eo])\s*")

#: A string, an `Irreps`, or pairs (multiplicity, (degree, parity)); e3nn's own `Irreps` are such pairs.
IrrepsLike = Union[str, "Irreps", Iterable[tuple[int, tuple[int, int]]]]


class Irrep(NamedTuple):
    """A degree and a parity, +1 (even, "e") or -1 (odd, "o")."""

    l: int
    p: int

    @property
    def dim(self) -> int:
        """2l + 1."""
        return 2 * self.l + 1

    @property
    def is_natural(self) -> bool:
        """Whether the parity is that of the spherical harmonics, (-1)^l."""
        return self.p == (-1) ** self.l

    def __mul__(self, other: "Irrep") -> "tuple[Irrep, ...]":  # type: ignore[override]
        """The irreps in the product of two, by ascending degree."""
        lowest, highest = abs(self.l - other.l), self.l + other.l
        return tuple(Irrep(l, self.p * other.p) for l in range(lowest, highest + 1))

    def __str__(self) -> str:
        return f"{self.l}{'e' if self.p == 1 else 'o'}"


class MulIrrep(NamedTuple):
    """`mul` copies of one irrep, laid out `[mul, 2l + 1]`."""

    mul: int
    ir: Irrep

    @property
    def dim(self) -> int:
        """mul (2l + 1)."""
        return self.mul * self.ir.dim

    def __str__(self) -> str:
        return f"{self.mul}x{self.ir}"


class Irreps:
    """An immutable list of irreps with multiplicities.

    Args:
        irreps: "8x0e + 4x1o", e3nn's `Irreps`, or pairs (multiplicity, (degree, parity)).

    Raises:
        ConfigError: this is no list of irreps.
    """

    __slots__ = ("_entries",)
    _entries: tuple[MulIrrep, ...]

    def __init__(self, irreps: IrrepsLike = ()) -> None:
        if isinstance(irreps, str):
            entries = _parse(irreps)
        else:
            entries = tuple(MulIrrep(mul, Irrep(*_pair(ir))) for mul, ir in _pairs(irreps))
        for entry in entries:
            if entry.mul < 0 or entry.ir.l < 0 or entry.ir.p not in (1, -1):
                raise ConfigError(
                    f"Irreps: expected multiplicities and degrees of at least 0 and parity 1 or -1, got {entry!r}"
                )
        object.__setattr__(self, "_entries", entries)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("Irreps are immutable")

    def __reduce__(self) -> "tuple[type[Irreps], tuple[str]]":
        return Irreps, (str(self),)

    @classmethod
    def natural(cls, lmax: int, mul: int = 1) -> "Irreps":
        """Every degree up to lmax with the parity of the spherical harmonics: "0e + 1o + 2e + ..."."""
        return cls([(mul, (l, (-1) ** l)) for l in range(lmax + 1)])

    def __iter__(self) -> Iterator[MulIrrep]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, position: int) -> MulIrrep:
        return self._entries[position]

    def __eq__(self, other: object) -> bool:
        return self._entries == other._entries if isinstance(other, Irreps) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._entries)

    def __str__(self) -> str:
        return "+".join(map(str, self._entries))

    __repr__ = __str__

    @property
    def dim(self) -> int:
        """Length of the last axis of features with these irreps."""
        return sum(entry.dim for entry in self)

    @property
    def num_irreps(self) -> int:
        """Sum of the multiplicities."""
        return sum(entry.mul for entry in self)

    @property
    def lmax(self) -> int:
        """The highest degree; -1 where there is none."""
        return max((entry.ir.l for entry in self), default=-1)

    def slices(self) -> tuple[slice, ...]:
        """Where each entry lies on the last axis."""
        stops = []
        total = 0
        for entry in self:
            total += entry.dim
            stops.append(total)
        return tuple(slice(stop - entry.dim, stop) for stop, entry in zip(stops, self, strict=True))

    def simplify(self) -> "Irreps":
        """Neighbouring entries of the same irrep joined, empty ones left out; the layout stays the same."""
        joined: list[MulIrrep] = []
        for mul, ir in self:
            if joined and joined[-1].ir == ir:
                joined[-1] = MulIrrep(joined[-1].mul + mul, ir)
            elif mul:
                joined.append(MulIrrep(mul, ir))
        return Irreps(joined)


def _parse(text: str) -> tuple[MulIrrep, ...]:
    entries = []
    for piece in text.split("+") if text.strip() else []:
        match = _ENTRY.fullmatch(piece)
        if match is None:
            raise ConfigError(
                f"Irreps: expected entries such as 8x0e or 1o joined by +, got {piece.strip()!r}"
            )
        mul, l, parity = match.groups()
        entries.append(MulIrrep(int(mul or 1), Irrep(int(l), 1 if parity == "e" else -1)))
    return tuple(entries)


def _pairs(irreps: object) -> "list[tuple[int, object]]":
    try:
        return [(int(mul), ir) for mul, ir in irreps]  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"Irreps: expected text such as '8x0e + 4x1o' or pairs such as (4, '1o'), got {irreps!r}"
        ) from error


def _pair(irrep: object) -> tuple[int, int]:
    if isinstance(irrep, str) and len(parsed := _parse(irrep)) == 1:
        return parsed[0].ir
    if hasattr(irrep, "l") and hasattr(irrep, "p"):  # ours, or e3nn's, whose len() raises
        return irrep.l, irrep.p
    if isinstance(irrep, tuple) and len(irrep) == 2:
        return irrep
    raise ConfigError(f"Irreps: expected an irrep such as (1, -1) or '1o', got {irrep!r}")
