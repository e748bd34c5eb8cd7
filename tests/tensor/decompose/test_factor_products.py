import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.tensor import CP, TensorTrain, TreeTensor, Tucker
from sciten.tensor.decompose.factor_products import product_but_one
from sciten.tensor.formats import Format, Tree

SHAPE = (3, 4, 2, 5)


def inputs(d: int) -> dict[str, Tensor | Format]:
    options: dict = {"generator": torch.Generator().manual_seed(0), "dtype": torch.complex128}
    trees = {
        "balanced": Tree.balanced(d),
        "caterpillar": Tree.caterpillar(d),
        "star": Tree.star(d),
        "mixed": Tree((0, (3, 1, 2))) if d == 4 else Tree.balanced(d),
    }
    return {
        "full": torch.randn(SHAPE[:d], **options),
        "CP": CP.random(SHAPE[:d], 3, **options),
        "Tucker": Tucker.random(SHAPE[:d], [2, 3, 2, 3][:d], **options),
        "TensorTrain": TensorTrain.random(SHAPE[:d], 3, **options),
        **{name: TreeTensor.random(tree, SHAPE[:d], 3, **options) for name, tree in trees.items()},
    }


@pytest.mark.parametrize("kind", list(inputs(1)))
@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_it_is_that_of_the_full_tensor(kind: str, d: int) -> None:
    x = inputs(d)[kind]
    dense = x if isinstance(x, Tensor) else x.full()
    generator = torch.Generator().manual_seed(1)
    matrices = [torch.randn(n, 6, generator=generator, dtype=torch.complex128) for n in SHAPE[:d]]
    for mode in range(d):
        others = [k for k in range(d) if k != mode]
        letters = "ijkl"[:d]
        operands = [matrices[k] for k in others]
        rule = ",".join([letters, *(f"{letters[k]}a" for k in others)]) + f"->{letters[mode]}" + "a" * (d > 1)
        expected = torch.einsum(rule, dense, *operands)
        expected = expected if d > 1 else expected[:, None].expand(-1, 6)
        torch.testing.assert_close(product_but_one(x, matrices, mode), expected)


def test_what_is_no_tensor_is_named() -> None:
    with pytest.raises(ConfigError, match="a tensor or a low-rank format, got a int"):
        product_but_one(3, [], 0)  # type: ignore[arg-type]
