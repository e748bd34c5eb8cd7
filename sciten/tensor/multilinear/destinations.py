"""Where the results of a map are added up, and whether all of them is written."""

from functools import lru_cache

from sciten.tensor.multilinear.description import Multilinear


def by_destination(map_: Multilinear) -> dict[str | None, tuple[int, ...]]:
    """Results by where they are added up: None for along the batch, "" for one shared row, else the index's name."""
    groups: dict[str | None, tuple[int, ...]] = {}
    for r, operand in enumerate(map_.results):
        destination = "" if operand.shared else operand.index
        groups[destination] = (*groups.get(destination, ()), r)
    return groups


@lru_cache(maxsize=4096)
def complete(map_: Multilinear, result: int) -> bool:
    """Whether every component of a result has a term, so that all of it is written."""
    return len({t.target[1] for t in map_.terms if t.target[0] == result}) == map_.results[result].components
