"""No dense tensor above 10^7 entries is formed, in the problems that the benchmarks measure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sciten.cli.benchmarks.low_rank import newton_kernel
from sciten.cli.benchmarks.low_rank.problems import bump, drift_diffusion, poisson
from sciten.pde import DMRG, AMEn, Bits, Dirichlet, ExponentialSums, Grid, Neumann, Problem, laplacian, solve
from sciten.pde.assemble import assemble
from sciten.pde.fields import sample
from sciten.pde.hamiltonians import gaussian, henon_heiles

CAP = 10**7


class Cap(TorchDispatchMode):
    """Refuses results of operations with more entries in memory than the cap."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided:
                entries = leaf.untyped_storage().nbytes() // leaf.element_size()
                assert entries <= CAP, f"{func}: {entries} entries"
        return found


def test_the_cap_is_noticed() -> None:
    with Cap(), pytest.raises(AssertionError, match="20000000 entries"):
        torch.zeros(20_000_000)


def test_poisson_in_ten_dimensions() -> None:
    with Cap():
        matrix, right_side, axes = poisson(10, 64)
        assert ExponentialSums(1e-8).solve(axes, right_side).converged
        assert AMEn(1e-8).solve(matrix, right_side).converged


@pytest.mark.parametrize("d", [3, *(pytest.param(d, marks=pytest.mark.slow) for d in (4, 5, 6))])
def test_drift_and_diffusion(d: int) -> None:
    with Cap():
        solution = AMEn(1e-6).solve(*drift_diffusion(d, 64))
    assert solution.converged


def test_a_thousand_million_points() -> None:
    grid = Grid.uniform([(0.0, 1.0)], 2**30, [(Dirichlet(), Neumann())])
    with Cap():
        assert solve(Problem(-laplacian(grid), 1.0), format=Bits()).converged


def test_the_newton_kernel_and_cross_approximation() -> None:
    with Cap():
        (row,) = newton_kernel.measure([2048])
        assert row["converged"]
        assert sample(bump, Grid.uniform([(0.0, 1.0)] * 6, 64).points(), 1e-8).shape == (64,) * 6


def test_ground_states() -> None:
    operator = henon_heiles(10)
    with Cap():
        matrix = assemble(operator).matrix
        assert DMRG(1e-5, follow=True).lowest(matrix, start=gaussian(operator.grid))[0].converged
