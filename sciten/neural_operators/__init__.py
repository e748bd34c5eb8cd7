"""Neural operators: maps from fields to fields, learned on one grid and used on others."""

from sciten.neural_operators.base import NeuralOperator

__all__ = ["NeuralOperator"]
