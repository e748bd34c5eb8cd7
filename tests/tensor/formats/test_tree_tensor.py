import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor import TreeTensor
from sciten.tensor.formats import Tree

TREES = [
    Tree((0,)),
    Tree.balanced(2),
    Tree.balanced(3),
    Tree.caterpillar(4),
    Tree.star(3),
    Tree(((2, 0), (3, 1))),
    Tree((0, (3, 1, 2))),
]
SHAPE = (3, 2, 4, 2)


def random(tree: Tree, rank: int = 3, seed: int = 0, **options: object) -> TreeTensor:
    return TreeTensor.random(
        tree, SHAPE[: tree.n_modes], rank, generator=torch.Generator().manual_seed(seed), **options
    )


def operator(tree: Tree, modes: list[tuple[int, int]], rank: int = 2, seed: int = 0) -> TreeTensor:
    generator = torch.Generator().manual_seed(seed)
    merged = TreeTensor.random(tree, [n * m for n, m in modes], rank, generator=generator)
    cores = [
        core if node.mode is None else core.unflatten(-2, modes[node.mode])
        for node, core in zip(tree.nodes, merged.cores, strict=True)
    ]
    return TreeTensor(tree, tuple(cores), operator=True)


def matrix(train: TreeTensor) -> Tensor:
    rows = int(np.prod([n for n, _ in train.modes]))
    return train.full().reshape(rows, -1)


def dense(x: TreeTensor) -> Tensor:
    """Entry by entry, from the leaves to the root."""
    result = x.cores[0].new_zeros(*x.batch_shape, *x.shape)
    for place in np.ndindex(*x.shape):
        found: list[Tensor] = []
        for node, core in zip(x.tree.nodes, x.cores, strict=True):
            if node.mode is not None:
                found.append(core[..., place[node.mode], :])
                continue
            value = core
            for child in node.children:  # the first axis after the batch, again and again
                vector = found[child].reshape(
                    *x.batch_shape, -1, *[1] * (value.ndim - len(x.batch_shape) - 1)
                )
                value = (value * vector).sum(len(x.batch_shape))
            found.append(value)
        result[(..., *place)] = found[-1][..., 0]
    return result


trees = st.sampled_from(TREES)
kinds = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([torch.float64, torch.complex128]),
        "batch_shape": st.sampled_from([(), (2,), (2, 3)]),
    }
)


@settings(max_examples=30, deadline=None)
@given(trees, kinds)
def test_entries_and_algebra_are_those_of_full_tensors(tree: Tree, kind: dict) -> None:
    x, y = random(tree, 3, 0, **kind), random(tree, 2, 1, **kind)
    a, b = dense(x), dense(y)
    axes = tuple(range(len(x.batch_shape), a.ndim))
    torch.testing.assert_close(x.full(), a)
    places = torch.from_numpy(np.argwhere(np.ones(x.shape)))
    torch.testing.assert_close(x.at(places), a.flatten(len(x.batch_shape)))
    torch.testing.assert_close((x + y).full(), a + b)
    torch.testing.assert_close((x - 2.5 * y).full(), a - 2.5 * b)
    torch.testing.assert_close((x * y).full(), a * b)
    torch.testing.assert_close(x.inner(y), (a.conj() * b).sum(axes))
    torch.testing.assert_close(x.norm(), a.abs().square().sum(axes).sqrt())
    torch.testing.assert_close(x.conj().full(), a.conj())


@pytest.mark.parametrize("tree", [Tree.balanced(3), Tree.star(3), Tree((2, (0, 1)))], ids=str)
def test_operators_are_matrices(tree: Tree) -> None:
    a = operator(tree, [(2, 3), (4, 2), (1, 4)]) * (1 + 2j)
    b = operator(tree, [(3, 2), (2, 2), (4, 4)], 3, 1).to(dtype=torch.complex128)
    x = random(tree, 2, 2, dtype=torch.complex128)
    torch.testing.assert_close((a @ x).full().flatten(), matrix(a) @ x.full().flatten())
    torch.testing.assert_close(matrix(a @ b), matrix(a) @ matrix(b))
    torch.testing.assert_close(matrix(a.mH), matrix(a).mH)
    torch.testing.assert_close(matrix(a + a * 2), 3 * matrix(a))
    torch.testing.assert_close((TreeTensor.identity(tree, x.shape, dtype=x.dtype) @ x).full(), x.full())


@settings(max_examples=40, deadline=None)
@given(trees, kinds, st.sampled_from([0.0, 1e-10, 1e-2, 0.3, 0.9]))
def test_rounding_keeps_its_error(tree: Tree, kind: dict, tolerance: float) -> None:
    x = random(tree, 4, **kind)
    error = (x.round(tolerance).full() - x.full()).flatten(len(x.batch_shape)).norm(dim=-1)
    assert bool((error <= (tolerance + 1e-14) * x.norm()).all())


@pytest.mark.parametrize("tree", [t for t in TREES if t.n_modes > 2], ids=str)
def test_rounding_finds_the_ranks_of_sums(tree: Tree) -> None:
    x = random(tree, 1)
    assert (x + x).round().ranks == x.ranks
    assert max((x + random(tree, 1, 1)).round().ranks) == 2
    assert set((x * 0).round().ranks) == {1}
    assert max(random(tree, 4).round(0.5, rank=1).ranks) == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("tree", [Tree.balanced(4), Tree.star(3)], ids=str)
def test_gradients_of_rounding_are_those_of_finite_differences(tree: Tree, dtype: torch.dtype) -> None:
    x = random(tree, 1, dtype=dtype)
    sums = x + x * 0.5 + random(tree, 1, 1, dtype=dtype)
    weights = random(tree, 2, 9, dtype=dtype)

    def value(*given: Tensor) -> Tensor:
        rounded = TreeTensor(tree, given).round(1e-6, rank=2)
        return torch.stack([rounded.inner(weights), (rounded * rounded).inner(weights)])

    assert torch.autograd.gradcheck(value, [core.clone().requires_grad_() for core in sums.cores])


@pytest.mark.parametrize(
    "make",
    [lambda: random(TREES[-1], batch_shape=(2,)), lambda: operator(Tree.balanced(2), [(2, 3), (4, 1)])],
)
def test_arrays_make_the_same_tensor(make) -> None:
    x = make()
    again = TreeTensor.from_arrays(x.to_arrays())
    assert again.tree == x.tree and again.operator == x.operator
    assert all(map(torch.equal, again.cores, x.cores))


def test_built_in_trees() -> None:
    assert Tree.balanced(5).nested == (((0, 1), 2), (3, 4))
    assert Tree.caterpillar(4).nested == (((0, 1), 2), 3)
    assert Tree.star(3).nested == (0, 1, 2)
    assert Tree.balanced(1).nested == Tree.caterpillar(1).nested == (0,)
    nodes = Tree(((1, 0), 2)).nodes
    assert [node.mode for node in nodes] == [1, 0, None, 2, None]
    assert [node.parent for node in nodes] == [2, 2, 4, 4, None]
    assert Tree(((1, 0), 2)).leaves == (1, 0, 3)


@pytest.mark.parametrize("nested", [(), (0, 2), ((0, 0), 1), ((0,), 1), (0, "1"), 3])
def test_what_is_no_tree_is_refused(nested) -> None:
    with pytest.raises(ConfigError, match="Tree: expected"):
        Tree(nested)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: TreeTensor(x.tree, x.cores[:-1]), "expected 7 cores"),
        (lambda x: TreeTensor(x.tree, (x.cores[0][:, :1], *x.cores[1:])), r"core 2 to have ranks \[1, 3\]"),
        (
            lambda x: TreeTensor(x.tree, (*x.cores[:-1], torch.ones(3, 3, 2).double())),
            "rank 1 at its end, got 2",
        ),
        (lambda x: x + random(Tree.caterpillar(4)), r"\+ expects one tree"),
        (lambda x: x @ x, "@ expects an operator"),
        (lambda x: x.round(2.0), "a tolerance from 0 to 1"),
        (lambda x: x.at(torch.tensor([[0, 0, 0, 9]])), "within the shape"),
    ],
)
def test_what_does_not_fit_is_named(wrong, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong(random(Tree.balanced(4)))
