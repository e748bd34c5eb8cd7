import math

import torch

from sciten.tensor.multilinear import Index, Multilinear, Operand, Term, evaluate
from sciten.tensor.multilinear.interpolation import Table, evaluate_interpolated
from sciten.tensor.multilinear.reference import Reference


def function(x: torch.Tensor) -> torch.Tensor:
    """Damped waves on two components and sixteen channels, `[n, 2, 16]`."""
    frequency = torch.linspace(0.5, 8.0, 32, dtype=x.dtype)
    return (torch.sin(frequency * x[:, None]) * torch.exp(-0.3 * x[:, None])).reshape(-1, 2, 16)


def convolution() -> Multilinear:
    arguments = (Operand(2), Operand(4, channels=False), Operand(3, index="s"))
    terms = tuple(Term(0.3 * i - 1, ((0, i % 2), (1, i % 4), (2, i % 3)), (0, i % 5)) for i in range(20))
    return Multilinear(arguments, (Operand(5, index="r"),), terms)


def inputs():
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(200, generator=generator, dtype=torch.float64) * 5
    x[0], x[1] = 5.0, 0.0
    others = [torch.randn(200, 4, generator=generator, dtype=torch.float64)]
    others.append(torch.randn(3, 3, 16, generator=generator, dtype=torch.float64))
    rows = torch.arange(200)
    indices = {"s": Index(rows % 3, 3), "r": Index(rows // 50, 4)}
    return [x.requires_grad_(True), *(o.requires_grad_(True) for o in others)], indices


def test_table_keeps_its_error_bound_at_random_points() -> None:
    table = Table.of(function, 5.0, tolerance=1e-7, slope_tolerance=1e-5)
    assert table.error <= 1e-7 and table.slope_error <= 1e-5
    assert math.isclose(table.end, 5.0)
    x = torch.rand(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4.9 + 0.1
    exact = function(x)
    assert (table.at(x / table.spacing) - exact).abs().max() <= 1.1e-7 * exact.abs().max()


def test_interpolated_argument_equals_the_written_out_one() -> None:
    table = Table.of(function, 5.0, tolerance=1e-6, slope_tolerance=1e-4)
    arguments, indices = inputs()
    x, *others = arguments
    (fast,) = evaluate_interpolated(convolution(), table, x, others, indices)
    (plain,) = evaluate(convolution(), [table.at(x / table.spacing), *others], indices, executor=Reference())
    torch.testing.assert_close(fast, plain, rtol=1e-11, atol=1e-11)
    fast_gradients = torch.autograd.grad(fast.sin().sum(), arguments)
    plain_gradients = torch.autograd.grad(plain.sin().sum(), arguments)
    for a, b in zip(fast_gradients, plain_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-9)


def test_positions_outside_the_table_do_not_crash() -> None:
    table = Table.of(function, 5.0, tolerance=1e-3, slope_tolerance=1e-1)
    arguments, indices = inputs()
    x, *others = (a.detach() for a in arguments)
    x[5], x[60], x[110] = -1.0, 1e12, float("nan")
    (result,) = evaluate_interpolated(convolution(), table, x, others, indices)
    assert torch.isnan(result[2]).all() and torch.isfinite(result[3]).all()
