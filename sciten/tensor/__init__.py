"""The common tensor backend: structured tensor algebra that knows no physics, no files and no models."""

from sciten.tensor.contract import contract
from sciten.tensor.formats import CP, TensorTrain, TreeTensor, Tucker
from sciten.tensor.multilinear import Multilinear

__all__ = ["CP", "Multilinear", "TensorTrain", "TreeTensor", "Tucker", "contract"]
