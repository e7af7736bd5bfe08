"""The training loop, model files and checkpoints, the folder a run leaves, and statistics of accuracies."""

from lenet5c.training.errors import NonFiniteError, RunError
from lenet5c.training.evaluation import Evaluation, evaluate
from lenet5c.training.history import History
from lenet5c.training.model_file import TrainedModel, load_model, save_model
from lenet5c.training.pretrained import open_model, pretrained
from lenet5c.training.statistics import McNemar, MeanInterval, mcnemar, mean_interval, wilson_interval
from lenet5c.training.trainer import Trainer

__all__ = [
    "Evaluation",
    "History",
    "McNemar",
    "MeanInterval",
    "NonFiniteError",
    "RunError",
    "TrainedModel",
    "Trainer",
    "evaluate",
    "load_model",
    "mcnemar",
    "mean_interval",
    "open_model",
    "pretrained",
    "save_model",
    "wilson_interval",
]
