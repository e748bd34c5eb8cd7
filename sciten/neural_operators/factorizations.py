"""Formats of spectral weights, as values: what factors a weight has, how they multiply, and how many fit a budget.

A weight is a complex tensor with modes (inputs, outputs, frequencies of each axis); a separable one lacks the outputs.
Kossaifi, Kovachki, Azizzadenesheli and Anandkumar, Multi-grid tensorized Fourier neural operator, TMLR (2024). Factors
are complex tensors; `sciten.neural_operators.spectral` stores them as pairs of real numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Any

import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.neural_operators.dropout import drop_cp, drop_tensor_train, drop_tucker, rank_scales
from sciten.tensor import CP, TensorTrain, Tucker
from sciten.tensor.decompose.als import cp_als
from sciten.tensor.decompose.svd import hosvd, tt_svd

Rank = int | float | Sequence[int]
View = Tensor | CP | Tucker | TensorTrain
#: Letters of ranks in expressions; weights have others.
_RANKS = "ABCDEFGH"


class Factorization(ABC):
    """A format for spectral weights."""

    @abstractmethod
    def shapes(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """Of the factors of a weight of this shape.

        Raises:
            ConfigError: the rank does not fit.
        """

    @abstractmethod
    def terms(self, letters: str) -> list[str]:
        """For each factor its indices, where the weight's are `letters`; small letters are free for others."""

    @abstractmethod
    def view(self, factors: Sequence[Tensor]) -> View:
        """The weight in the format that sciten.tensor has for it."""

    @abstractmethod
    def decompose(self, weight: Tensor) -> list[Tensor]:
        """The factors nearest to a full complex weight, at the ranks that `shapes` says."""

    @abstractmethod
    def cut(self, factors: Sequence[Tensor], places: Sequence[slice]) -> list[Tensor]:
        """The factors of some rows of each mode of the weight; factors may have more axes behind."""

    @abstractmethod
    def dropped(self, factors: Sequence[Tensor], probability: float) -> list[Tensor]:
        """The factors, as pairs, with ranks left out at random; see `sciten.neural_operators.dropout`.

        A rank of one is kept, since without it nothing is left.

        Raises:
            ConfigError: the format has no ranks.
        """

    def description(self) -> dict[str, Any]:
        """As JSON values, for `factorization_from`."""
        return {"kind": type(self).__name__} | {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Dense(Factorization):
    """The weight itself."""

    def shapes(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """That of the weight."""
        return [tuple(shape)]

    def terms(self, letters: str) -> list[str]:
        """Those of the weight."""
        return [letters]

    def view(self, factors: Sequence[Tensor]) -> Tensor:
        """The full tensor."""
        return factors[0]

    def decompose(self, weight: Tensor) -> list[Tensor]:
        """The weight."""
        return [weight]

    def cut(self, factors: Sequence[Tensor], places: Sequence[slice]) -> list[Tensor]:
        """A part of the weight."""
        return [factors[0][tuple(places)]]

    def dropped(self, factors: Sequence[Tensor], probability: float) -> list[Tensor]:
        """There are no ranks."""
        raise ConfigError(
            "Dense: expected no dropout, since a dense weight has no ranks; use another factorization"
        )


@dataclass(frozen=True)
class CPFactors(Factorization):
    """A sum of outer products: weights `[r]`, then a factor `[n, r]` for each mode.

    Args:
        rank: how many products; or a number from 0 to 1, the share of the dense weight's numbers that may be used.
    """

    rank: int | float = 0.1

    def shapes(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """Of the weights and the factors."""
        r = self.rank
        if isinstance(r, float):
            r = max(1, int(_share(self, r, "a whole number of products") * prod(shape) / (sum(shape) + 1)))
        _require_ranks(self, [r], [prod(shape)])
        return [(r,), *((n, r) for n in shape)]

    def terms(self, letters: str) -> list[str]:
        """All share the rank."""
        return [_RANKS[0], *(letter + _RANKS[0] for letter in letters)]

    def view(self, factors: Sequence[Tensor]) -> CP:
        """A `CP`."""
        return CP(factors[0], tuple(factors[1:]))

    def decompose(self, weight: Tensor) -> list[Tensor]:
        """By alternating least squares."""
        ((rank,), *_) = self.shapes(weight.shape)
        # One attempt: any start ends near enough to be trained on.
        found = cp_als(
            weight, rank, attempts=1, max_iterations=200, generator=torch.Generator().manual_seed(0)
        )
        return [found.cp.weights, *found.cp.factors]

    def cut(self, factors: Sequence[Tensor], places: Sequence[slice]) -> list[Tensor]:
        """Rows of the factors."""
        return [factors[0], *(factor[place] for factor, place in zip(factors[1:], places, strict=True))]

    def dropped(self, factors: Sequence[Tensor], probability: float) -> list[Tensor]:
        """Outer products are left out."""
        (scale,) = _scales([len(factors[0])], probability, factors[0])
        return [drop_cp(factors[0], scale), *factors[1:]]


@dataclass(frozen=True)
class TuckerFactors(Factorization):
    """A core `[r_1, ..., r_d]`, then a factor `[n, r]` for each mode.

    Args:
        rank: of each mode; or a number from 0 to 1, the share of the dense weight's numbers that may be used: ranks are
            then equal shares of the lengths.
    """

    rank: float | Sequence[int] = 0.1

    def shapes(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """Of the core and the factors."""
        if isinstance(self.rank, int | float):
            budget = _share(self, self.rank, f"a sequence of {len(shape)} ranks") * prod(shape)

            def ranks_of(share: float) -> list[int]:
                return [min(n, max(1, round(share * n))) for n in shape]

            ranks = _largest(
                ranks_of, lambda r: prod(r) + sum(n * k for n, k in zip(shape, r, strict=True)), budget
            )
        else:
            ranks = _sequence(self.rank)
        _require_ranks(self, ranks, shape)
        return [tuple(ranks), *zip(shape, ranks, strict=True)]

    def terms(self, letters: str) -> list[str]:
        """The core has all ranks."""
        ranks = _RANKS[: len(letters)]
        return [ranks, *(n + r for n, r in zip(letters, ranks, strict=True))]

    def view(self, factors: Sequence[Tensor]) -> Tucker:
        """A `Tucker`."""
        return Tucker(factors[0], tuple(factors[1:]))

    def decompose(self, weight: Tensor) -> list[Tensor]:
        """By higher-order singular values."""
        (ranks, *_) = self.shapes(weight.shape)
        found = hosvd(weight, 0.0, ranks=ranks)
        factors = [
            torch.nn.functional.pad(f, (0, r - f.shape[1])) for f, r in zip(found.factors, ranks, strict=True)
        ]
        widths = [
            w for have, r in reversed(list(zip(found.core.shape, ranks, strict=True))) for w in (0, r - have)
        ]
        return [torch.nn.functional.pad(found.core, widths), *factors]

    def cut(self, factors: Sequence[Tensor], places: Sequence[slice]) -> list[Tensor]:
        """Rows of the factors."""
        return [factors[0], *(factor[place] for factor, place in zip(factors[1:], places, strict=True))]

    def dropped(self, factors: Sequence[Tensor], probability: float) -> list[Tensor]:
        """Slices of the core are left out."""
        core = factors[0]
        return [drop_tucker(core, _scales(core.shape[:-1], probability, core)), *factors[1:]]


@dataclass(frozen=True)
class TTFactors(Factorization):
    """Cores `[r, n, r']` in a row, the first and the last rank being one.

    Args:
        rank: of each bond between modes; or a number from 0 to 1, the share of the dense weight's numbers that may be
            used: all bonds then have the same rank, unless they cannot have so many, and with the numbers that are left
            some have more.
    """

    rank: float | Sequence[int] = 0.1

    def shapes(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """Of the cores."""
        most = [min(prod(shape[:k]), prod(shape[k:])) for k in range(1, len(shape))]
        if isinstance(self.rank, int | float):
            budget = _share(self, self.rank, f"a sequence of {len(most)} ranks") * prod(shape)
            ranks = _filled(most, lambda r: sum(prod(core) for core in _cores(shape, r)), budget)
        else:
            # More than `most` are of no use, but other programs' models have them.
            ranks, most = _sequence(self.rank), [prod(shape)] * len(most)
        _require_ranks(self, ranks, most)
        return _cores(shape, ranks)

    def terms(self, letters: str) -> list[str]:
        """Neighbours share a rank."""
        return [_RANKS[k] + letter + _RANKS[k + 1] for k, letter in enumerate(letters)]

    def view(self, factors: Sequence[Tensor]) -> TensorTrain:
        """A `TensorTrain`."""
        return TensorTrain(tuple(factors))

    def decompose(self, weight: Tensor) -> list[Tensor]:
        """By singular values."""
        shapes = self.shapes(weight.shape)
        cores = tt_svd(weight, 0.0, ranks=[core[2] for core in shapes[:-1]]).cores
        return [
            torch.nn.functional.pad(core, (0, r2 - core.shape[2], 0, 0, 0, r1 - core.shape[0]))
            for core, (r1, _, r2) in zip(cores, shapes, strict=True)
        ]

    def cut(self, factors: Sequence[Tensor], places: Sequence[slice]) -> list[Tensor]:
        """Slices of the cores."""
        return [core[:, place] for core, place in zip(factors, places, strict=True)]

    def dropped(self, factors: Sequence[Tensor], probability: float) -> list[Tensor]:
        """Ranks of the bonds are left out."""
        return drop_tensor_train(
            factors, _scales([core.shape[2] for core in factors[:-1]], probability, factors[0])
        )


#: The formats that a model file or a configuration can ask for.
FACTORIZATIONS: Mapping[str, type[Dense] | type[CPFactors] | type[TuckerFactors] | type[TTFactors]] = {
    kind.__name__: kind for kind in (Dense, CPFactors, TuckerFactors, TTFactors)
}


def factorization_from(description: Factorization | Mapping[str, Any]) -> Factorization:
    """The value that `Factorization.description` describes.

    Raises:
        ConfigError: it describes none.
    """
    if isinstance(description, Factorization):
        return description
    values = dict(description) if isinstance(description, Mapping) else {"kind": None}
    kind = FACTORIZATIONS.get(str(values.pop("kind", "TuckerFactors")))
    known = {f.name for f in fields(kind)} if kind is not None else set()
    if kind is None or set(values) - known:
        raise ConfigError(
            f"factorization: expected kind {', '.join(FACTORIZATIONS)} and its arguments, got {description!r}"
        )
    return kind(**values)


def _scales(ranks: Sequence[int], probability: float, like: Tensor) -> tuple[Tensor, ...]:
    return rank_scales(ranks, [probability if rank > 1 else 0.0 for rank in ranks], like)


def _cores(shape: Sequence[int], ranks: Sequence[int]) -> list[tuple[int, ...]]:
    bonds = [1, *ranks, 1]
    return [(bonds[k], n, bonds[k + 1]) for k, n in enumerate(shape)]


def _largest(
    ranks_of: Callable[[float], list[int]], size: Callable[[list[int]], int], budget: float
) -> list[int]:
    """The ranks of the largest share from 0 to 1 whose size is within the budget; those of 0 if none is."""
    low, high = 0.0, 1.0
    if size(ranks_of(high)) <= budget:
        return ranks_of(high)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if size(ranks_of(middle)) <= budget else (low, middle)
    return ranks_of(low)


def _filled(most: Sequence[int], size: Callable[[list[int]], int], budget: float) -> list[int]:
    """From ranks of one, one more after the other within the budget: of the smallest, that which takes fewest numbers.

    Model files name the share: with another rule their weights would not fit.
    """
    ranks = [1] * len(most)
    while True:
        larger = [
            (ranks[k], size(more), more)
            for k in range(len(ranks))
            if ranks[k] < most[k] and size(more := [*ranks[:k], ranks[k] + 1, *ranks[k + 1 :]]) <= budget
        ]
        if not larger:
            return ranks
        *_, ranks = min(larger)


def _share(factorization: Factorization, rank: float, otherwise: str) -> float:
    if isinstance(rank, bool) or not 0 < rank <= 1:
        raise ConfigError(
            f"{type(factorization).__name__}: expected a share of the dense weight between 0 and 1, or {otherwise}, "
            f"got {rank}"
        )
    return rank


def _sequence(rank: Sequence[int]) -> list[int]:
    """As it is, also where it is none and will be refused."""
    return list(rank) if isinstance(rank, Iterable) else [rank]


def _require_ranks(factorization: Factorization, ranks: Sequence[int], most: Sequence[int]) -> None:
    fits = len(ranks) == len(most) and all(
        type(r) is int and 1 <= r <= m for r, m in zip(ranks, most, strict=False)
    )
    if not fits:
        many = "ranks" if len(most) > 1 else "rank"
        raise ConfigError(
            f"{type(factorization).__name__}: expected {len(most)} {many} from 1 to at most {list(most)}, got "
            f"{list(ranks)}"
        )
