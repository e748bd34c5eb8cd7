"""Interatomic potentials and what they share."""

from sciten.potentials.base import Potential, Prediction
from sciten.potentials.classes import POTENTIALS
from sciten.potentials.elements import select_elements
from sciten.potentials.files import load_potential, save_potential
from sciten.potentials.mace import MACE
from sciten.potentials.tensornet import TensorNet

__all__ = [
    "MACE",
    "POTENTIALS",
    "Potential",
    "Prediction",
    "TensorNet",
    "load_potential",
    "save_potential",
    "select_elements",
]
