"""Trained models as files: weights with all that is needed to use them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c import _files
from lenet5c.datasets import Preparation
from lenet5c.datasets.dataset import READINGS
from lenet5c.datasets.preparation import MAX_SIDE
from lenet5c.errors import RunError
from lenet5c.nn import NETS, Sequential, softmax

MEAN_IMAGE = "preparation.mean_image"
MODEL_NAME = "model.safetensors"  # of the model in the folder of a run
BEST = "best"
BEST_FOLDER = Path(__file__).parent / "pretrained_data"


@dataclass(eq=False)
class TrainedModel:
    """A model with the preparation of its input and the names of its classes.

    Attributes
    ----------
    model : Sequential
    preparation : Preparation
    class_names : tuple of str
    image_shape : tuple of int
        (C, H, W) of the images it was trained on, before they were prepared; a picture is first
        resized to this. 28 by 28 pixels by default.
    reading : {'ink', 'whole'}
        How a picture becomes such an image, as `lenet5c.datasets.Source` has it.
    path : Path or None
        The file it was read from.
    """

    model: Sequential
    preparation: Preparation
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] = None  # type: ignore[assignment]  # set below
    reading: str = "ink"
    path: Path | None = None

    def __post_init__(self) -> None:
        """Fill in the usual image shape."""
        if self.image_shape is None:
            self.image_shape = (getattr(self.model, "config", {}).get("in_channels", 1), 28, 28)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return logits (N, classes) for images (N, C, h, w); penalties are negated."""
        return self.model.logits(compute_outputs(self.model, self.preparation, images))

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities (N, classes) for images (N, C, h, w)."""
        return softmax(self.logits(images))


def compute_outputs(
    model: Sequential, preparation: Preparation, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return the outputs (N, classes) of a model for images that are still to be prepared."""
    return model.outputs(preparation.samples(images))


def open_model(name: str | os.PathLike[str] | None = None) -> TrainedModel:
    """Open a trained model.

    Parameters
    ----------
    name : str or path-like, optional
        A model file, or the folder of a finished run; ``'best'``, or nothing, is the model of
        MNIST's digits that comes with the package (`./best` a file or folder of that name): that of
        ``lenet5c train --recipe best --seed 0``, 99.58 % of the test images.

    Returns
    -------
    TrainedModel

    Raises
    ------
    RunError
        There is no such model, or it cannot be used; the message says why.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.training import open_model
    >>> _, test = mnist()
    >>> open_model().probabilities(test.images[:3]).argmax(axis=1), test.labels[:3]
    (array([7, 2, 1]), array([7, 2, 1], dtype=int32))
    >>> open_model("runs/none")
    Traceback (most recent call last):
    lenet5c.errors.RunError: model must be a model file, the folder of a finished run or 'best', \
got runs/none, which does not exist
    """
    if name is None or name == BEST:
        try:
            return _read(BEST_FOLDER / MODEL_NAME)
        except (RunError, FileNotFoundError) as error:
            raise RunError(
                f"{error}; this model is part of the package, install it again: "
                "python -m pip install --force-reinstall --no-deps lenet5c"
            ) from None
    path = Path(name)
    wanted = "model must be a model file, the folder of a finished run or 'best', got"
    if path.is_dir():
        path /= MODEL_NAME
        if not path.is_file():
            raise RunError(
                f"{wanted} {name}, a folder without {MODEL_NAME}; "
                f"finish its run: lenet5c train --resume --out {name}"
            )
    try:
        return _read(path)
    except FileNotFoundError:
        raise RunError(f"{wanted} {name}, which does not exist") from None


def save_model(path: str | os.PathLike[str], trained: TrainedModel) -> None:
    """Write a `TrainedModel` of `LeNet5` or `LeNet5_1998` for `open_model`.

    The format is safetensors, with all but the weights as JSON in its metadata; equal models give
    equal bytes.
    """
    tensors = trained.model.state_dict()
    if trained.preparation.mean_image is not None:
        tensors[MEAN_IMAGE] = trained.preparation.mean_image
    metadata = {
        "model": type(trained.model).__name__,
        "config": trained.model.config,  # type: ignore[attr-defined]
        "preparation": trained.preparation.to_dict(),
        "class_names": list(trained.class_names),
        "image_shape": list(trained.image_shape),
        "reading": trained.reading,
    }
    _files.write_tensors(path, "model", tensors, metadata)


def _read(path: Path) -> TrainedModel:
    tensors, metadata = _files.read_tensors(path, "model")
    try:
        kind: Any = {kind.__name__: kind for kind in NETS.values()}[metadata["model"]]
        config = metadata["config"]
        preparation = Preparation.from_dict(metadata["preparation"], tensors.pop(MEAN_IMAGE, None))
        # Before the model takes memory: the file must hold as many values as it claims.
        expected = kind.count_params(**config) + kind.count_buffers(**config)
        if expected != (found := sum(array.size for array in tensors.values())):
            raise ValueError(f"its configuration must have {found} parameters, got {expected}")
        if any(array.dtype not in (np.float32, np.int64) for array in tensors.values()):
            raise ValueError("its weights must be float32")
        model = kind(**config)
        model.load_state_dict(tensors)
        if any(array.dtype != tensors[name].dtype for name, array in model.state_dict().items()):
            raise ValueError("its weights must be float32")
        class_names = tuple(metadata["class_names"])
        if len(class_names) != model.config["num_classes"] or not all(
            isinstance(name, str) for name in class_names
        ):
            raise ValueError(f"its class names must be {model.config['num_classes']} strings")
        image_shape = _check_shape(metadata["image_shape"], model.config["in_channels"])
        if (reading := metadata["reading"]) not in READINGS:
            raise ValueError(f"its reading must be one of {READINGS}, got {reading!r}")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise RunError(f"{path} must be a model file that fits together: {reason}") from None
    return TrainedModel(model, preparation, class_names, image_shape, reading, path)


def _check_shape(shape: Any, channels: int) -> tuple[int, int, int]:
    if (
        not isinstance(shape, list)
        or len(shape) != 3
        or shape[0] != channels
        or not all(type(n) is int and 1 <= n <= MAX_SIDE for n in shape)
    ):
        raise ValueError(f"its image_shape must be ({channels}, height, width), got {shape!r}")
    return shape[0], shape[1], shape[2]
