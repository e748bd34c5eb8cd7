import torch
from torch import nn

from sciten.potentials import MACE
from sciten.potentials.precision import Float64Buffers


class Holder(Float64Buffers):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.keep_float64("third", torch.tensor(1 / 3, dtype=torch.float64))
        self.keep_float64("derived", torch.tensor(1 / 7, dtype=torch.float64), persistent=False)


def test_kept_buffers_go_through_float32_unharmed() -> None:
    outer = nn.Sequential(Holder())
    outer.float().double().half()
    assert outer[0].weight.dtype == torch.float16
    assert outer[0].third.item() == 1 / 3 and outer[0].derived.item() == 1 / 7


def test_only_persistent_ones_belong_to_the_state() -> None:
    assert set(Holder().state_dict()) == {"weight", "third"}


def test_couplings_of_a_float32_model_are_exact_in_float64() -> None:
    exact = MACE([1], channels=2, lmax=1, dtype=torch.float64)
    cast = MACE([1], channels=2, lmax=1, dtype=torch.float32).double()
    for kept, made in zip(cast.products[0].buffers(), exact.products[0].buffers(), strict=True):
        assert torch.equal(kept, made)
