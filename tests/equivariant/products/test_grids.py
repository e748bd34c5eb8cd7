import itertools

import pytest
import torch

from sciten.equivariant.products.fourier import FourierGrid
from sciten.equivariant.products.gaunt import gaunt_coefficients
from sciten.equivariant.products.grids import AntipodalGrid, DenseGrid, SeparableGrid, best_grid, product_on

GRIDS = [DenseGrid, AntipodalGrid, SeparableGrid, FourierGrid]
DEGREES = [
    ((0,), (0,), (0,)),
    ((0, 1), (0, 1), (0, 1, 2)),
    ((0, 1, 2, 3), (2, 1), (5, 0, 2)),
    ((3,), (4,), (1, 7)),
    (tuple(range(7)), tuple(range(7)), tuple(range(13))),
]


def sizes(degrees) -> list[int]:
    return [sum(2 * l + 1 for l in d) for d in degrees]


def dense(degrees) -> torch.Tensor:
    """∫ Y_a Y_b Y_c dΩ for all components, from the Gaunt coefficients."""
    blocks = [
        torch.cat(
            [
                torch.cat([torch.tensor(gaunt_coefficients(a, b, c)) for c in degrees[2]], 2)
                for b in degrees[1]
            ],
            1,
        )
        for a in degrees[0]
    ]
    return torch.cat(blocks, 0)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("degrees", DEGREES)
def test_every_grid_is_exact_in_every_role(grid, degrees) -> None:
    made = grid(degrees)
    tensor = dense(degrees)
    signals = [torch.randn(5, n, dtype=torch.float64) for n in sizes(degrees)]
    for roles in itertools.permutations(range(3)):
        a, b, _ = roles
        expected = torch.einsum("zi,zj,ijk->zk", signals[a], signals[b], tensor.permute(roles))
        torch.testing.assert_close(
            made.product(signals[a], signals[b], roles), expected, rtol=0, atol=1e-12 * 20
        )


@pytest.mark.parametrize("grid", GRIDS)
def test_derivatives_to_third_order(grid) -> None:
    degrees = ((0, 1, 2), (1, 2), (0, 1, 3))
    made, tensor = grid(degrees), dense(degrees)
    x, y = (torch.randn(3, n, dtype=torch.float64, requires_grad=True) for n in sizes(degrees)[:2])

    def orders(product) -> list[torch.Tensor]:
        found = [product(x, y).sin().sum()]
        for _ in range(3):
            found.append(sum((g**2).sum() for g in torch.autograd.grad(found[-1], [x, y], create_graph=True)))
        return found

    for ours, plain in zip(
        orders(lambda a, b: product_on(made, a, b)),
        orders(lambda a, b: torch.einsum("zi,zj,ijk->zk", a, b, tensor)),
        strict=True,
    ):
        torch.testing.assert_close(ours, plain, rtol=1e-11, atol=0)


@pytest.mark.parametrize("grid", GRIDS)
def test_batches_larger_than_the_cache_and_empty_ones(grid, monkeypatch) -> None:
    monkeypatch.setattr("sciten.equivariant.products.grids._CACHE", 100)
    made = grid(((0, 1, 2),) * 3)
    x, y = torch.randn(101, 9, dtype=torch.float64), torch.randn(101, 9, dtype=torch.float64)
    whole = made.product(x, y, (0, 1, 2))
    rows = torch.cat([made.product(x[i : i + 1], y[i : i + 1], (0, 1, 2)) for i in range(101)])
    torch.testing.assert_close(whole, rows, rtol=0, atol=1e-13)
    assert made.product(x[:0], y[:0], (0, 1, 2)).shape == (0, 9)


def test_the_choice_goes_from_dense_to_antipodal_as_degrees_grow() -> None:
    kinds = [type(best_grid((tuple(range(L + 1)),) * 3)) for L in (1, 2, 4, 10)]
    assert kinds[:3] == [DenseGrid] * 3
    assert kinds[3] is AntipodalGrid


@pytest.mark.parametrize("grid", GRIDS)
def test_operations_grow_with_the_degrees(grid) -> None:
    small, large = (grid((tuple(range(L + 1)),) * 3).operations() for L in (2, 6))
    assert 0 < 5 * small < large
