"""Series of the Laplacian's eigenfunctions: time-dependent equations on the torus, and Gaussian random fields.

The fields are what those equations begin with, on the torus, and the coefficients of others, between Neumann faces.
"""

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
