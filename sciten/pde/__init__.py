"""Partial differential equations: stationary ones in low-rank tensor formats, and solvers that make data to learn from.

Names here belong to the former; `sciten.pde.spectral` holds random fields, and flows on the torus, `sciten.pde.darcy`
Darcy's equation.

Grids, operators, exponential sums and `solve` work on the CPU, and say so where they are given tensors on another
device. `AMEn`, `ALS`, `MALS`, `GMRES` and `DMRG` by themselves take trains on any device, all of them on the same one.
"""

from sciten.pde.boundary import Dirichlet, Neumann, Periodic, Robin
from sciten.pde.grid import Axis, Grid
from sciten.pde.operators import (
    Operator,
    advection,
    divergence,
    given_operator,
    gradient,
    laplacian,
    local_operator,
    potential,
)
from sciten.pde.preconditioners import ExponentialSum, RankOne
from sciten.pde.problem import Problem, solve
from sciten.pde.quantised.assemble import Bits
from sciten.pde.solvers.amen import ALS, AMEn
from sciten.pde.solvers.eigen import DMRG, Eigenstate
from sciten.pde.solvers.exponential_sums import ExponentialSums
from sciten.pde.solvers.gmres import GMRES
from sciten.pde.solvers.mals import MALS
from sciten.pde.solvers.solution import Solution

__all__ = [
    "ALS",
    "DMRG",
    "GMRES",
    "MALS",
    "AMEn",
    "Axis",
    "Bits",
    "Dirichlet",
    "Eigenstate",
    "ExponentialSum",
    "ExponentialSums",
    "Grid",
    "Neumann",
    "Operator",
    "Periodic",
    "Problem",
    "RankOne",
    "Robin",
    "Solution",
    "advection",
    "divergence",
    "given_operator",
    "gradient",
    "laplacian",
    "local_operator",
    "potential",
    "solve",
]
