"""Parts of tensors: what a key in square brackets says of each mode, and what it leaves of a tree of cores."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor.formats.branches import Cores, absorb
from sciten.tensor.formats.tree import Nested, Tree

Key = int | slice | Tensor


def parsed(name: str, shape: Sequence[int], key: Any) -> list[Key]:
    """For each mode an index from zero, a slice that runs forwards, or a list of indices, `[n]`, of int64.

    Args:
        name: of the format, for errors.
        shape: of the tensor.
        key: an integer, a slice or a list of integers for each mode, "..." for all that are not named; those at the end
            may be left out.

    Raises:
        ConfigError: there are more of them than modes, one lies outside, or is none of these.
    """
    given = list(key) if isinstance(key, tuple) else [key]
    dots = [place for place, one in enumerate(given) if one is Ellipsis]
    missing = len(shape) - len(given) + len(dots)
    if len(dots) > 1 or missing < 0:
        raise ConfigError(f"{name}: expected at most {len(shape)} indices and one '...', got {key!r}")
    place = dots[0] if dots else len(given)
    keys = [*given[:place], *[slice(None)] * missing, *given[place + 1 :]]
    return [_of_mode(name, mode, n, one) for mode, (n, one) in enumerate(zip(shape, keys, strict=True))]


def _of_mode(name: str, mode: int, n: int, one: Any) -> Key:
    try:
        found = _read(one, n)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{name}: expected an integer, a slice or a list of integers for mode {mode}, got {one!r:.80}"
        ) from error
    if isinstance(found, slice):
        return found
    lowest, highest = (found, found) if isinstance(found, int) else _ends(found)
    if not -n <= lowest <= highest < n:
        outside = lowest if lowest < -n else highest
        raise ConfigError(f"{name}: expected an index of mode {mode} from {-n} to {n - 1}, got {outside}")
    return found % n


def _read(one: Any, n: int) -> Key:
    if isinstance(one, slice):
        start, stop, step = one.indices(n)
        # Torch has no slices that run backwards.
        return slice(start, stop, step) if step > 0 else torch.tensor(range(start, stop, step)).long()
    if isinstance(one, int | np.integer) and not isinstance(one, bool):
        return int(one)
    places = torch.as_tensor(one)
    if places.shape == (0,):  # no index is of no dtype
        return places.long()
    if places.dtype == torch.bool or places.is_floating_point() or places.is_complex() or places.ndim > 1:
        raise TypeError
    return places.long() if places.ndim else int(places)


def _ends(places: Tensor) -> tuple[int, int]:
    return (int(places.min()), int(places.max())) if len(places) else (0, 0)


def tree_part(
    tree: Tree, cores: Cores, keys: Sequence[Key], n_batch: int
) -> tuple[Tree, tuple[Tensor, ...]] | Tensor:
    """What keys leave of a tree of cores: an integer takes away its leaf.

    A node that keeps a single child becomes one with it. The modes that stay keep their order. With integers alone the
    entries, `[*batch]`.
    """
    stay = [mode for mode, key in enumerate(keys) if not isinstance(key, int)]
    parts: list[_Part | Tensor] = []
    for node, core in zip(tree.nodes, cores, strict=True):
        if node.mode is None:
            parts.append(_joined(core, [parts[child] for child in node.children], n_batch))
            continue
        key = keys[node.mode]
        chosen = core[..., key, :]
        parts.append(chosen if isinstance(key, int) else _Part(stay.index(node.mode), (chosen,)))
    root = parts[-1]
    if isinstance(root, Tensor):
        return root[..., 0]
    if isinstance(root.nested, int):  # a single mode: a leaf cannot be the root
        top = cores[-1].new_ones(*cores[-1].shape[:n_batch], 1, 1)
        return Tree((root.nested,)), (*root.cores, top)
    return Tree(root.nested), root.cores


class _Part(NamedTuple):
    """What is left of a node and of all below it: its subtree, and cores of which its own is the last."""

    nested: Nested
    cores: tuple[Tensor, ...]


def _joined(core: Tensor, children: Sequence[_Part | Tensor], n_batch: int) -> _Part | Tensor:
    """A node with what is left of its children: vectors `[..., r]` where nothing is."""
    rows = [child.unsqueeze(-2) if isinstance(child, Tensor) else None for child in children]
    stay = [child for child in children if isinstance(child, _Part)]
    ranks = [child.cores[-1].shape[-1] for child in stay]
    core = absorb(core, rows, n_batch).reshape(*core.shape[:n_batch], *ranks, core.shape[-1])
    if not stay:
        return core
    if len(stay) == 1:
        *below, last = stay[0].cores
        merged = last.flatten(n_batch, -2) @ core
        return _Part(stay[0].nested, (*below, merged.reshape(*last.shape[:-1], core.shape[-1])))
    below = [one for child in stay for one in child.cores]
    return _Part(tuple(child.nested for child in stay), (*below, core))
