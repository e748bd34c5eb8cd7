"""Remedies for names that are unknown."""

import difflib
from collections import Counter
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """A remedy for an unknown name: the nearest known one, or all of them where none is near."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names) or 'none'}"


def duplicates(names: Iterable[str]) -> list[str]:
    """The names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]
