"""Simulation with any potential: molecular dynamics, relaxation, verification."""

from sciten.simulation.ensembles import NPT, NVE, Langevin, NoseHoover
from sciten.simulation.h5md import Trajectory, export_extxyz
from sciten.simulation.md import MDResult, run_md
from sciten.simulation.relax import Relaxation, relax
from sciten.simulation.verify import Verification, verify

__all__ = [
    "NPT",
    "NVE",
    "Langevin",
    "MDResult",
    "NoseHoover",
    "Relaxation",
    "Trajectory",
    "Verification",
    "export_extxyz",
    "relax",
    "run_md",
    "verify",
]
