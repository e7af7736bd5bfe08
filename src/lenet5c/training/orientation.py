"""Warning of images that seem to be stored with rows and columns exchanged."""

from contextlib import suppress
from dataclasses import replace

import numpy as np

from lenet5c.datasets import Dataset
from lenet5c.errors import RunError
from lenet5c.training.evaluation import evaluate
from lenet5c.training.matching import match_dataset
from lenet5c.training.model_file import TrainedModel

#: Images that are looked at: at least, and at most.
FEWEST, MOST = 40, 300
#: Difference of accuracies from which on the images are taken for sideways.
MARGIN = 0.3


def warn_of_sideways(trained: TrainedModel, dataset: Dataset) -> str | None:
    """Return a warning if a model classifies images far better with rows and columns exchanged.

    Parameters
    ----------
    trained : TrainedModel
    dataset : lenet5c.datasets.Dataset
        Of which some images are looked at. There is no warning where its classes are not the
        model's, or its images no squares.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.training import open_model
    >>> from lenet5c.training.orientation import warn_of_sideways
    >>> test = mnist()[1]
    >>> warn_of_sideways(open_model(), test)
    >>> warn_of_sideways(open_model(), replace(test, images=test.images.swapaxes(2, 3)))
    'images seem to be stored with rows and columns exchanged, as those of EMNIST are: 99% of 300 \
are classified correctly when these are exchanged back, as --transpose does, 19% as they are'
    """
    height, width = dataset.images.shape[2:]
    if len(dataset) < FEWEST or height != width:
        return None
    some = dataset.take(np.linspace(0, len(dataset) - 1, min(MOST, len(dataset))).astype(int))
    with suppress(RunError):
        some, _ = match_dataset(trained, replace(some, images=np.asarray(some.images)))
        exchanged = replace(some, images=np.asarray(some.images).swapaxes(2, 3))
        stored, turned = (evaluate(trained, each).accuracy for each in (some, exchanged))
        if turned > stored + MARGIN:
            return (
                "images seem to be stored with rows and columns exchanged, as those of EMNIST are: "
                f"{turned:.0%} of {len(some)} are classified correctly when these are exchanged "
                f"back, as --transpose does, {stored:.0%} as they are"
            )
    return None
