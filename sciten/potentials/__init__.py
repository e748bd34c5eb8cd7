"""Interatomic potentials and what they share."""

from sciten.potentials.base import Potential, Prediction
from sciten.potentials.elements import select_elements
from sciten.potentials.files import load_potential, save_potential
from sciten.potentials.mace import MACE

__all__ = ["MACE", "Potential", "Prediction", "load_potential", "save_potential", "select_elements"]
