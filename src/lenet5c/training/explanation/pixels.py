"""Forward and backward passes between the gray levels of an image and the logits of a model."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.datasets.preparation import Preparation
from lenet5c.datasets.resampling import resize_matrix
from lenet5c.training.model_file import TrainedModel

Floats = NDArray[np.floating]
Label = int | str | None


class LevelPass:
    """A model as a function of real-valued gray levels.

    The preparation is linear except for the rounding of resized images, which is omitted here.

    Parameters
    ----------
    trained : TrainedModel
    size : (int, int)
        Height and width of the images.
    """

    def __init__(self, trained: TrainedModel, size: tuple[int, int]) -> None:
        self.model, self.preparation = trained.model, trained.preparation
        self.rows, self.columns = _fit_matrices(trained.preparation, size)

    def prepare(self, levels: Floats) -> NDArray[np.float32]:
        """Return the net's input (N, C, H, W) for images (N, C, h, w)."""
        fitted = self.rows @ np.asarray(levels, np.float64) @ self.columns.T
        offset = self.preparation.offset(levels.shape[1])
        return fitted.astype(np.float32) * self.preparation.scale + offset

    def logits(self, levels: Floats) -> NDArray[np.float32]:
        """Return the logits (N, K) of images (N, C, h, w)."""
        return self.model.logits(self.model.outputs(self.prepare(levels)))

    def gradient(self, levels: Floats, dlogits: Floats) -> NDArray[np.float64]:
        """Return the gradient with respect to gray levels, given that of the logits."""
        # Logits are the outputs or the negated outputs.
        dy = self.model.logits(np.asarray(dlogits, np.float32))
        dx = self.model.input_gradient(self.prepare(levels), dy).astype(np.float64)
        return self.rows.T @ dx @ self.columns * np.float64(self.preparation.scale)


def _fit_matrices(
    preparation: Preparation, size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the matrices (H, h) and (W, w) that fit an image to the input size."""
    make = _pad_matrix if preparation.fit == "pad" else resize_matrix
    pairs = zip(preparation.size, size, strict=True)
    rows, columns = (np.eye(n) if length == n else make(length, n) for length, n in pairs)
    return rows, columns


def _pad_matrix(length: int, source: int) -> NDArray[np.float64]:
    """Return the matrix (length, source) that pads like `Preparation`."""
    return np.eye(length, source, -((length - source) // 2))


def take_image(trained: TrainedModel, image: ArrayLike) -> NDArray[np.uint8]:
    """Return one image as uint8 (C, h, w); errors are those of `TrainedModel.logits`."""
    images = trained.as_images(image)
    if len(images) != 1:
        raise ValueError(
            f"image must be one image, (h, w) or (C, h, w), got {len(images)} in an array of "
            f"shape {np.shape(image)}; pass one of them, such as images[0]"
        )
    return images[0]


def find_label(trained: TrainedModel, label: Label, logits: Floats) -> int:
    """Return the class of a label, given by index or name; the predicted class by default."""
    if label is None:
        return int(np.argmax(logits))
    names = trained.class_names
    if isinstance(label, str):
        if label in names:
            return names.index(label)
    elif not isinstance(label, bool) and 0 <= label < len(names):
        return int(label)
    some = ", ".join(names) if len(names) <= 20 else f"{', '.join(names[:20])}, ..."
    raise ValueError(
        f"label must be a class of the model, 0 to {len(names) - 1}, or one of {some}, "
        f"got {label!r}"
    )


def find_ground(trained: TrainedModel, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the background gray level of an image (C, h, w), one for each channel.

    This is the background of the training images; the color of the image's border if it varies; or
    the mean color of the image if they are not ink on paper.
    """
    framing = trained.framing
    if trained.reading != "ink" or framing is None:
        return image.mean(axis=(1, 2))
    if framing.varied:
        edges = image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]
        return np.median(np.concatenate(edges, axis=1), axis=1)
    return np.resize(np.asarray(framing.paper, np.float64), len(image))


def one_hot(label: int, classes: int) -> NDArray[np.float32]:
    """Return a row (1, classes) of zeros with 1 at the label."""
    return np.eye(1, classes, label, dtype=np.float32)
