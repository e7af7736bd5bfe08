"""Models by name: the trained one that comes with the package, those of runs, and files."""

from pathlib import Path

from lenet5c.errors import RunError
from lenet5c.training.model_file import MODEL_NAME, load_model

FOLDER = Path(__file__).parent / "pretrained_data"


def pretrained():
    """The digits' model that comes with the package, from ``lenet5c train --recipe best --seed 0``.

    LeNet-5 of 61,706 parameters, 99.58 % of MNIST's test images.

    Returns
    -------
    TrainedModel

    Raises
    ------
    RunError
        The file is missing or damaged.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.training import pretrained
    >>> _, test = mnist()
    >>> pretrained().probabilities(test.images[:3]).argmax(axis=1), test.labels[:3]
    (array([7, 2, 1]), array([7, 2, 1], dtype=int32))
    """
    try:
        return load_model(FOLDER / MODEL_NAME)
    except (RunError, FileNotFoundError) as error:
        raise RunError(
            f"{error}. This model is part of the package: python -m pip install --force-reinstall --no-deps lenet5c"
        ) from None


def open_model(name=None):
    """Load a model as commands name it.

    Parameters
    ----------
    name : str or path-like, optional
        A model file, or the folder of a finished run; ``'best'``, or nothing, is the model that comes with the package
        (`./best` a file or folder of that name).

    Returns
    -------
    TrainedModel

    Raises
    ------
    RunError
        There is no such model, or it cannot be used; the message says why.

    Examples
    --------
    >>> from lenet5c.training import open_model
    >>> open_model("best").model.num_params
    61706
    >>> open_model("runs/none")
    Traceback (most recent call last):
    lenet5c.errors.RunError: runs/none: no such model; name a model file, the folder of a finished run, or 'best'
    """
    if name is None or name == "best":
        return pretrained()
    path = Path(name)
    if path.is_dir():
        if not (path / MODEL_NAME).is_file():
            raise RunError(
                f"{path} holds no {MODEL_NAME}; it should be the folder of a finished run: lenet5c train --resume --out "
                f"{path} finishes one"
            )
        path /= MODEL_NAME
    try:
        return load_model(path)
    except FileNotFoundError:
        raise RunError(
            f"{path}: no such model; name a model file, the folder of a finished run, or 'best'"
        ) from None
