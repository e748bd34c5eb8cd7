import pytest
import torch

from sciten.errors import ConfigError
from sciten.tensor import TensorTrain
from sciten.tensor.formats.diagonal import diagonal


@pytest.mark.parametrize("batch", [(), (2,)])
def test_diagonal_operators_multiply_entry_by_entry(batch: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (
        TensorTrain.random((2, 3, 4), 3, generator=generator, dtype=torch.complex128, batch_shape=batch)
        for _ in range(2)
    )
    found = diagonal(x)
    assert found.operator and found.ranks == x.ranks
    torch.testing.assert_close((found @ y).full(), x.full() * y.full())
    off = found.full().reshape(*batch, 24, 24) - torch.diag_embed(x.full().reshape(*batch, 24))
    assert float(off.abs().max()) < 1e-14


def test_operators_are_refused() -> None:
    with pytest.raises(ConfigError, match="diagonal is for vectors"):
        diagonal(TensorTrain.identity((2, 2)))
