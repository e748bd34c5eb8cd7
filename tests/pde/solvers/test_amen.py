import pytest
import torch

from sciten.errors import ConfigError
from sciten.pde import ALS, GMRES, MALS, AMEn
from sciten.pde.solvers.amen import Alternation, random_train
from sciten.pde.solvers.exponential_sums import kronecker_sum
from sciten.tensor import TensorTrain
from tests.pde.solvers.systems import dense, generator, operator, random

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])


@DTYPES
@pytest.mark.parametrize("shape", [[5], [4, 6], [3, 4, 5, 2], [2] * 7])
@pytest.mark.parametrize(
    "solver",
    [AMEn(1e-10), ALS(12, 1e-10), MALS(1e-10), GMRES(1e-9, restart=80)],
    ids=["AMEn", "ALS", "MALS", "GMRES"],
)
def test_solutions_are_those_of_dense_systems(shape: list[int], dtype: torch.dtype, solver: AMEn) -> None:
    matrix = operator(shape, dtype)
    b = TensorTrain.random(shape, 2, generator=generator(3), dtype=dtype)
    solution = solver.solve(matrix, b)
    assert solution.converged, solution.message
    true = float((matrix @ solution.field - b).norm() / b.norm())
    assert solution.residual == pytest.approx(true, rel=1e-3) and true <= solver.tolerance
    torch.testing.assert_close(solution.field.full(), dense(matrix, b), rtol=1e-6, atol=1e-9)


def test_a_start_is_used() -> None:
    matrix = operator([4, 5, 3], torch.float64)
    b = TensorTrain.random([4, 5, 3], 2, generator=generator(3))
    first = AMEn(1e-10).solve(matrix, b)
    assert AMEn(1e-8).solve(matrix, b, first.field).iterations == 1


def test_convergence_is_never_claimed_without_it() -> None:
    """An indefinite system on which alternation has no reason to work, and ranks that do not suffice."""
    shape = [6] * 4
    hard = kronecker_sum([random(6, 6, seed=k) for k in range(4)])
    b = TensorTrain.random(shape, 2, generator=generator(3))
    for solver in (
        AMEn(1e-10, max_sweeps=6, max_rank=4),
        ALS(2, 1e-10, max_sweeps=6),
        GMRES(1e-10, max_iterations=12),
    ):
        solution = solver.solve(hard, b)
        true = float((hard @ solution.field - b).norm() / b.norm())
        assert solution.residual == pytest.approx(true, rel=1e-6)
        assert solution.converged == (true <= 1e-10)
        assert not solution.converged and solution.message


@pytest.mark.parametrize("max_rank", [2, 5])
def test_ranks_stay_within_their_limit_without_convergence(max_rank: int) -> None:
    """Also those that directions of the residual would add."""
    shape = [6] * 4
    matrix = operator(shape, torch.float64)
    b = TensorTrain.random(shape, 4, generator=generator(3))
    for solver in (AMEn(1e-12, max_rank=max_rank, max_sweeps=8), MALS(1e-12, max_rank, max_sweeps=8)):
        solution = solver.solve(matrix, b)
        assert isinstance(solution.field, TensorTrain) and max(solution.ranks) <= max_rank
        true = float((matrix @ solution.field - b).norm() / b.norm())
        assert solution.residual == pytest.approx(true, rel=1e-6)
        assert not solution.converged


@pytest.mark.parametrize("scale", [(1e150, 1.0), (1.0, 1e150)], ids=["operator", "right side"])
@pytest.mark.parametrize("solver", [AMEn(), ALS(3), MALS()], ids=["AMEn", "ALS", "MALS"])
def test_overflow_is_told(solver: AMEn, scale: tuple[float, float]) -> None:
    """Entries that are finite, with products that are not."""
    shape = [3, 4, 3]
    matrix = TensorTrain(tuple(c * scale[0] for c in operator(shape, torch.float64).cores), operator=True)
    b = TensorTrain(tuple(c * scale[1] for c in TensorTrain.random(shape, 2, generator=generator(3)).cores))
    solution = solver.solve(matrix, b)
    assert not solution.converged and solution.residual == float("inf")
    assert "overflow" in solution.message


@pytest.mark.parametrize("solver", [AMEn(progress=True), ALS(3, progress=True), MALS(progress=True)])
@pytest.mark.parametrize("shape", [[4], [3, 4, 3]])
def test_progress_bars_bear_the_name_of_their_solver(
    solver: AMEn, shape: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    b = TensorTrain.random(shape, 2, generator=generator(3))
    assert solver.solve(operator(shape, torch.float64), b).converged
    assert {line.split(":")[0].strip() for line in capsys.readouterr().err.split("\r") if line.strip()} == {
        type(solver).__name__
    }


def test_only_enrichment_follows_the_residual() -> None:
    """ALS and MALS need no train z, nor what z sees."""
    shape = [3, 4, 3]
    matrix, b = operator(shape, torch.float64), TensorTrain.random([3, 4, 3], 2, generator=generator(3))
    run = Alternation(AMEn(1e-10), matrix, b, None, enriched=False)
    run.sweep()
    assert run.z is None and all(one.zx.numel() == 1 for one in run.rights)


def test_zero_right_sides_have_zero_solutions() -> None:
    matrix = operator([3, 3], torch.float64)
    for solver in (AMEn(), ALS(2), MALS(), GMRES()):
        solution = solver.solve(matrix, TensorTrain.zeros([3, 3]))
        assert solution.converged and float(solution.field.norm()) == 0


def test_random_trains_have_no_ranks_that_cannot_be() -> None:
    train = random_train(TensorTrain.zeros([2, 2, 2, 2, 2]), 10, 0)
    assert train.ranks == (1, 2, 4, 4, 2, 1)


@pytest.mark.parametrize("solver", [AMEn(), ALS(2), MALS(), GMRES()])
def test_bad_systems_are_refused(solver: AMEn) -> None:
    matrix, b = operator([3, 4], torch.float64), TensorTrain.ones([3, 4])
    cases = [
        (b, b, None, "expected an operator"),
        (matrix, TensorTrain.ones([4, 3]), None, r"right side of shape \(3, 4\)"),
        (matrix, b, TensorTrain.ones([3]), "start of shape"),
        (matrix, b * float("nan"), None, "finite entries"),
        (TensorTrain((random(1, 3, 4, 1),), operator=True), TensorTrain.ones([3]), None, "square operator"),
    ]
    for a, right_side, start, words in cases:
        with pytest.raises(ConfigError, match=words):
            solver.solve(a, right_side, start)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AMEn(0.0),
        lambda: AMEn(max_rank=0),
        lambda: ALS(0),
        lambda: GMRES(2.0),
        lambda: GMRES(restart=0),
    ],
)
def test_bad_options_are_refused(make: object) -> None:
    with pytest.raises(ConfigError, match="expected"):
        make()  # type: ignore[operator]
