"""Detection of transposed images."""

from contextlib import suppress
from dataclasses import replace

import numpy as np

from lenet5c.datasets import Dataset
from lenet5c.errors import RunError
from lenet5c.training.evaluation import evaluate
from lenet5c.training.matching import match_dataset
from lenet5c.training.model_file import TrainedModel

#: Minimum and maximum number of images to check.
FEWEST, MAXIMUM = 40, 300
#: Minimum difference of accuracies to consider images transposed.
MARGIN = 0.3


def warn_if_sideways(trained: TrainedModel, dataset: Dataset) -> str | None:
    """Return a warning if a model classifies images much better when they are transposed.

    Parameters
    ----------
    trained : TrainedModel
    dataset : lenet5c.datasets.Dataset
        Data set, some of whose images are checked. There is no warning if its classes are not those
        of the model, or its images are not square.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.training import open_model
    >>> from lenet5c.training.orientation import warn_if_sideways
    >>> test = mnist()[1]
    >>> warn_if_sideways(open_model(), test)
    >>> warn_if_sideways(open_model(), replace(test, images=test.images.swapaxes(2, 3)))
    'images seem to be stored transposed, as in EMNIST: 99% of 300 are classified correctly after \
transposing them, 19% without; use --transpose'
    """
    height, width = dataset.images.shape[2:]
    if len(dataset) < FEWEST or height != width:
        return None
    some = dataset.take(np.linspace(0, len(dataset) - 1, min(MAXIMUM, len(dataset))).astype(int))
    with suppress(RunError):
        some, _ = match_dataset(trained, replace(some, images=np.asarray(some.images)))
        exchanged = replace(some, images=np.asarray(some.images).swapaxes(2, 3))
        stored, turned = (evaluate(trained, each).accuracy for each in (some, exchanged))
        if turned > stored + MARGIN:
            return (
                "images seem to be stored transposed, as in EMNIST: "
                f"{turned:.0%} of {len(some)} are classified correctly after transposing them, "
                f"{stored:.0%} without; use --transpose"
            )
    return None
