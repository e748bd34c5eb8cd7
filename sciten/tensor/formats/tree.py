"""Trees whose leaves are the modes of a tensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from sciten.errors import ConfigError

Nested = int | tuple[Any, ...]


class Node(NamedTuple):
    """A node: places of its children (none for a leaf) and of its parent (None for the root), and a leaf's mode."""

    children: tuple[int, ...]
    parent: int | None
    mode: int | None


@dataclass(frozen=True)
class Tree:
    """A rooted tree, written as nested tuples of the modes: `Tree(((0, 1), (2, 3)))`.

    Args:
        nested: every mode 0..d - 1 once; each tuple has at least two members, but for `Tree((0,))` of a single mode.

    Raises:
        ConfigError: a mode is missing or occurs twice, or a tuple has a single member.
    """

    nested: tuple[Any, ...]

    def __post_init__(self) -> None:
        modes = sorted(_leaves(self.nested))
        if not isinstance(self.nested, tuple) or modes != list(range(len(modes))) or not modes:
            raise ConfigError(
                f"Tree: expected nested tuples with every mode 0, 1, ... once, got {self.nested!r}"
            )
        if len(modes) > 1 and _has_single(self.nested):
            raise ConfigError(f"Tree: expected at least two members in every tuple, got {self.nested!r}")

    @classmethod
    def balanced(cls, n_modes: int) -> "Tree":
        """Halves of halves: as shallow as a binary tree can be."""
        return cls(_rooted(_halves(0, n_modes)))

    @classmethod
    def caterpillar(cls, n_modes: int) -> "Tree":
        """One mode after the other, (((0, 1), 2), 3): the tree of a tensor train."""
        nested: Nested = 0
        for mode in range(1, n_modes):
            nested = (nested, mode)
        return cls(_rooted(nested))

    @classmethod
    def star(cls, n_modes: int) -> "Tree":
        """All modes at the root: the tree of a Tucker decomposition."""
        return cls(tuple(range(n_modes)))

    def beside(self, other: "Tree") -> "Tree":
        """This tree and another under a new root; the modes of the other follow those of this one."""
        mine, theirs = (tree.nested if tree.n_modes > 1 else tree.nested[0] for tree in (self, other))
        return Tree((mine, _shifted(theirs, self.n_modes)))

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Children before parents, from left to right; the root is last."""
        nodes: list[Node] = []
        _visit(self.nested, nodes)
        parents = {child: place for place, node in enumerate(nodes) for child in node.children}
        return tuple(node._replace(parent=parents.get(place)) for place, node in enumerate(nodes))

    @cached_property
    def leaves(self) -> tuple[int, ...]:
        """For each mode the place of its leaf among the nodes."""
        places = {node.mode: place for place, node in enumerate(self.nodes) if node.mode is not None}
        return tuple(places[mode] for mode in range(len(places)))

    @property
    def n_modes(self) -> int:
        """Number of leaves."""
        return len(self.leaves)

    def __repr__(self) -> str:
        return f"Tree({self.nested})"


def _rooted(nested: Nested) -> tuple[Any, ...]:
    return nested if isinstance(nested, tuple) else (nested,)


def _halves(start: int, end: int) -> Nested:
    if end - start == 1:
        return start
    middle = (start + end + 1) // 2
    return _halves(start, middle), _halves(middle, end)


def _shifted(nested: Nested, by: int) -> Nested:
    return nested + by if isinstance(nested, int) else tuple(_shifted(part, by) for part in nested)


def _leaves(nested: object) -> list[int]:
    if isinstance(nested, int):
        return [nested]
    if not isinstance(nested, tuple):
        raise ConfigError(f"Tree: expected nested tuples of modes, got {nested!r}")
    return [mode for part in nested for mode in _leaves(part)]


def _has_single(nested: Nested) -> bool:
    return isinstance(nested, tuple) and (len(nested) < 2 or any(map(_has_single, nested)))


def _visit(nested: Nested, nodes: list[Node]) -> int:
    children: Sequence[int] = () if isinstance(nested, int) else [_visit(part, nodes) for part in nested]
    nodes.append(Node(tuple(children), None, nested if isinstance(nested, int) else None))
    return len(nodes) - 1
