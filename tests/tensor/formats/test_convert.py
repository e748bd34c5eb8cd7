import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor import CP, TensorTrain, TreeTensor, Tucker
from sciten.tensor.formats import Format, Tree
from sciten.tensor.formats.convert import to_tensor_train, to_tree_tensor, to_tucker

SHAPE = (3, 4, 2, 3)
BATCH = pytest.mark.parametrize("batch", [(), (2,)])
MODES = pytest.mark.parametrize("d", [1, 2, 4])


def make(kind: type[Format], d: int, batch: tuple[int, ...], tree: Tree | None = None) -> Format:
    options = {"generator": torch.Generator().manual_seed(0), "batch_shape": batch, "dtype": torch.complex128}
    if kind is TreeTensor:
        return TreeTensor.random(tree or Tree.caterpillar(d), SHAPE[:d], 2, **options)
    if kind is Tucker:
        return Tucker.random(SHAPE[:d], [2] * d, **options)
    return kind.random(SHAPE[:d], 2, **options)  # type: ignore[attr-defined]


@BATCH
@MODES
@pytest.mark.parametrize("kind", [CP, Tucker, TensorTrain, TreeTensor])
def test_trains(kind: type[Format], d: int, batch: tuple[int, ...]) -> None:
    x = make(kind, d, batch)
    found = to_tensor_train(x)
    assert isinstance(found, TensorTrain)
    torch.testing.assert_close(found.full(), x.full())


@BATCH
@MODES
def test_tucker(d: int, batch: tuple[int, ...]) -> None:
    for x in (make(CP, d, batch), make(Tucker, d, batch), make(TreeTensor, d, batch, Tree.star(d))):
        found = to_tucker(x)
        assert isinstance(found, Tucker)
        torch.testing.assert_close(found.full(), x.full())


@BATCH
@MODES
@pytest.mark.parametrize("kind", [CP, Tucker, TensorTrain, TreeTensor])
def test_trees(kind: type[Format], d: int, batch: tuple[int, ...]) -> None:
    trees = [Tree.caterpillar(d)]
    if kind in (CP, Tucker):
        trees += [Tree.balanced(d), Tree.star(d)]
    for tree in trees:
        x = make(kind, d, batch)
        found = to_tree_tensor(x, tree)
        assert found.tree == tree
        torch.testing.assert_close(found.full(), x.full())


@pytest.mark.parametrize("d", [1, 3])
def test_operators_between_trains_and_trees(d: int) -> None:
    modes = [(3, 2), (2, 2), (1, 4)][:d]
    merged = TensorTrain.random([n * m for n, m in modes], 2, generator=torch.Generator().manual_seed(0))
    pairs = zip(merged.cores, modes, strict=True)
    x = TensorTrain(tuple(core.unflatten(-2, mode) for core, mode in pairs), operator=True)
    tree = to_tree_tensor(x, Tree.caterpillar(d))
    assert tree.operator and tree.modes == x.modes
    torch.testing.assert_close(tree.full(), x.full())
    torch.testing.assert_close(to_tensor_train(tree).full(), x.full())


def test_ranks_of_sums_of_outer_products() -> None:
    x = make(CP, 4, ())
    assert to_tensor_train(x).ranks == (1, 2, 2, 2, 1)
    assert to_tucker(x).ranks == (2, 2, 2, 2)


def test_gradients_flow_through() -> None:
    x = make(CP, 3, ())
    assert isinstance(x, CP)
    given = [t.clone().requires_grad_() for t in (x.weights, *x.factors)]

    def value(weights: Tensor, *factors: Tensor) -> Tensor:
        return to_tensor_train(CP(weights, factors)).full()

    assert torch.autograd.gradcheck(value, given)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: to_tensor_train(make(TreeTensor, 4, (), Tree.balanced(4))),
            "expected the tree of a caterpillar",
        ),
        (
            lambda: to_tucker(make(TensorTrain, 2, ())),
            "to_tucker: expected CP, Tucker or TreeTensor, got a TensorTrain",
        ),
        (lambda: to_tucker(make(TreeTensor, 4, ())), "on the tree of a star"),
        (lambda: to_tree_tensor(make(TensorTrain, 3, ()), Tree(((0, 2), 1))), "leaves in order"),
        (lambda: to_tree_tensor(make(CP, 4, ()), Tree.balanced(3)), "a tree with 4 leaves"),
        (lambda: to_tree_tensor(make(TreeTensor, 4, ()), Tree.star(4)), "expected a tensor on"),
        (lambda: to_tensor_train(3), "got a int"),
    ],
)
def test_what_does_not_fit_is_named(wrong, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()


@pytest.mark.parametrize(
    "nested", [((0, 1), (2, 3)), (((0, 1), 2), 3), (0, (1, (2, 3))), (0, 1, 2, 3), ((0, 1, 2), 3)]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_trains_go_on_trees_with_their_leaves_in_order(
    nested: tuple[object, ...], dtype: torch.dtype, batch: tuple[int, ...]
) -> None:
    tree = Tree(nested)
    generator = torch.Generator().manual_seed(0)
    x = TensorTrain.random([3, 4, 2, 5], [2, 3, 2], generator=generator, dtype=dtype, batch_shape=batch)
    torch.testing.assert_close(to_tree_tensor(x, tree).full(), x.full())
    cores = [core.unsqueeze(-2) * torch.ones(2, 1, dtype=dtype) for core in x.cores]
    operator = TensorTrain(tuple(cores), operator=True)
    torch.testing.assert_close(to_tree_tensor(operator, tree).full(), operator.full())


def test_ranks_on_trees_are_no_larger_than_they_must_be() -> None:
    x = TensorTrain.random([4] * 8, 2, generator=torch.Generator().manual_seed(0))
    found = to_tree_tensor(x + x, Tree.balanced(8))
    assert max(found.ranks) == 4  # between two bonds of rank 2


def test_gradients_go_through_trains_on_trees() -> None:
    x = TensorTrain.random([3, 2, 3, 2], 2, generator=torch.Generator().manual_seed(0))
    cores = [core.clone().requires_grad_() for core in x.cores]
    weights = torch.randn(3, 2, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for train in (to_tree_tensor(TensorTrain(tuple(cores)), Tree.balanced(4)), TensorTrain(tuple(cores))):
        (train.full() * weights).sum().backward()
        if train.cores is not cores and hasattr(train, "tree"):
            through = [core.grad.clone() for core in cores if core.grad is not None]
            for core in cores:
                core.grad = None
    for core, gradient in zip(cores, through, strict=True):
        torch.testing.assert_close(core.grad, gradient)
