"""Time-dependent equations on the torus by Fourier series, and the random fields that they begin with."""

from sciten.pde.spectral.burgers import Burgers
from sciten.pde.spectral.navier_stokes import NavierStokes, diagonal_forcing
from sciten.pde.spectral.random_fields import (
    INITIAL_VELOCITY,
    INITIAL_VORTICITY,
    PERMEABILITY,
    GaussianField,
)

__all__ = [
    "INITIAL_VELOCITY",
    "INITIAL_VORTICITY",
    "PERMEABILITY",
    "Burgers",
    "GaussianField",
    "NavierStokes",
    "diagonal_forcing",
]
