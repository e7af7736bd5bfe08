"""Calibration of a model after training, on held-out images."""

from typing import TYPE_CHECKING

from lenet5c.datasets import Dataset
from lenet5c.training.model_file import TrainedModel, check_outputs, compute_outputs
from lenet5c.training.parallel import ALONE, Ranks
from lenet5c.training.temperature import Calibration, fit_temperature

if TYPE_CHECKING:
    from lenet5c.training.trainer import Trainer


def calibrate(trained: TrainedModel, dataset: Dataset, ranks: Ranks = ALONE) -> Calibration:
    """Fit the temperature of a model on a data set and set it.

    Parameters
    ----------
    trained : TrainedModel
    dataset : lenet5c.datasets.Dataset
        Images that were not used for training, with the model's classes. Each image counts once.
    ranks : lenet5c.training.parallel.Ranks
        Processes that all call this function and divide the computation among them.

    Returns
    -------
    Calibration

    Raises
    ------
    RunError
        If an output of the model is not finite.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.training import calibrate, open_model
    >>> trained, (_, test) = open_model(), mnist()
    >>> fitted = calibrate(trained, test.take(range(300)))  # as if they were your own
    >>> trained.temperature == fitted.temperature, fitted.count
    (True, 300)
    """
    outputs = compute_outputs(trained.model, trained.preparation, dataset.images, ranks)
    check_outputs(outputs)
    fitted = fit_temperature(trained.model.logits(outputs), dataset.labels)
    trained.temperature = fitted.temperature
    return fitted


def calibrate_trained(trainer: "Trainer") -> Calibration | None:
    """Calibrate the model of a trainer on its validation images, if it has any."""
    if trainer.trained is None or trainer.validation_set is None or not trainer.calibrates:
        return None
    return calibrate(trainer.trained, trainer.validation_set, trainer.ranks)
