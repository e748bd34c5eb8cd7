"""Diagonal operators of vectors."""

import torch

from sciten.tensor.formats.tensor_train import TensorTrain


def diagonal(x: TensorTrain) -> TensorTrain:
    """The operator that multiplies entry by entry with a vector; its ranks are those of the vector.

    Raises:
        ConfigError: this is an operator already.
    """
    x._require_vector("diagonal")
    return TensorTrain(tuple(torch.diag_embed(core.mT).movedim(-3, -1) for core in x.cores), operator=True)
