"""Sparse multilinear maps as immutable values, closed under differentiation.

The idea of describing equivariant products as lists of segment products is cuEquivariance's "segmented polynomial"
(NVIDIA, 2024); here every term is written out over components, and channels are the contiguous, vectorised axis.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import isfinite
from typing import Any, ClassVar, NamedTuple

from sciten.errors import ConfigError


@dataclass(frozen=True)
class Operand:
    """The shape of an argument or a result: `[rows, components, channels]`, some axes absent.

    Attributes:
        components: length of the component axis.
        channels: whether the channel axis is there; a result without it is summed over channels.
        index: name of the index that an argument is gathered through or a result is added through; None where
            the rows are the batch itself.
        shared: whether the row axis is absent; a shared result is summed over the batch.
        blocks: lengths of blocks of components that lie `[channels, length]` one after the other on a single axis,
            e3nn's layout, so that the shape is `[rows, components * channels]`; None for `[components, channels]`.

    Raises:
        ConfigError: a negative number of components; blocks that do not add up to the components, or without channels;
            an index of a shared operand, which has no rows, or one whose name is no identifier.
    """

    components: int
    channels: bool = True
    index: str | None = None
    shared: bool = False
    blocks: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.components < 0:
            raise ConfigError(f"Operand: expected at least 0 components, got {self.components}")
        if self.index is not None and (self.shared or not self.index.isidentifier()):
            raise ConfigError(
                f"Operand: expected an index named by an identifier, of an operand that is not shared, got {self}"
            )
        if self.blocks is not None and (sum(self.blocks) != self.components or not self.channels):
            raise ConfigError(
                f"Operand: expected blocks that add up to {self.components} components with channels, got {self.blocks}"
            )

    def row_size(self, channels: int) -> int:
        """Numbers in one row."""
        return self.components * (channels if self.channels else 1)

    def row_shape(self, channels: int) -> tuple[int, ...]:
        """Shape of one row."""
        if self.blocks is not None:
            return (self.components * channels,)
        return (self.components, channels) if self.channels else (self.components,)


class Term(NamedTuple):
    """`result[component] += coefficient * product of factors`; factors and target are (operand, component) pairs."""

    coefficient: float
    factors: tuple[tuple[int, int], ...]
    target: tuple[int, int]


@dataclass(frozen=True)
class Multilinear:
    """A sparse multilinear (or, where an argument occurs twice in a term, polynomial) map.

    `result[r][n, k, c] += coefficient * argument[a][n, i, c] * argument[b][n, j, c] * ...` over all terms, batch
    elements `n` and channels `c`. Terms of equal factors and target are merged, so that equal maps compare equal.

    Args:
        arguments: shapes of the arguments.
        results: shapes of the results.
        terms: the map itself.

    Raises:
        ConfigError: a term names an operand or component that is not there, or its coefficient is not finite; or only
            results have channels.
    """

    arguments: tuple[Operand, ...]
    results: tuple[Operand, ...]
    terms: tuple[Term, ...]
    #: The text of a map that was made `ready_to_record`.
    recorded: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        for name in ("arguments", "results"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "terms", _canonical(self.terms))
        for term in self.terms:
            self._check(term)
        # A term without channels is added to every channel; how many there are, an argument must say.
        if any(o.channels for o in self.results) and not any(o.channels for o in self.arguments):
            raise ConfigError("Multilinear: a result has channels, but no argument has any")

    def _check(self, term: Term) -> None:
        if not isfinite(term.coefficient):
            raise ConfigError(f"Multilinear: expected finite coefficients, got {term}")
        for kind, operands, pairs in (
            ("argument", self.arguments, term.factors),
            ("result", self.results, (term.target,)),
        ):
            for operand, component in pairs:
                if not (0 <= operand < len(operands) and 0 <= component < operands[operand].components):
                    raise ConfigError(
                        f"Multilinear: {term} names {kind} {operand}, component {component}, which is not there"
                    )

    @cached_property
    def _hash(self) -> int:
        return hash((self.arguments, self.results, self.terms))

    def __hash__(self) -> int:
        return self._hash

    def to_text(self) -> str:
        """The whole map as a line of text, exact to the last bit of its coefficients."""
        return self._text

    def ready_to_record(self) -> "Multilinear":
        """This map, with its text at hand: what a function marked `constant` must return, since `torch.compile` can
        read attributes of its result, but not hand it to another such function."""
        object.__setattr__(self, "recorded", self.to_text())
        return self

    @cached_property
    def _text(self) -> str:
        document = [
            *([[*vars(o).values()] for o in operands] for operands in (self.arguments, self.results)),
            self.terms,
        ]
        return base64.b64encode(zlib.compress(json.dumps(document).encode(), 6)).decode()

    @staticmethod
    @lru_cache(maxsize=1024)
    def from_text(text: str) -> "Multilinear":
        """The map that `to_text` wrote; raises `ConfigError` for any other text."""
        try:
            arguments, results, terms = json.loads(zlib.decompress(base64.b64decode(text)))
        except (ValueError, zlib.error) as error:
            raise ConfigError(f"Multilinear: expected text that to_text wrote, got {text[:40]!r}") from error
        return Multilinear(
            tuple(map(_operand, arguments)),
            tuple(map(_operand, results)),
            tuple(Term(c, tuple((a, i) for a, i in factors), (r, k)) for c, factors, (r, k) in terms),
        )

    def derivative(
        self, wanted: int | Sequence[int], cotangents: Sequence[int] | None = None
    ) -> "Multilinear":
        """The vector-Jacobian product, again a `Multilinear`.

        Its arguments are this map's, followed by one cotangent for each result in `cotangents` (all of them by
        default); its results are the gradients of the argument or arguments in `wanted`, in that order.
        A gathered argument has a scattered gradient, a shared argument one that is summed over the batch.

        Raises:
            ConfigError: there is no such argument or result.
        """
        given = tuple(range(len(self.results)) if cotangents is None else cotangents)
        asked = (wanted,) if isinstance(wanted, int) else tuple(wanted)
        for kind, numbers, there in (("argument", asked, self.arguments), ("result", given, self.results)):
            if foreign := [n for n in numbers if not 0 <= n < len(there)]:
                raise ConfigError(
                    f"Multilinear: expected the number of one of {len(there)} {kind}s, from 0, got {foreign[0]}"
                )
        return _derivative(self, asked, given)

    def operations(self, batch: int = 1, channels: int = 1) -> int:
        """Multiplications and additions of the map as written, term by term, nothing factored out."""
        plain, wide = self._operations
        return (plain + wide * channels) * batch

    @cached_property
    def _operations(self) -> tuple[int, int]:
        """Operations of the terms without and with channels; every launch of a kernel asks for them."""
        counts = [0, 0]
        for term in self.terms:
            scale = 0 if abs(term.coefficient) == 1 else 1
            counts[any(self.arguments[a].channels for a, _ in term.factors)] += len(term.factors) + scale
        return counts[0], counts[1]

    def bytes_moved(
        self, batch: int = 1, channels: int = 1, itemsize: int = 4, rows: Mapping[str, int] | None = None
    ) -> int:
        """Bytes that travel: every operand once for each batch element, shared ones once.

        Args:
            batch, channels: sizes.
            itemsize: bytes of a number.
            rows: how many rows are behind each index. With it, the least that must travel: every row of an indexed
                operand once, and the indices, eight bytes for each batch element.
        """
        operands = (*self.arguments, *self.results)
        total = 0
        for operand in operands:
            behind = rows[operand.index] if rows is not None and operand.index is not None else batch
            total += (1 if operand.shared else behind) * operand.row_size(channels) * itemsize
        named = {operand.index for operand in operands if operand.index is not None}
        return total + (0 if rows is None else 8 * batch * len(named))


def _operand(fields: Sequence[Any]) -> Operand:
    components, channels, index, shared, blocks = fields
    return Operand(components, channels, index, shared, None if blocks is None else tuple(blocks))


def _canonical(terms: Sequence[Term]) -> tuple[Term, ...]:
    merged: dict[tuple[tuple[tuple[int, int], ...], tuple[int, int]], float] = {}
    for coefficient, factors, target in terms:
        key = (tuple(sorted(factors)), target)
        merged[key] = merged.get(key, 0.0) + coefficient
    return tuple(
        Term(float(coefficient), factors, target)
        for (factors, target), coefficient in sorted(
            merged.items(), key=lambda item: (item[0][1], item[0][0])
        )
        if coefficient != 0.0
    )


@lru_cache(maxsize=1024)
def _derivative(map_: Multilinear, wanted: tuple[int, ...], cotangents: tuple[int, ...]) -> Multilinear:
    place = {result: len(map_.arguments) + i for i, result in enumerate(cotangents)}
    slot = {argument: i for i, argument in enumerate(wanted)}
    terms = []
    for coefficient, factors, (result, component) in map_.terms:
        if result not in place:
            continue
        for position, (argument, i) in enumerate(factors):
            if argument in slot:
                rest = factors[:position] + factors[position + 1 :]
                terms.append(Term(coefficient, (*rest, (place[result], component)), (slot[argument], i)))
    return Multilinear(
        arguments=map_.arguments + tuple(map_.results[r] for r in cotangents),
        results=tuple(map_.arguments[a] for a in wanted),
        terms=tuple(terms),
    )
