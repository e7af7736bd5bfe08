"""The training loop, evaluation, model files, checkpoints, run folders and statistics."""

from lenet5c.errors import NonFiniteError, RunError
from lenet5c.training.calibration import calibrate
from lenet5c.training.confusion import ClassScores, class_scores, confused_pairs, confusion_matrix
from lenet5c.training.distillation import add_soft_targets
from lenet5c.training.ensemble import make_ensemble
from lenet5c.training.evaluation import Evaluation, evaluate
from lenet5c.training.history import History
from lenet5c.training.matching import match_dataset
from lenet5c.training.model_file import TrainedModel, open_model, save_model
from lenet5c.training.ranking import Rejections, Roc, reject_by_confidence, roc_areas, roc_curve
from lenet5c.training.reliability import Reliability, measure_reliability
from lenet5c.training.robustness import Corrupted, Robustness, measure_robustness
from lenet5c.training.statistics import (
    McNemar,
    MeanInterval,
    holm,
    mcnemar,
    mean_interval,
    wilson_interval,
)
from lenet5c.training.temperature import Calibration, fit_temperature
from lenet5c.training.trainer import Trainer

__all__ = [
    "Calibration",
    "ClassScores",
    "Corrupted",
    "Evaluation",
    "History",
    "McNemar",
    "MeanInterval",
    "NonFiniteError",
    "Rejections",
    "Reliability",
    "Robustness",
    "Roc",
    "RunError",
    "TrainedModel",
    "Trainer",
    "add_soft_targets",
    "calibrate",
    "class_scores",
    "confused_pairs",
    "confusion_matrix",
    "evaluate",
    "fit_temperature",
    "holm",
    "make_ensemble",
    "match_dataset",
    "mcnemar",
    "mean_interval",
    "measure_reliability",
    "measure_robustness",
    "open_model",
    "reject_by_confidence",
    "roc_areas",
    "roc_curve",
    "save_model",
    "wilson_interval",
]
