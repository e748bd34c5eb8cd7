"""Parts and Kronecker products, of every format."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor import CP, TensorTrain, TreeTensor, Tucker
from sciten.tensor.formats import Format, Tree
from sciten.tensor.formats.indexing import parsed

SHAPE = (3, 2, 4, 3)
TREES = {
    "balanced": Tree.balanced,
    "caterpillar": Tree.caterpillar,
    "star": Tree.star,
    "crossed": lambda d: Tree(((2, 0), (3, 1))) if d == 4 else Tree.balanced(d),
    "mixed": lambda d: Tree((0, (3, 1, 2))) if d == 4 else Tree.balanced(d),
}
MAKERS: dict[str, Callable[..., Format]] = {
    "CP": lambda shape, **options: CP.random(shape, 3, **options),
    "Tucker": lambda shape, **options: Tucker.random(shape, [2] * len(shape), **options),
    "TensorTrain": lambda shape, **options: TensorTrain.random(shape, 3, **options),
    **{
        name: lambda shape, tree=tree, **options: TreeTensor.random(tree(len(shape)), shape, 2, **options)
        for name, tree in TREES.items()
    },
}
ALL = pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))


def options(seed: int = 0, **kind: Any) -> dict:
    return {"generator": torch.Generator().manual_seed(seed), **kind}


def full(x: Format | Tensor) -> Tensor:
    return x if isinstance(x, Tensor) else x.full()


def taken(x: Tensor, keys: tuple, n_batch: int) -> Tensor:
    """Mode by mode, from the last, as integers take theirs away."""
    for mode in reversed(range(len(keys))):
        x = x[(*[slice(None)] * (n_batch + mode), keys[mode])]
    return x


KEYS = [slice(None), slice(1, None), slice(None, None, 2), slice(0, 1), 0, -1, torch.tensor([1, 0, 1])]


@ALL
@pytest.mark.parametrize("batch", [(), (2,)])
def test_parts_are_those_of_full_tensors(make: Callable[..., Format], batch: tuple[int, ...]) -> None:
    x = make(SHAPE, **options(batch_shape=batch, dtype=torch.complex128))
    dense = x.full()
    for keys in product([slice(None), 1, torch.tensor([1, 0, 1])], repeat=4):
        found = x[keys]
        torch.testing.assert_close(full(found), taken(dense, keys, len(batch)))
        assert isinstance(found, Tensor) == all(isinstance(key, int) for key in keys)


@ALL
@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4))
def test_parts_of_fewer_modes(make: Callable[..., Format], keys: list) -> None:
    x = make(SHAPE[: len(keys)], **options())
    torch.testing.assert_close(full(x[tuple(keys)]), taken(x.full(), tuple(keys), 0))


@ALL
def test_modes_that_are_not_named_are_whole(make: Callable[..., Format]) -> None:
    x = make(SHAPE, **options())
    dense = x.full()
    torch.testing.assert_close(full(x[1]), dense[1])
    torch.testing.assert_close(full(x[..., 1]), dense[..., 1])
    torch.testing.assert_close(full(x[2, ..., 1, :]), dense[2, ..., 1, :])
    torch.testing.assert_close(full(x[np.int64(1), ..., [0, 2]]), dense[1][..., [0, 2]])
    torch.testing.assert_close(full(x[...]), dense)
    torch.testing.assert_close(full(x[::-1, ..., torch.tensor(2)]), dense.flip(0)[..., 2])
    torch.testing.assert_close(full(x[[-1, 0]]), dense[[-1, 0]])
    for nothing in (slice(0), []):
        torch.testing.assert_close(full(x[nothing, 1]), dense[nothing][:, 1])


def test_trees_lose_the_nodes_that_keep_one_child() -> None:
    x = TreeTensor.random(Tree(((0, 1), (2, 3))), SHAPE, 2, **options())
    assert x[0].tree == Tree((0, (1, 2)))  # type: ignore[union-attr]
    assert x[0, 0].tree == Tree((0, 1))  # type: ignore[union-attr]
    assert x[:, 0, 0].tree == Tree((0, 1))  # type: ignore[union-attr]
    assert x[0, 0, :, 0].tree == Tree((0,))  # type: ignore[union-attr]
    assert x[:2].tree == x.tree  # type: ignore[union-attr]


@ALL
def test_gradients_of_parts(make: Callable[..., Format]) -> None:
    x = make((2, 3, 2), **options())
    cores = [core.clone().requires_grad_() for core in x.cores]

    def part(*given: Tensor) -> Tensor:
        if isinstance(x, TreeTensor | TensorTrain):
            again: Format = replace(x, cores=given)
        elif isinstance(x, Tucker):
            again = Tucker(given[-1], given[:-1])
        else:
            again = CP(given[-1], given[:-1])
        return full(again[:, 1, [1, 0, 1]])

    assert torch.autograd.gradcheck(part, cores)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (3, "X: expected an index of mode 0 from -3 to 2, got 3"),
        ((0, -3), "mode 1 from -2 to 1, got -3"),
        ((0, [0, 2]), "mode 1 from -2 to 1, got 2"),
        ((0, 0, 0), "at most 2 indices"),
        ((..., 0, ...), "one '...'"),
        (1.0, "an integer, a slice or a list of integers for mode 0, got 1.0"),
        (True, "list of integers for mode 0, got True"),
        ([True, False, True], "list of integers for mode 0"),
        (torch.zeros(2, 2).long(), "list of integers for mode 0"),
        (None, "list of integers for mode 0, got None"),
        ("a", "list of integers for mode 0, got 'a'"),
        (slice(None, None, 0), "list of integers for mode 0, got slice"),
    ],
)
def test_keys_that_do_not_fit_are_named(key: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parsed("X", (3, 2), key)


@ALL
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize(
    ("first", "second"), [((3,), (2,)), ((3, 2), (4,)), ((2,), (3, 2, 2)), ((2, 3), (3, 2))]
)
def test_kronecker_products(
    make: Callable[..., Format], batch: tuple[int, ...], first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    x = make(first, **options(0, batch_shape=batch, dtype=torch.complex128))
    y = make(second, **options(1, batch_shape=batch, dtype=torch.complex128))
    found = x.kron(y)
    assert found.shape == first + second
    left = x.full().reshape(*batch, *first, *[1] * len(second))
    right = y.full().reshape(*batch, *[1] * len(first), *second)
    torch.testing.assert_close(found.full(), left * right)


def test_ranks_of_kronecker_products() -> None:
    x, y = CP.random((2, 3), 2, **options()), CP.random((4,), 3, **options())
    assert x.kron(y).ranks == (6,)
    trees = [TreeTensor.random(Tree.balanced(d), SHAPE[:d], 2, **options()) for d in (1, 3)]
    assert trees[0].kron(trees[1]).tree == Tree((0, ((1, 2), 3)))
    assert trees[1].kron(trees[0]).tree == Tree((((0, 1), 2), 3))


@pytest.mark.parametrize("batch", [(), (2,)])
def test_kronecker_products_of_tree_operators_are_those_of_matrices(batch: tuple[int, ...]) -> None:
    def operator(modes: list[tuple[int, int]], seed: int) -> TreeTensor:
        tree = Tree.balanced(len(modes))
        x = TreeTensor.random(tree, [n * m for n, m in modes], 2, **options(seed, batch_shape=batch))
        nodes = zip(tree.nodes, x.cores, strict=True)
        cores = [c if node.mode is None else c.unflatten(-2, modes[node.mode]) for node, c in nodes]
        return TreeTensor(tree, tuple(cores), operator=True)

    def matrix(x: TreeTensor) -> Tensor:
        return x.full().reshape(*batch, int(np.prod([n for n, _ in x.modes])), -1)

    a, b = operator([(2, 3)], 0), operator([(3, 2), (2, 2)], 1)
    for x, y in ((a, b), (b, a)):
        expected = torch.einsum("...ij,...kl->...ikjl", matrix(x), matrix(y)).flatten(-2).flatten(-3, -2)
        torch.testing.assert_close(matrix(x.kron(y)), expected)
    with pytest.raises(ConfigError, match="kron expects another operator in this format"):
        a.kron(TreeTensor.random(Tree.balanced(2), (2, 2), 1, **options(0, batch_shape=batch)))
    with pytest.raises(ConfigError, match=r"\[\] is for vectors"):
        a[0]


@ALL
def test_kronecker_products_with_something_else_are_refused(make: Callable[..., Format]) -> None:
    x = make((2, 3), **options())
    with pytest.raises(ConfigError, match="kron expects another vector in this format, got 1"):
        x.kron(1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="kron expects one dtype"):
        x.kron(make((2,), **options(dtype=torch.float32)))
