"""Description of the terms of a training loss."""

from math import log
from typing import TYPE_CHECKING

from lenet5c.training.distillation import DistillationTargets

if TYPE_CHECKING:
    from lenet5c.training.trainer import Trainer

KINDS = {
    "mse": "mean squared error",
    "mle": "mean penalty of the true class",
    "map": "maximum a posteriori criterion",
}


def describe_loss(trainer: "Trainer") -> str:
    """Describe the loss of a training; return an empty string for plain cross-entropy.

    Examples
    --------
    >>> import lenet5c
    >>> from lenet5c.training.loss_terms import describe_loss
    >>> describe_loss(lenet5c.trainer("default", train_size=500))
    'cross-entropy with label smoothing 0.05 (at least 0.282)'
    """
    loss, train_set = trainer.loss, trainer.train_set
    kind = KINDS.get(getattr(loss, "kind", ""), "cross-entropy")
    of_classes = getattr(loss, "weight", None) is not None
    terms = []
    if share := getattr(loss, "label_smoothing", 0.0):
        least = f" (at least {_least_smoothed(share, train_set.num_classes):.3f})"
        terms.append(f"label smoothing {share:g}{'' if of_classes else least}")
    if train_set.targets is not None or isinstance(trainer.targets, DistillationTargets):
        terms.append("soft targets")
    if of_classes or train_set.sample_weight is not None:
        terms.append("weights")
    if trainer.distortion:
        mixed = trainer.distortion.mixup > 0
        terms.append("augmentation of the training images" + " and mixup" * mixed)
    if not terms:
        return "" if kind == "cross-entropy" else kind
    *first, last = terms
    return f"{kind} with {', '.join(first)}{' and ' * bool(first)}{last}"


def _least_smoothed(share: float, num_classes: int) -> float:
    """Return the minimum cross-entropy with smoothed labels, which is their entropy."""
    rest = share / num_classes
    true = 1 - share + rest
    return -true * log(true) - (num_classes - 1) * rest * log(rest)
