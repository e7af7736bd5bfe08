"""The trained model that comes with the package."""

from pathlib import Path

from lenet5c.training.errors import RunError
from lenet5c.training.model_file import load_model

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
        return load_model(FOLDER / "model.safetensors")
    except (RunError, FileNotFoundError) as error:
        raise RunError(
            f"{error}. This model is part of the package: python -m pip install --force-reinstall --no-deps lenet5c"
        ) from None


def open_model(name=None):
    """The model that a person names.

    Parameters
    ----------
    name : str or Path, optional
        A model file, the folder of a run, or 'best' (or nothing) for the model that comes with the package; ``./best``
        is a file or folder of that name.

    Returns
    -------
    TrainedModel

    Raises
    ------
    RunError
        There is no such file or folder, the folder holds no finished run, or the file is no usable model.

    Examples
    --------
    >>> from lenet5c.training import open_model
    >>> open_model("best").class_names[:3]
    ('0', '1', '2')
    """
    if name is None or name == "best":
        return pretrained()
    path = Path(name)
    try:
        if not str(name):
            raise FileNotFoundError
        if path.is_dir():
            return load_model(path / "model.safetensors")
        return load_model(path)
    except FileNotFoundError:
        if str(name) and path.is_dir():
            raise RunError(
                f"{path} holds no model.safetensors; give the folder of a finished run, a model file, or best"
            ) from None
        raise RunError(
            f"there is no model {str(name)!r}; give a model file, the folder of a run, or best for the model that "
            f"comes with lenet5c"
        ) from None
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror or error})") from None
