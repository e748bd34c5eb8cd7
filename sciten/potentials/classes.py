"""The potentials by name: the only classes that a model file or a configuration can ask for."""

from collections.abc import Mapping
from types import MappingProxyType

from sciten.potentials.mace import MACE
from sciten.potentials.tensornet import TensorNet

POTENTIALS: Mapping[str, type[MACE] | type[TensorNet]] = MappingProxyType(
    {"MACE": MACE, "TensorNet": TensorNet}
)
