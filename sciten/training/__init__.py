"""Training: configurations as values, the loop, losses, checkpoints; and the evaluation of models."""

from sciten.training.config import SecondStage, TrainConfig
from sciten.training.evaluation import Evaluation, evaluate
from sciten.training.field_evaluation import FieldEvaluation, evaluate_operator
from sciten.training.losses import L2, Huber, Loss
from sciten.training.operator_config import IncrementalModes, OperatorConfig
from sciten.training.optimizers import Adam, AdamW, AMSGrad
from sciten.training.reading import read_config
from sciten.training.run import TrainResult, train
from sciten.training.schedules import Constant, Cosine, Plateau

__all__ = [
    "L2",
    "AMSGrad",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "Evaluation",
    "FieldEvaluation",
    "Huber",
    "IncrementalModes",
    "Loss",
    "OperatorConfig",
    "Plateau",
    "SecondStage",
    "TrainConfig",
    "TrainResult",
    "evaluate",
    "evaluate_operator",
    "read_config",
    "train",
]
