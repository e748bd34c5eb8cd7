"""The TensorNet potential."""

from sciten.potentials.tensornet.model import TensorNet

__all__ = ["TensorNet"]
