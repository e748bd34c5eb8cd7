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
    states = DMRG(1e-6).lowest(assemble(h).matrix, n_states=5)
    fast = (1 + d * c) ** 0.5
    for state, above in zip(states, [0.0, 1.0, fast, fast, fast], strict=True):
        assert state.converged, state.message
        assert state.energy == pytest.approx(0.5 * (1 + (d - 1) * fast) + above, abs=1e-9)


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


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("count", [1, 3])
def test_davidson_finds_the_lowest_pairs(count: int, dtype: torch.dtype) -> None:
    a = torch.diag(torch.arange(50.0, dtype=torch.float64)).to(dtype) + 0.1 * hermitian(50, dtype, 1)
    start = torch.randn(count, 50, generator=torch.Generator().manual_seed(0), dtype=dtype)
    near_inverse = [lambda r, k=k: r / (a.diagonal() - k + 0.5) for k in range(count)]
    values, vectors = davidson(lambda x: a @ x, start, near_inverse, 1e-9, 200, restart=8)
    torch.testing.assert_close(values, torch.linalg.eigvalsh(a)[:count])
    assert float((vectors @ a.mT - values[:, None] * vectors).norm(dim=1).max()) < 2e-9


def oscillator(frequency: float) -> Tensor:
    """-½ ∂² + ½ ω² q² in a sine DVR."""
    axis = Axis(-7.0, 7.0, 16)
    return sine_kinetic(axis) + torch.diag(0.5 * frequency**2 * axis.points().square())


@pytest.mark.parametrize(
    ("frequencies", "n_states"),
    [([1.0] * 7, 9), ([1.6, 1.25, 1.4, 1.0, 1.9, 1.1], 6), ([1.2] * 12, 4)],
    ids=["degenerate", "different", "a part of a multiplet"],
)
def test_separable_states_are_sums_of_levels(frequencies: list[float], n_states: int) -> None:
    """In many dimensions, where the Frobenius norm of the operator is astronomic; none is passed over."""
    levels = torch.zeros(1, dtype=torch.float64)
    for frequency in frequencies:
        levels = (
            (levels[:, None] + torch.linalg.eigvalsh(oscillator(frequency))).reshape(-1).sort().values[:50]
        )
    h = kronecker_sum([oscillator(frequency) for frequency in frequencies])
    states = DMRG(1e-8).lowest(h, n_states=n_states)
    for state, level in zip(states, levels.tolist(), strict=False):
        assert state.converged and state.residual <= 1e-8 * level, state.message
        assert state.energy == pytest.approx(level, abs=1e-9)
    overlaps = torch.stack([torch.stack([a.field.inner(b.field) for b in states]) for a in states])
    torch.testing.assert_close(overlaps, torch.eye(n_states, dtype=torch.float64), rtol=0, atol=1e-8)


def test_states_of_chains_of_bits_have_room_to_begin() -> None:
    """More states than fit between the first two cores: a Heisenberg chain, whose levels are multiplets."""
    spins = [
        torch.tensor(m, dtype=torch.complex128) / 2
        for m in ([[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]])
    ]
    one = torch.eye(2, dtype=torch.complex128)
    pairs = [
        TensorTrain.rank_one([s if site in (k, k + 1) else one for site in range(8)], operator=True)
        for k in range(7)
        for s in spins
    ]
    h = pairs[0]
    for pair in pairs[1:]:
        h = h + pair
    h = h.round(1e-14)
    values = torch.linalg.eigvalsh(h.full().reshape(256, 256))
    states = DMRG(1e-8).lowest(h, n_states=10)
    assert all(state.converged for state in states)
    torch.testing.assert_close(torch.tensor([s.energy for s in states], dtype=torch.float64), values[:10])


def test_bad_searches_are_refused() -> None:
    grid = Grid.uniform([(0.0, 1.0)] * 2, 4)
    h = assemble(potential(grid, 1.0)).matrix
    collocation = assemble(oscillators(Grid.chebyshev([(-6.0, 6.0)] * 2, 8), 0.1)).matrix
    for make, words in [
        (lambda: DMRG(0.0), "tolerance"),
        (lambda: DMRG(max_rank=0), "max_rank"),
        (lambda: DMRG().lowest(h, n_states=0), "at least one state"),
        (lambda: DMRG().lowest(h, n_states=17), "no more states"),
        (lambda: DMRG(max_rank=1).lowest(h, n_states=5), "no more states"),
        (lambda: DMRG(follow=True).lowest(h), "expects its start"),
        (lambda: sine_kinetic(Axis(0.0, 1.0, 4, (Neumann(), Dirichlet()))), "Dirichlet at both ends"),
        (lambda: DMRG().lowest(TensorTrain.ones([2, 2])), "operator"),
        (lambda: DMRG().lowest(h * 1j), "Hermitian"),
        (lambda: DMRG().lowest(collocation), "Hermitian"),
    ]:
        with pytest.raises(ConfigError, match=words):
            make()
