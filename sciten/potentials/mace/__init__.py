"""MACE, and its fast evaluation at fixed weights."""

from sciten.potentials.mace.model import MACE

__all__ = ["MACE"]
