import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciten.errors import ConfigError
from sciten.pde.quantised import (
    bits,
    difference,
    grouped,
    interleaved,
    inverse_laplacian,
    kronecker_sum,
    laplacian,
    ramp,
    serial,
    sine,
    summation,
)
from sciten.tensor import TensorTrain
from tests.pde.quantised import dense
from tests.pde.quantised.dense import DIRICHLET, NEUMANN


def random(levels: int, seed: int) -> TensorTrain:
    return TensorTrain.random([2] * levels, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("levels", [1, 3])
def test_products_are_the_same_in_both_orders(d: int, levels: int) -> None:
    factors = [random(levels, seed) for seed in range(d)]
    expected = dense.kronecker(*[dense.vector(x) for x in factors])
    torch.testing.assert_close(dense.vector(serial(factors)), expected)
    together = interleaved(factors)
    assert len(together) == d * levels
    torch.testing.assert_close(dense.serial_from_interleaved(dense.vector(together), levels, d), expected)


def test_products_of_operators_are_the_same_in_both_orders() -> None:
    factors = [laplacian(3, DIRICHLET, NEUMANN), difference(3)]
    expected = dense.kronecker(*[dense.matrix(x) for x in factors])
    torch.testing.assert_close(dense.matrix(serial(factors)), expected)
    together = dense.matrix(interleaved(factors))
    torch.testing.assert_close(dense.serial_from_interleaved(together, 3, 2), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 20), st.data())
def test_bits_are_those_of_points(d: int, levels: int, data) -> None:
    indices = torch.tensor(
        [data.draw(st.lists(st.integers(0, 2**levels - 1), min_size=d, max_size=d)) for _ in range(4)]
    )
    factors = [sine(levels, 1.0 + a, step=2.0**-levels) for a in range(d)]
    expected = torch.stack(
        [(indices[:, a].double() * 2.0**-levels * (1.0 + a)).sin() for a in range(d)]
    ).prod(0)
    torch.testing.assert_close(serial(factors).at(bits(indices, levels)), expected)
    found = interleaved(factors).at(bits(indices, levels, interleave=True))
    torch.testing.assert_close(found, expected)


def test_groups_are_the_same_entries_in_fewer_cores() -> None:
    x = interleaved([random(3, 0), random(3, 1)])
    merged = grouped(x, 2)
    assert merged.shape == (4, 4, 4)
    torch.testing.assert_close(merged.full(), x.full().reshape(4, 4, 4))
    torch.testing.assert_close(merged.reshape([2] * 6).full(), x.full())
    a = interleaved([summation(3), inverse_laplacian(3, DIRICHLET, DIRICHLET)])
    assert grouped(a, 2).modes == ((4, 4),) * 3
    torch.testing.assert_close(dense.matrix(grouped(a, 2)), dense.matrix(a))
    torch.testing.assert_close((grouped(a, 2) @ merged).full().flatten(), (a @ x).full().flatten())


def test_sums_over_dimensions_are_kronecker_sums() -> None:
    a, b = laplacian(3, DIRICHLET, DIRICHLET), laplacian(3, NEUMANN, DIRICHLET)
    eye = torch.eye(8, dtype=torch.float64)
    expected = torch.kron(dense.matrix(a), eye) + torch.kron(eye, dense.matrix(b))
    torch.testing.assert_close(dense.matrix(kronecker_sum([a, b])), expected)
    found = dense.matrix(kronecker_sum([a, b], interleaved))
    torch.testing.assert_close(dense.serial_from_interleaved(found, 3, 2), expected)


def test_a_batch_goes_along() -> None:
    x = TensorTrain.random([2, 2], 2, generator=torch.Generator().manual_seed(0), batch_shape=(3,))
    found = interleaved([x, x]).full()
    torch.testing.assert_close(found, torch.einsum("zab,zcd->zacbd", x.full(), x.full()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: serial([]), "serial: expected a train for each dimension, got none"),
        (lambda: interleaved([ramp(3), ramp(2)]), r"trains of equally many cores, got \[3, 2\]"),
        (lambda: interleaved([ramp(3), difference(3)]), "expected vectors, or operators, of one dtype"),
        (lambda: grouped(ramp(3), 2), "a size that divides 3 cores, got 2"),
        (lambda: bits(torch.tensor([[8]]), 3), "indices from 0 to 7"),
        (lambda: bits(torch.tensor([8]), 3), r"int64 indices \[n_places, d\]"),
    ],
)
def test_what_does_not_fit_is_named(wrong, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()
