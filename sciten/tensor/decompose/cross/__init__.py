"""Cross approximation: tensor trains of functions of an index, from some of their values."""

from sciten.tensor.decompose.cross.cross import CrossResult, apply, tt_cross
from sciten.tensor.decompose.cross.greedy import Greedy
from sciten.tensor.decompose.cross.maxvol import Maxvol

__all__ = ["CrossResult", "Greedy", "Maxvol", "apply", "tt_cross"]
