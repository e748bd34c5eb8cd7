"""Neural operators: maps from fields to fields, learned on one grid and used on others."""

from sciten.neural_operators.base import NeuralOperator
from sciten.neural_operators.factorizations import (
    CPFactors,
    Dense,
    Factorization,
    TTFactors,
    TuckerFactors,
)
from sciten.neural_operators.files import load_operator, save_operator
from sciten.neural_operators.fno import FNO, TFNO
from sciten.neural_operators.patching import MultigridPatching
from sciten.neural_operators.spectral import SpectralConvolution, SpectralWeight

__all__ = [
    "FNO",
    "TFNO",
    "CPFactors",
    "Dense",
    "Factorization",
    "MultigridPatching",
    "NeuralOperator",
    "SpectralConvolution",
    "SpectralWeight",
    "TTFactors",
    "TuckerFactors",
    "load_operator",
    "save_operator",
]
