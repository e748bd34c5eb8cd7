"""Functions of several variables as Tucker decompositions of their Chebyshev coefficients."""

from sciten.tensor.decompose.chebyshev.approximate import chebyshev_tucker, chebyshev_tucker_cp
from sciten.tensor.decompose.chebyshev.container import ChebyshevTucker

__all__ = ["ChebyshevTucker", "chebyshev_tucker", "chebyshev_tucker_cp"]
