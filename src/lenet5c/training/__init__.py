"""The training loop, model files and checkpoints, and the folder a run leaves."""

from lenet5c.training.errors import NonFiniteError, RunError
from lenet5c.training.evaluation import Evaluation, evaluate
from lenet5c.training.model_file import TrainedModel, load_model, save_model
from lenet5c.training.trainer import Trainer

__all__ = [
    "Evaluation",
    "NonFiniteError",
    "RunError",
    "TrainedModel",
    "Trainer",
    "evaluate",
    "load_model",
    "save_model",
]
