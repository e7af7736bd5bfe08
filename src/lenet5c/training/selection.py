"""Which epoch of a run was the best, by its history alone."""


def best_row(history):
    """The row of the epoch with the highest validation accuracy, of several the lowest loss, of several the first.

    Examples
    --------
    >>> from lenet5c.training.selection import best_row
    >>> losses, accuracies = (0.3, 0.1, 0.2), (0.95, 0.97, 0.97)
    >>> rows = [{"validation_loss": a, "validation_accuracy": b} for a, b in zip(losses, accuracies)]
    >>> best_row(rows)
    {'validation_loss': 0.1, 'validation_accuracy': 0.97}
    """
    best = None
    for row in history:
        if best is None or is_better(row, best):
            best = row
    return best


def is_better(row, than):
    if row["validation_accuracy"] != than["validation_accuracy"]:
        return row["validation_accuracy"] > than["validation_accuracy"]
    return row["validation_loss"] < than["validation_loss"]


def epochs_since_best(history):
    """How many epochs have passed without a better one."""
    return len(history) - 1 - history.index(best_row(history)) if history else 0
