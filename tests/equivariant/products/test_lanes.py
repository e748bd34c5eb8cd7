import pytest
import torch

from sciten.equivariant import ClebschGordanProduct, TensorProduct
from sciten.equivariant.products import lanes
from sciten.tensor.multilinear.reference import Reference

IRREPS = "0e+1o+2e"
PATHS = [(i, j, k) for i in range(3) for j in range(3) for k in range(3)]
#: All of them fit single copies, and become products of one channel.
MODES = ["uvw", "uvu", "uvv", "uuw", "uuu", "uvuv"]


def product(mode: str, *, shared: bool, executor=None) -> TensorProduct:
    paths = [p for p in PATHS if abs(p[0] - p[1]) <= p[2] <= p[0] + p[1] and sum(p) % 2 == 0]
    return TensorProduct(
        *(IRREPS, IRREPS, IRREPS),
        [(*path, mode, True) for path in paths],
        shared_weights=shared,
        internal_weights=False,
        executor=executor,
    )


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("samples", [0, 1, 31, 32, 33, 100])
def test_samples_in_the_place_of_channels_change_nothing(monkeypatch, samples, mode, shared) -> None:
    numel = product(mode, shared=shared).weight_numel
    arguments = [
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in ((samples, 9), (samples, 9), (numel,) if shared else (samples, numel))
    ]

    def everything(few: int, executor) -> list[torch.Tensor]:
        monkeypatch.setattr(lanes, "_FEW", few)
        result = product(mode, shared=shared, executor=executor)(*arguments)
        first = torch.autograd.grad(result.sin().sum(), arguments, create_graph=True)
        return [result, *first, *torch.autograd.grad(sum((g**2).sum() for g in first), arguments)]

    expected = everything(1 << 60, Reference())
    for found in (everything(0, None), everything(1 << 60, None)):
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_large_batches_of_signals_are_laid_out_by_themselves() -> None:
    signals = ClebschGordanProduct(3, 3, 3)
    assert len(signals._program.kernels[0].map_.terms) * 200 > lanes._FEW
    x, y = torch.randn(2, 200, 16, dtype=torch.float64)
    torch.testing.assert_close(signals(x, y)[150:151], signals(x[150:151], y[150:151]))
