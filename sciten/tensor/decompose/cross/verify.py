"""Places that tell whether a train is right, chosen independently of how it was made."""

from collections.abc import Callable, Sequence
from math import isqrt, prod
from typing import NamedTuple

import torch
from torch import Tensor

from sciten.tensor.decompose.cross.entries import Entries, Steps, along, joined, random_places
from sciten.tensor.formats.tensor_train import TensorTrain

#: Random places. Smaller tensors are looked at as a whole.
SAMPLES = 2048
_MORE_SAMPLES = 2**14  # before a train is called right
#: Tensors of at most so many entries are looked at as a whole before they are called right.
EXHAUSTIVE = 2**16
#: Walks to larger errors, from the worst of the samples and from where the function is largest.
_WALKS = 8
#: Rounds over all modes that a walk makes at most.
_ROUNDS = 3
#: Known rows and columns that are crossed at each bond at most, unless more values were taken to make the train, and
#: random ones beside them.
_LINES, _RANDOM_LINES = 256, 32
#: Places that are handed back at most.
_FAILING = 16

Score = Callable[[Tensor], Tensor]


class Check(NamedTuple):
    """The largest error that was found, relative to the largest value, and places where it was too large, `[m, d]`."""

    error: float
    failing: Tensor


def verify(
    entries: Entries,
    train: TensorTrain,
    tolerance: float,
    known: Tensor,
    generator: torch.Generator,
    steps: Steps | None = None,
) -> Check:
    """Compare a train with the function.

    At random places, half of them with many indices at the ends of their modes, as sums take their rare values there;
    at corners, at given places, at crossings of places with large values. With `steps` at more of them, and where every
    pair of neighbouring modes meets what the method knows before and after them, and random places. Then by walks from
    the worst of them, and from the largest values, one index at a time, to larger errors. Of small tensors all entries,
    with `steps` of larger ones too.

    Args:
        entries: what is approximated.
        train: by this.
        tolerance: relative to the largest value; places beyond have failed.
        known: further places, `[m, d]`.
        generator: of random numbers.
        steps: how the train was made.
    """

    def errors(places: Tensor) -> Tensor:
        return _moduli(entries(places) - train.at(places))

    shape = entries.shape
    if prod(shape) <= (SAMPLES if steps is None else EXHAUSTIVE):
        places = every_place(shape, generator.device)
        found = errors(places)
    else:
        count = SAMPLES if steps is None else _MORE_SAMPLES
        samples = _scattered(shape, count, generator)
        crossings = _crossings(entries.large, generator)
        places = torch.cat([samples, marked(shape, generator.device), known, crossings])
        found = errors(places)
        if steps is not None:
            taken = entries.count
            for bond in range(1, len(shape)):
                more, there = _worst_of_block(entries, train, steps, bond, taken, generator)
                places, found = torch.cat([places, more]), torch.cat([found, there])
        worst = places[found.topk(min(_WALKS, len(found))).indices]
        start = torch.cat([worst, entries.large[:_WALKS]])
        ends, at_ends = climb(errors, start, shape, _ROUNDS)
        places, found = torch.cat([ends, places]), torch.cat([at_ends, found])
    scale = entries.largest
    error = float(found.max()) / scale if scale else float(found.max())
    return Check(error, _failing(places, found, tolerance * scale))


def _worst_of_block(
    entries: Entries,
    train: TensorTrain,
    steps: Steps,
    bond: int,
    taken: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Places with the largest errors, and these, among known and random rows before a bond and columns after it."""
    shape = entries.shape
    most = max(_LINES, isqrt(2 * taken // (len(shape) - 1)))
    rows = joined(steps.prefixes[bond - 1], along(shape[bond - 1], entries.large))
    columns = joined(along(shape[bond], entries.large), steps.suffixes[bond + 1])
    rows = torch.cat([_some(rows, most, generator), _scattered(shape[:bond], _RANDOM_LINES, generator)])
    columns = torch.cat([_some(columns, most, generator), _scattered(shape[bond:], _RANDOM_LINES, generator)])
    approximate = _before(train, rows) @ _after(train, columns)
    errors = _moduli(entries.block(rows, columns) - approximate).flatten()
    worst = errors.topk(min(_FAILING, len(errors)))
    i, j = worst.indices // len(columns), worst.indices % len(columns)
    return torch.cat([rows[i], columns[j]], 1), worst.values


def _some(rows: Tensor, most: int, generator: torch.Generator) -> Tensor:
    chosen = torch.randperm(len(rows), generator=generator, device=generator.device)[:most]
    return rows[chosen]


def _before(train: TensorTrain, rows: Tensor) -> Tensor:
    """The product of the first cores at `[m, k]` indices, `[m, r]`."""
    product = train.cores[0].new_ones(len(rows), 1)
    for core, index in zip(train.cores, rows.mT, strict=False):
        product = torch.einsum("ma,amb->mb", product, core.index_select(1, index))
    return product


def _after(train: TensorTrain, columns: Tensor) -> Tensor:
    """The product of the last cores at `[c, d - k]` indices, `[r, c]`."""
    product = train.cores[0].new_ones(1, len(columns))
    for core, index in zip(reversed(train.cores), columns.mT.flip(0), strict=False):
        product = torch.einsum("acb,bc->ac", core.index_select(1, index), product)
    return product


def _moduli(differences: Tensor) -> Tensor:
    return torch.nan_to_num(differences.abs(), nan=torch.inf)


def _scattered(shape: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
    """Random places; in half of them every other index, on average, is the first or the last."""
    places = random_places(shape, count, generator)
    dice = torch.randint(4, places.shape, generator=generator, device=places.device)
    last = torch.tensor(shape, device=places.device) - 1
    ends = torch.where(dice == 0, 0, torch.where(dice == 1, last, places))
    return torch.where(torch.arange(count, device=places.device)[:, None] % 2 == 0, places, ends)


def climb(score: Score, places: Tensor, shape: Sequence[int], rounds: int) -> tuple[Tensor, Tensor]:
    """Walks from `[m, d]` to where the score is larger: over all values of one index after the other."""
    best = score(places)
    for _ in range(rounds):
        before = best
        for mode, n in enumerate(shape):
            if n == 1:
                continue
            lines = places.repeat_interleave(n, 0)
            lines[:, mode] = along(n, places)[:, 0].repeat(len(places))
            best, chosen = score(lines).reshape(-1, n).max(1)
            places = places.clone()
            places[:, mode] = chosen
        if not bool((best > before).any()):
            break
    return places, best


def marked(shape: Sequence[int], device: torch.device) -> Tensor:
    """The first, the middle and the last place, and all on lines through them, `[m, d]`."""
    limits = torch.tensor(shape, device=device)
    places = torch.stack([torch.zeros_like(limits), limits // 2, limits - 1])
    found = [places]
    for mode, n in enumerate(shape):
        line = places.repeat_interleave(n, 0)
        line[:, mode] = along(n, places)[:, 0].repeat(len(places))
        found.append(line)
    return torch.cat(found)


def every_place(shape: Sequence[int], device: torch.device) -> Tensor:
    """All indices, `[n_1 ... n_d, d]`."""
    flat = torch.arange(prod(shape), device=device)
    return torch.stack(torch.unravel_index(flat, tuple(shape)), 1)


def _crossings(large: Tensor, generator: torch.Generator) -> Tensor:
    """Beginnings of places with the ends of others; nearly all else is zero where a function is concentrated."""
    d = large.shape[1]
    count = SAMPLES // 8
    i, j, cut = (
        torch.randint(high, (count, 1), generator=generator, device=generator.device)
        for high in (len(large), len(large), d + 1)
    )
    first = torch.arange(d, device=large.device) < cut
    return torch.where(first, large[i[:, 0]], large[j[:, 0]])


def _failing(places: Tensor, errors: Tensor, limit: float) -> Tensor:
    worst = errors.topk(min(4 * _FAILING, len(errors)))
    chosen = places[worst.indices[worst.values > limit]]
    distinct: dict[tuple[int, ...], None] = dict.fromkeys(map(tuple, chosen.tolist()))
    rows = list(distinct)[:_FAILING]
    return torch.tensor(rows, dtype=torch.int64, device=places.device).reshape(len(rows), places.shape[1])
