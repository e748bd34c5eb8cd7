"""Sparse multilinear maps as values, and the executors that run them."""

from sciten.tensor.multilinear.apply import evaluate
from sciten.tensor.multilinear.description import Multilinear, Operand, Term
from sciten.tensor.multilinear.executors import Executor
from sciten.tensor.multilinear.index import Index

__all__ = ["Executor", "Index", "Multilinear", "Operand", "Term", "evaluate"]
