"""How well a model does on a data set."""

from dataclasses import dataclass

from lenet5c.nn import CrossEntropyLoss


@dataclass(frozen=True)
class Evaluation:
    """Mean loss, and how many of the samples were right."""

    loss: float
    correct: int
    count: int

    @property
    def accuracy(self):
        """0 to 1."""
        return self.correct / self.count

    def __str__(self):
        return f"{100 * self.accuracy:.2f}% ({self.correct}/{self.count})"


def evaluate(model, dataset, preparation, loss=None):
    """Run a model over a data set.

    Parameters
    ----------
    model : lenet5c.nn.Sequential
    dataset : lenet5c.datasets.Dataset
    preparation : lenet5c.datasets.Preparation
        Images that already have its size are taken as they are.
    loss : CrossEntropyLoss, MSELoss, MLELoss or MAPLoss, optional
        Cross-entropy if not given.

    Returns
    -------
    Evaluation
    """
    images = preparation.fit_images(dataset.images)
    outputs = model.outputs(
        images, scale=preparation.scale, offset=preparation.offset(images.shape[1])
    )
    if loss is None:
        mean = CrossEntropyLoss().value(model.logits(outputs), dataset.labels)
    else:
        mean = loss.value(outputs, dataset.labels)
    return Evaluation(mean, int((model.classes(outputs) == dataset.labels).sum()), len(dataset))
