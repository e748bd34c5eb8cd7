"""Operators to compare at equal numbers of parameters: one with dense weights, and smaller ones of several kinds.

All have the same architecture. Convolutions of the smaller ones have low-rank weights, or fewer frequencies, or fewer
channels. What factorised weights save is a share of the convolutions' numbers; maps at each point keep theirs, and
limit how far the whole shrinks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

from sciten.neural_operators import FNO
from sciten.neural_operators.classes import OPERATORS

FORMATS: Mapping[str, str] = {"CP": "CPFactors", "Tucker": "TuckerFactors", "TT": "TTFactors"}
DENSE = "dense"
FEWER_MODES, FEWER_CHANNELS, FEWER_OF_BOTH = (
    f"{DENSE}, fewer {what}" for what in ("modes", "channels", "of both")
)
#: In the order of reports.
KINDS = (DENSE, *FORMATS, FEWER_MODES, FEWER_CHANNELS, FEWER_OF_BOTH)

_NEAR = log(1.25)  # how far numbers of parameters that count as equal may lie apart


@dataclass(frozen=True)
class Candidate:
    """An operator.

    Args:
        kind: one of `KINDS`.
        compression: 1; by how much the numbers in the convolutions are to shrink; of a smaller dense one, that of the
            factorised ones which have as many parameters in all.
        model: the constructor's arguments, as a configuration has them.
    """

    kind: str
    compression: int
    model: dict[str, Any]

    @property
    def name(self) -> str:
        """For titles."""
        return self.kind if self.compression == 1 else f"{self.kind}, {self.compression}×"


@dataclass(frozen=True)
class Comparison:
    """What operators are compared in: the largest dense one, and how much smaller the others are to be.

    Args:
        channels: of the dense one, within its blocks.
        modes: of the dense one.
        compressions: for the factorised ones.
        dense_at: those of them at which dense ones take part as well.
    """

    channels: int
    modes: tuple[int, ...]
    compressions: tuple[int, ...] = (5, 20, 100, 500)
    dense_at: tuple[int, ...] = (5, 20, 100)

    def candidates(self) -> list[Candidate]:
        """The dense one, then for each compression those that exist."""
        found = [Candidate(DENSE, 1, dense(self.channels, self.modes))]
        for compression in self.compressions:
            factorised = [self._factorised(kind, compression) for kind in FORMATS]
            found += [one for one in factorised if self._is_small(one)]
            if compression in self.dense_at:
                budget = max(parameters(one.model) for one in factorised)
                found += list(self._smaller(compression, budget))
        return found

    def absent(self, found: Iterable[Candidate]) -> list[str]:
        """Names of those that are not among `candidates()`: nothing so small, or of that size, exists of the kind."""
        have = {one.name for one in found}
        smaller = (FEWER_MODES, FEWER_CHANNELS, FEWER_OF_BOTH)
        wanted = (
            Candidate(kind, compression, {}).name
            for compression in self.compressions
            for kind in (*FORMATS, *(smaller if compression in self.dense_at else ()))
        )
        return [name for name in wanted if name not in have]

    def _factorised(self, kind: str, compression: int) -> Candidate:
        factorization = {"kind": FORMATS[kind], "rank": 1 / compression}
        model = dense(self.channels, self.modes) | {"kind": "TFNO", "factorization": factorization}
        return Candidate(kind, compression, model)

    def _is_small(self, one: Candidate) -> bool:
        """A format has one rank at least."""
        full = spectral_parameters(built(dense(self.channels, self.modes)))
        return one.compression * spectral_parameters(built(one.model)) <= 1.25 * full

    def _smaller(self, compression: int, budget: int) -> Iterable[Candidate]:
        shares = [k / self.channels for k in range(1, self.channels)]
        families = {
            FEWER_MODES: [
                dense(self.channels, _cut(self.modes, k / max(self.modes))) for k in range(1, max(self.modes))
            ],
            FEWER_CHANNELS: [dense(round(share * self.channels), self.modes) for share in shares],
            FEWER_OF_BOTH: [dense(round(s * self.channels), _cut(self.modes, s)) for s in shares],
        }
        for kind, models in families.items():
            near, model = min(
                ((abs(log(parameters(one) / budget)), one) for one in models), key=lambda pair: pair[0]
            )
            if near <= _NEAR:
                yield Candidate(kind, compression, model)


def dense(channels: int, modes: Sequence[int]) -> dict[str, Any]:
    """The arguments of an operator with dense weights."""
    return {"kind": "FNO", "hidden_channels": channels, "modes": list(modes)}


def built(model: Mapping[str, Any]) -> FNO:
    """The operator, from one field to one."""
    arguments = {name: value for name, value in model.items() if name != "kind"}
    kind: Any = OPERATORS[model["kind"]]
    operator: FNO = kind(1, 1, **arguments)
    return operator


def parameters(model: Mapping[str, Any]) -> int:
    """Real numbers of an operator from one field to one."""
    return sum(p.numel() for p in built(model).parameters())


def spectral_parameters(model: FNO) -> int:
    """Real numbers in the weights of the convolutions."""
    return sum(p.numel() for layer in model.convolutions() for p in layer.weight.parameters())


def _cut(modes: Sequence[int], share: float) -> list[int]:
    return [max(1, round(share * m)) for m in modes]
