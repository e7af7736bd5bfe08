"""Trained models as files: weights with all that is needed to use them."""

from dataclasses import dataclass

import numpy as np

from lenet5c import _files
from lenet5c.datasets import Preparation
from lenet5c.datasets.preparation import MAX_SIDE
from lenet5c.datasets.source import READINGS
from lenet5c.errors import RunError
from lenet5c.nn import LeNet5, LeNet5_1998, Sequential, softmax

MODELS = {"LeNet5": LeNet5, "LeNet5_1998": LeNet5_1998}
MEAN_IMAGE = "preparation.mean_image"
MODEL_NAME = "model.safetensors"  # of the model in the folder of a run


@dataclass(eq=False)
class TrainedModel:
    """A model, how its input is prepared, and what its classes are called.

    Attributes
    ----------
    model : Sequential
    preparation : Preparation
    class_names : tuple of str
    image_shape : tuple of int
        (C, H, W) of the images it was trained on, before they were prepared; a picture is brought to this first. 28 by
        28 pixels if not given.
    reading : {'ink', 'whole'}
        How a picture becomes such an image, as `lenet5c.datasets.Source` has it.
    """

    model: Sequential
    preparation: Preparation
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None = None
    reading: str = "ink"

    def __post_init__(self):
        if self.image_shape is None:
            self.image_shape = (getattr(self.model, "config", {}).get("in_channels", 1), 28, 28)

    def logits(self, images):
        """Logits, float32 (N, classes), for uint8 images (N, C, h, w); penalties are negated."""
        fitted = self.preparation.fit_images(images)
        outputs = self.model.outputs(
            fitted, scale=self.preparation.scale, offset=self.preparation.offset(fitted.shape[1])
        )
        return self.model.logits(outputs)

    def probabilities(self, images):
        """float32 (N, classes) for uint8 images (N, C, h, w)."""
        return softmax(self.logits(images))


def save_model(path, trained):
    """Write a `TrainedModel` of a model in `MODELS`: safetensors, with all else as JSON in its metadata."""
    tensors = trained.model.state_dict()
    if trained.preparation.mean_image is not None:
        tensors[MEAN_IMAGE] = trained.preparation.mean_image
    metadata = {
        "model": type(trained.model).__name__,
        "config": trained.model.config,
        "preparation": trained.preparation.to_dict(),
        "class_names": list(trained.class_names),
        "image_shape": list(trained.image_shape),
        "reading": trained.reading,
    }
    _files.write_tensors(path, "model", tensors, metadata)


def load_model(path):
    """Read a model that `save_model` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    TrainedModel

    Raises
    ------
    FileNotFoundError
    RunError
        The file is damaged, no model file, or says of itself what does not fit together.
    """
    tensors, metadata = _files.read_tensors(path, "model")
    try:
        kind = MODELS[metadata["model"]]
        preparation = Preparation.from_dict(metadata["preparation"], tensors.pop(MEAN_IMAGE, None))
        # Before the model takes memory: the file must hold as many values as it claims.
        expected = kind.count_params(**metadata["config"]) + kind.count_buffers(
            **metadata["config"]
        )
        if expected != sum(array.size for array in tensors.values()):
            raise ValueError(f"its configuration asks for {expected} parameters, it holds others")
        if any(array.dtype not in (np.float32, np.int64) for array in tensors.values()):
            raise ValueError("its weights are not float32")
        model = kind(**metadata["config"])
        model.load_state_dict(tensors)
        if any(array.dtype != tensors[name].dtype for name, array in model.state_dict().items()):
            raise ValueError("its weights are not float32")
        class_names = tuple(metadata["class_names"])
        if len(class_names) != model.config["num_classes"] or not all(
            isinstance(name, str) for name in class_names
        ):
            raise ValueError("its class names do not fit its classes")
        image_shape, reading = _checked_images(metadata, model.config["in_channels"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RunError(f"{path} is not a usable model file: {error}") from None
    return TrainedModel(model, preparation, class_names, image_shape, reading)


def _checked_images(metadata, channels):
    """(image_shape, reading); a file of before these were written has what MNIST has."""
    shape, reading = metadata.get("image_shape", [channels, 28, 28]), metadata.get("reading", "ink")
    if (
        not isinstance(shape, list)
        or len(shape) != 3
        or not all(type(n) is int and 1 <= n <= MAX_SIDE for n in shape)
    ):
        raise ValueError(f"its image_shape is {shape!r}")
    if shape[0] != channels:
        raise ValueError(f"its images have {shape[0]} channels, its model takes {channels}")
    if reading not in READINGS:
        raise ValueError(f"its reading is {reading!r}")
    return tuple(shape), reading
