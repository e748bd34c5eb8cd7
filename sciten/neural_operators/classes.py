"""The neural operators by name: the only classes that a model file or a configuration can ask for by default."""

from collections.abc import Mapping
from types import MappingProxyType

from sciten.neural_operators.base import NeuralOperator
from sciten.neural_operators.fno import FNO, TFNO

OPERATORS: Mapping[str, type[NeuralOperator]] = MappingProxyType({"FNO": FNO, "TFNO": TFNO})
