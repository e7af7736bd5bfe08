"""Trained models as files: weights with all that is needed to use them."""

from dataclasses import dataclass

import numpy as np

from lenet5c.datasets import Preparation
from lenet5c.nn import LeNet5, LeNet5_1998, Sequential, softmax
from lenet5c.training import tensor_file
from lenet5c.training.errors import RunError

# With what counts the values, parameters and buffers, that a configuration asks for.
MODELS = {"LeNet5": (LeNet5, LeNet5.count_params), "LeNet5_1998": (LeNet5_1998, LeNet5_1998.count_values)}
MEAN_IMAGE = "preparation.mean_image"


@dataclass(eq=False)
class TrainedModel:
    """A model, how its input is prepared, and what its classes are called.

    Attributes
    ----------
    model : Sequential
    preparation : Preparation
    class_names : tuple of str
    """

    model: Sequential
    preparation: Preparation
    class_names: tuple[str, ...]

    def logits(self, images):
        """Logits, float32 (N, classes), for uint8 images (N, C, h, w); penalties are negated."""
        fitted = self.preparation.fit_images(images)
        outputs = self.model.outputs(
            fitted, scale=self.preparation.scale, offset=self.preparation.offset(fitted.shape[1]))  # fmt: skip
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
    }
    tensor_file.write(path, "model", tensors, metadata)


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
    tensors, metadata = tensor_file.read(path, "model")
    try:
        kind, count_values = MODELS[metadata["model"]]
        preparation = Preparation.from_dict(metadata["preparation"], tensors.pop(MEAN_IMAGE, None))
        # Before the model takes memory: the file must hold as many values as it claims.
        expected = count_values(**metadata["config"])
        if expected != sum(array.size for array in tensors.values()):
            raise ValueError(f"its configuration asks for {expected} values, it holds others")
        if any(array.dtype != np.float32 for array in tensors.values()):
            raise ValueError("its weights are not float32")
        model = kind(**metadata["config"])
        model.load_state_dict(tensors)
        class_names = tuple(metadata["class_names"])
        if len(class_names) != model.config["num_classes"] or not all(isinstance(name, str) for name in class_names):
            raise ValueError("its class names do not fit its classes")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RunError(f"{path} is not a usable model file: {error}") from None
    return TrainedModel(model, preparation, class_names)
