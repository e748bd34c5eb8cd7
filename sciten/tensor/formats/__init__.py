"""Low-rank formats: immutable containers of torch tensors, and their arithmetic."""

from sciten.tensor.formats.base import Format
from sciten.tensor.formats.concatenation import concatenate
from sciten.tensor.formats.cp import CP
from sciten.tensor.formats.sums import round_sum
from sciten.tensor.formats.tensor_train import TensorTrain
from sciten.tensor.formats.tree import Tree
from sciten.tensor.formats.tree_tensor import TreeTensor
from sciten.tensor.formats.tucker import Tucker

__all__ = ["CP", "Format", "TensorTrain", "Tree", "TreeTensor", "Tucker", "concatenate", "round_sum"]
