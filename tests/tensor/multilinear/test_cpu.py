import subprocess
import sys

import pytest
import torch

from sciten.errors import ConfigError
from sciten.tensor.compiler import available
from sciten.tensor.multilinear import Index, Multilinear, Operand, Term, evaluate
from sciten.tensor.multilinear.cpu import Cpu
from sciten.tensor.multilinear.reference import Reference
from tests.tensor.multilinear.maps import rich_arguments, rich_map

pytestmark = pytest.mark.skipif(not available(), reason="no C++ compiler")


def all_orders(executor, arguments, indices):
    """Results, gradients and second derivatives of `rich_map` on one executor."""
    results = evaluate(rich_map(), arguments, indices, executor=executor)
    loss = sum(r.sin().sum() for r in results)
    gradients = torch.autograd.grad(loss, arguments, create_graph=True)
    second = torch.autograd.grad(sum((g**2).sum() for g in gradients), arguments)
    return [*results, *gradients, *second]


@pytest.mark.parametrize("channels", [1, 16, 63])
def test_results_and_derivatives_equal_the_reference(channels: int) -> None:
    arguments, indices = rich_arguments(batch=1000, channels=channels)
    for fast, plain in zip(
        all_orders(Cpu(), arguments, indices), all_orders(Reference(), arguments, indices), strict=True
    ):
        torch.testing.assert_close(fast, plain, rtol=1e-11, atol=1e-11 * float(plain.detach().abs().max()))


def test_float32_is_as_good_as_float32_can_be() -> None:
    arguments, indices = rich_arguments(batch=100, channels=16, dtype=torch.float32)
    exact = [a.detach().double().requires_grad_(True) for a in arguments]
    for fast, plain in zip(
        all_orders(Cpu(), arguments, indices), all_orders(Reference(), exact, indices), strict=True
    ):
        torch.testing.assert_close(
            fast.double(), plain, rtol=1e-3, atol=2e-5 * float(plain.detach().abs().max())
        )


def test_empty_batch_gives_zeros() -> None:
    arguments, indices = rich_arguments(batch=0, channels=16)
    for fast, plain in zip(
        evaluate(rich_map(), arguments, indices, executor=Cpu()),
        evaluate(rich_map(), arguments, indices, executor=Reference()),
        strict=True,
    ):
        assert fast.shape == plain.shape
        assert not fast.any()


def test_non_contiguous_arguments() -> None:
    arguments, indices = rich_arguments(batch=9, channels=16)
    strided = [torch.stack([a, a], dim=-1)[..., 0] for a in arguments]
    for fast, plain in zip(
        evaluate(rich_map(), strided, indices, executor=Cpu()),
        evaluate(rich_map(), arguments, indices, executor=Cpu()),
        strict=True,
    ):
        assert torch.equal(fast, plain)


def test_rows_shared_between_threads_are_added_once() -> None:
    """One row that every thread adds to, and enough work that there are several threads."""
    map_ = Multilinear((Operand(1),), (Operand(1, index="row"),), (Term(1.0, ((0, 0),), (0, 0)),))
    values = torch.ones(5000, 1, 64, dtype=torch.float64)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            (result,) = evaluate(map_, [values], {"row": Index(torch.ones(5000, dtype=torch.int64), 2)})
            assert (result[1] == 5000).all() and not result[0].any()
    finally:
        torch.set_num_threads(before)


def test_results_do_not_depend_on_the_run() -> None:
    arguments, indices = rich_arguments(batch=1000, channels=16, dtype=torch.float32)
    first = all_orders(Cpu(), arguments, indices)
    second = all_orders(Cpu(), arguments, indices)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_memory_is_written_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh memory full of NaN must not leak into any result."""
    arguments, indices = rich_arguments(batch=50, channels=16)
    new_empty = torch.Tensor.new_empty
    monkeypatch.setattr(
        torch.Tensor, "new_empty", lambda self, *a, **k: new_empty(self, *a, **k).fill_(float("nan"))
    )
    assert all(torch.isfinite(value).all() for value in all_orders(Cpu(), arguments, indices))


def test_without_a_compiler_it_says_so_once_and_still_computes() -> None:
    program = """
import torch, warnings
from sciten.tensor.multilinear import Multilinear, Operand, Term, evaluate
map_ = Multilinear((Operand(1),), (Operand(1),), (Term(2.0, ((0, 0),), (0, 0)),))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        (result,) = evaluate(map_, [torch.ones(2, 1, 3)])
print(float(result.sum()), len([w for w in caught if "no C++ compiler" in str(w.message)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": "", "CXX": "none-such"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["12.0", "1"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dtypes_without_a_kernel_are_refused(dtype: torch.dtype) -> None:
    arguments, indices = rich_arguments(batch=5, channels=2)
    with pytest.raises(ConfigError, match="Cpu: expected float32 or float64 on the CPU, got"):
        evaluate(rich_map(), [a.detach().to(dtype) for a in arguments], indices, executor=Cpu())


def test_sums_over_channels_and_their_derivatives_which_spread_over_channels() -> None:
    generator = torch.Generator().manual_seed(0)
    total = Multilinear(
        (Operand(2), Operand(1, channels=False)),
        (Operand(2, channels=False), Operand(1)),
        (
            Term(2.0, ((0, 0),), (0, 0)),
            Term(-1.0, ((0, 1), (1, 0)), (0, 1)),
            Term(3.0, ((1, 0), (1, 0)), (1, 0)),
        ),
    )
    x, y = (
        torch.randn(s, dtype=torch.float64, generator=generator, requires_grad=True)
        for s in [(5, 2, 7), (5, 1)]
    )
    for executor in (Cpu(), Reference()):
        sums, spread = evaluate(total, [x, y], executor=executor)
        torch.testing.assert_close(sums, torch.stack([2 * x[:, 0].sum(-1), -x[:, 1].sum(-1) * y[:, 0]], 1))
        torch.testing.assert_close(spread, (3 * y**2)[:, :, None].expand(5, 1, 7))
        assert torch.autograd.gradgradcheck(
            lambda *a, e=executor: sum(r.sin().sum() for r in evaluate(total, a, executor=e)), (x, y)
        )
