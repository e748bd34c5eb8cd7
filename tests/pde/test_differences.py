import pytest
import torch

from sciten.errors import ConfigError
from sciten.pde import Axis, Dirichlet, Neumann, Periodic, Robin
from sciten.pde.boundary import Condition, as_robin
from sciten.pde.differences import chebyshev_derivative, differences


def u(x: torch.Tensor) -> torch.Tensor:
    return torch.exp(x) * torch.cos(2 * x)


def slope(x: torch.Tensor) -> torch.Tensor:
    return torch.exp(x) * (torch.cos(2 * x) - 2 * torch.sin(2 * x))


def second(x: torch.Tensor) -> torch.Tensor:
    return torch.exp(x) * (-3 * torch.cos(2 * x) - 4 * torch.sin(2 * x))


def data(axis: Axis) -> torch.Tensor:
    """What the conditions have to say about u."""
    values = []
    for end, outward, condition in zip((axis.lower, axis.upper), (-1, 1), axis.conditions, strict=True):
        assert not isinstance(condition, Periodic)
        x = torch.tensor(end, dtype=torch.float64)
        weight, normal = as_robin(condition)
        values.append(weight * u(x) + normal * outward * slope(x))
    return torch.stack(values)


CONDITIONS: list[Condition] = [Dirichlet(), Neumann(), Robin(1.5, 0.7)]
PAIRS = pytest.mark.parametrize("pair", [(a, b) for a in CONDITIONS for b in CONDITIONS])


@PAIRS
def test_gradients_at_the_faces_are_of_second_order(pair: tuple[Condition, Condition]) -> None:
    errors = []
    for n in (40, 80):
        axis = Axis(-0.5, 1.0, n, pair)
        own = differences(axis)
        found = own.gradient @ u(axis.points()) + own.data @ data(axis)
        errors.append(float((found - slope(own.faces)).abs().max()))
    assert errors[0] / errors[1] > 3.5


@PAIRS
def test_collocation_is_exact_for_polynomials(pair: tuple[Condition, Condition]) -> None:
    axis = Axis(-0.5, 1.0, 24, pair, chebyshev=True)
    own = differences(axis)
    gradient = own.gradient @ u(axis.points()) + own.data @ data(axis)
    torch.testing.assert_close(gradient, slope(own.faces), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(own.divergence @ gradient, second(axis.points()), rtol=1e-7, atol=1e-7)


def test_periodic_differences_wrap_around() -> None:
    axis = Axis(0.0, 1.0, 64, (Periodic(), Periodic()))
    own = differences(axis)
    wave = torch.sin(2 * torch.pi * axis.points())
    laplacian = own.divergence @ own.gradient @ wave
    eigenvalue = (2 - 2 * torch.cos(torch.tensor(2 * torch.pi / 64, dtype=torch.float64))) * 64**2
    torch.testing.assert_close(laplacian, -eigenvalue * wave)
    central = own.average @ own.gradient @ wave
    expected = torch.cos(2 * torch.pi * axis.points()) * 64 * torch.sin(torch.tensor(2 * torch.pi / 64))
    torch.testing.assert_close(central, expected.to(torch.float64), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(own.faces, axis.points() - 1 / 128)


def test_the_laplacian_is_that_of_the_textbooks() -> None:
    axis = Axis(0.0, 5.0, 4)  # spacing 1
    own = differences(axis)
    expected = torch.diag(torch.full((4,), -2.0, dtype=torch.float64))
    expected += torch.diag(torch.ones(3, dtype=torch.float64), 1) + torch.diag(
        torch.ones(3, dtype=torch.float64), -1
    )
    torch.testing.assert_close(own.divergence @ own.gradient, expected)


def test_derivatives_of_constants_are_zero() -> None:
    axis = Axis(0.0, 1.0, 60, (Neumann(), Neumann()), chebyshev=True)
    derivative = chebyshev_derivative(axis.lobatto())
    assert float((derivative @ torch.ones(62, dtype=torch.float64)).abs().max()) < 1e-10


def test_a_robin_condition_that_determines_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="determine nothing at spacing"):
        differences(Axis(0.0, 10.5, 10, (Robin(-2.0), Dirichlet())))  # spacing 1
