from collections.abc import Callable
from typing import Any

import pytest
import torch

from sciten.errors import ConfigError
from sciten.tensor import CP, TensorTrain, TreeTensor, Tucker
from sciten.tensor.formats import Format, Tree, concatenate

MAKERS: dict[str, Callable[..., Format]] = {
    "CP": lambda shape, **options: CP.random(shape, 3, **options),
    "Tucker": lambda shape, **options: Tucker.random(shape, [2] * len(shape), **options),
    "TensorTrain": lambda shape, **options: TensorTrain.random(shape, 3, **options),
    "TreeTensor": lambda shape, **options: TreeTensor.random(Tree.balanced(len(shape)), shape, 2, **options),
}
ALL = pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))


def options(seed: int = 0, **kind: Any) -> dict:
    return {"generator": torch.Generator().manual_seed(seed), **kind}


@ALL
@pytest.mark.parametrize("d", [1, 2, 4])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_it_is_that_of_full_tensors(make: Callable[..., Format], d: int, batch: tuple[int, ...]) -> None:
    for mode in range(-d, d):
        shapes = [[3, 2, 4, 3][:d] for _ in range(3)]
        for seed, shape in enumerate(shapes):
            shape[mode] = seed + 1
        terms = [
            make(shape, **options(seed, batch_shape=batch, dtype=torch.complex128))
            for seed, shape in enumerate(shapes)
        ]
        found = concatenate(terms, mode)
        axis = mode if mode < 0 else len(batch) + mode
        # Nothing is rounded: zeros are added, and that is exact.
        torch.testing.assert_close(found.full(), torch.cat([x.full() for x in terms], axis))


@ALL
def test_ranks_add_up(make: Callable[..., Format]) -> None:
    x, y = make((3, 2, 4), **options(0)), make((3, 5, 4), **options(1))
    found = concatenate([x, y], 1)
    ends = {"TensorTrain": (0, -1), "TreeTensor": (-1,)}.get(type(x).__name__, ())
    added = [a + b for a, b in zip(x.ranks, y.ranks, strict=True)]
    for end in ends:
        added[end] = 1
    assert found.ranks == tuple(added)
    assert concatenate([x], 0).ranks == x.ranks


@ALL
def test_parts_of_it_are_the_tensors(make: Callable[..., Format]) -> None:
    x, y = make((3, 2), **options(0)), make((2, 2), **options(1))
    both = concatenate([x, y], 0)
    torch.testing.assert_close(both[:3].full(), x.full())  # type: ignore[union-attr]
    torch.testing.assert_close(both[3:].full(), y.full())  # type: ignore[union-attr]


def train(*shape: int, **kind: Any) -> TensorTrain:
    return TensorTrain.random(shape, 2, **options(**kind))


@pytest.mark.parametrize(
    ("tensors", "mode", "message"),
    [
        ([], 0, "at least one tensor"),
        ([train(2, 3)], 2, "a mode from -2 to 1, got 2"),
        ([train(2, 3), train(2, 4)], 0, "equal modes but for mode 0"),
        ([train(2, 3), train(2, 3, 2)], 0, "equal modes but for mode 0"),
        ([train(2, 3), 1], 0, "expected vectors in a low-rank format, got 1"),
        ([TensorTrain.identity((2, 3))], 0, "expected vectors"),
        ([train(2, 3), CP.random((2, 3), 2, **options())], 0, "expects another one, got a CP"),
        ([train(2, 3), train(2, 3, dtype=torch.float32)], 0, "expects one dtype"),
    ],
)
def test_what_does_not_fit_is_named(tensors: list, mode: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        concatenate(tensors, mode)
