"""HTML representations of models, trainers and evaluations for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lenet5c._text import count, html_table, list_some, to_html
from lenet5c.training.confusion import confused_pairs
from lenet5c.training.history import History
from lenet5c.training.statistics import wilson_interval

if TYPE_CHECKING:
    from lenet5c.training.evaluation import Evaluation
    from lenet5c.training.model_file import TrainedModel
    from lenet5c.training.trainer import Trainer

MAX_CLASSES = 16  # of a confusion matrix; for more, the most frequent mistakes are shown
PAIRS = 10


def show_model(trained: TrainedModel) -> str:
    """Return the layers, images and classes of a trained model."""
    facts = [
        ("images", f"{' x '.join(map(str, trained.image_shape))}, read as {trained.reading}"),
        ("classes", list_some(trained.class_names, 20)),
    ]
    if trained.path is not None:
        facts.append(("file", str(trained.path)))
    return f"<div>{trained.model._repr_html_()}{html_table((), facts)}</div>"


def show_trainer(trainer: Trainer) -> str:
    """Return the position and history of a training."""
    model, held_out = trainer.model, len(trainer.validation_set or ())
    words = (
        f"{type(model).__name__}, {model.num_params:,} parameters; "
        f"{count(len(trainer.train_set), 'training image')}, {held_out:,} for validation; "
        f"{type(trainer.optimizer).__name__}, batches of {trainer.batch_size:,}, "
        f"seed {trainer.seed}"
    )
    history = History(trainer.history, trainer.epochs, trainer.done)
    return f"<div><p>{to_html(words)}</p>{history._repr_html_()}</div>"


def show_evaluation(result: Evaluation) -> str:
    """Return the accuracy with its interval, and the confusion matrix or worst mistakes."""
    low, high = wilson_interval(result.correct, result.count)
    classes = result.probabilities.shape[1]
    names = result.class_names or tuple(map(str, range(classes)))
    if classes <= MAX_CLASSES:
        rows = [
            (f"true {name}", *(number or "." for number in row))
            for name, row in zip(names, result.matrix.tolist(), strict=True)
        ]
        shown = html_table(("predicted", *names), rows)
    else:
        pairs = confused_pairs(result.matrix, PAIRS)
        rows = [(names[a], names[b], f"{number:,}") for a, b, number in pairs]
        shown = html_table(("true", "predicted", "images"), rows)
    return (
        f"<div><p><b>{result}</b>, 95% interval {100 * low:.2f} to {100 * high:.2f}%, "
        f"loss {result.loss:.4f}</p>{shown}</div>"
    )
