import pytest
import torch
from torch import Tensor

from sciten.errors import ConfigError
from sciten.pde import DMRG, Axis, Dirichlet, Grid, Neumann, Operator, laplacian, local_operator, potential
from sciten.pde.assemble import assemble
from sciten.pde.hamiltonians import gaussian, henon_heiles, sine_kinetic
from sciten.pde.solvers.eigen import davidson
from sciten.pde.solvers.exponential_sums import kronecker_sum
from sciten.tensor import TensorTrain


def hermitian(n: int, dtype: torch.dtype, seed: int) -> Tensor:
    a = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return (a + a.mH) / 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [[6], [4, 5], [3, 4, 3, 4]])
def test_states_are_those_of_dense_operators(shape: list[int], dtype: torch.dtype) -> None:
    local = kronecker_sum([hermitian(n, dtype, k) for k, n in enumerate(shape)])
    coupling = TensorTrain.rank_one([hermitian(n, dtype, 10 + k) for k, n in enumerate(shape)], operator=True)
    h = local + coupling * 0.3
    states = DMRG(1e-8).lowest(h, n_states=3)
    size = int(torch.tensor(shape).prod())
    values = torch.linalg.eigvalsh(h.full().reshape(size, size))
    for state, value in zip(states, values, strict=False):
        assert state.converged, state.message
        assert state.energy == pytest.approx(float(value), abs=1e-9)
        assert float(state.field.norm()) == pytest.approx(1.0)
        true = h @ state.field - state.field * state.energy
        assert float(true.norm()) == pytest.approx(state.residual, abs=1e-9)
    assert abs(complex(states[0].field.inner(states[1].field))) < 1e-6


def test_coupled_oscillators_have_their_normal_modes() -> None:
    """½ Σ(−∂² + x²) + ½ c Σ_{i<j} (x_i − x_j)²: one mode of frequency 1, d − 1 of frequency sqrt(1 + d c)."""
    d, c = 4, 0.3
    grid = Grid.uniform([(-6.0, 6.0)] * d, 36)
    # The kinetic energy of the sine DVR, whose error is exponentially small.
    kinetic = sine_kinetic(grid.axes[0])
    h = oscillators(grid, c) + 0.5 * laplacian(grid)
    for i in range(d):
        h = h + local_operator(grid, {i: kinetic})
    state = DMRG(1e-7).lowest(assemble(h).matrix)[0]
    assert state.converged
    assert state.energy == pytest.approx(0.5 * (1 + (d - 1) * (1 + d * c) ** 0.5), abs=1e-9)


def oscillators(grid: Grid, c: float) -> Operator:
    d = len(grid)
    x = [torch.diag(points) for points in grid.points()]
    h = -0.5 * laplacian(grid)
    for i in range(d):
        h = h + local_operator(grid, {i: (0.5 + 0.5 * c * (d - 1)) * x[i] @ x[i]})
        for j in range(i):
            h = h - c * local_operator(grid, {j: x[j], i: x[i]})
    return h


def test_a_state_is_followed_past_deeper_wells() -> None:
    """From three dimensions on the box of Hénon-Heiles has lower states than that at the origin."""
    operator = henon_heiles(3, points=12)
    h, start = assemble(operator).matrix, gaussian(operator.grid)
    state = DMRG(1e-6, follow=True).lowest(h, start=start)[0]
    values, vectors = torch.linalg.eigh(h.full().reshape(1728, 1728))
    overlaps = (start.full().reshape(-1) @ vectors).abs()
    place = int(overlaps.argmax())
    assert place > 0 and state.converged
    assert state.energy == pytest.approx(float(values[place]), abs=1e-9)
    assert abs(float(state.field.inner(start))) == pytest.approx(float(overlaps[place]), abs=1e-6)


def test_two_dimensions_of_henon_heiles_are_those_of_dense_diagonalisation() -> None:
    operator = henon_heiles(2)
    h = assemble(operator).matrix
    state = DMRG(1e-7, follow=True).lowest(h, start=gaussian(operator.grid))[0]
    assert state.energy == pytest.approx(
        float(torch.linalg.eigvalsh(h.full().reshape(1024, 1024))[0]), abs=1e-10
    )


def test_davidson_finds_the_lowest_pair() -> None:
    a = torch.diag(torch.arange(50, dtype=torch.float64)) + 0.1 * hermitian(50, torch.float64, 1)
    start = torch.ones(50, dtype=torch.float64)
    value, vector = davidson(lambda x: a @ x, start, lambda r: r / (a.diagonal() + 0.5), 1e-9, 200, restart=8)
    assert value == pytest.approx(float(torch.linalg.eigvalsh(a)[0]))
    assert float((a @ vector - value * vector).norm()) < 2e-9


def test_bad_searches_are_refused() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 4)
    h = assemble(potential(grid, 1.0)).matrix
    collocation = assemble(oscillators(Grid.chebyshev([(-6.0, 6.0)] * 2, 8), 0.1)).matrix
    for make, words in [
        (lambda: DMRG(0.0), "tolerance"),
        (lambda: DMRG(max_rank=0), "max_rank"),
        (lambda: DMRG().lowest(h, n_states=0), "at least one state"),
        (lambda: DMRG(follow=True).lowest(h), "expects its start"),
        (lambda: sine_kinetic(Axis(0.0, 1.0, 4, (Neumann(), Dirichlet()))), "Dirichlet at both ends"),
        (lambda: DMRG().lowest(TensorTrain.ones([2, 2])), "operator"),
        (lambda: DMRG().lowest(h * 1j), "Hermitian"),
        (lambda: DMRG().lowest(collocation), "Hermitian"),
    ]:
        with pytest.raises(ConfigError, match=words):
            make()
