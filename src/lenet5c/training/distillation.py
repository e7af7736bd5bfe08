"""Knowledge distillation: soft targets from trained models."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._files import digest
from lenet5c.datasets import Dataset, EpochDistortion, Preparation
from lenet5c.datasets.mapped import blocks
from lenet5c.errors import RunError
from lenet5c.kernels import softmax
from lenet5c.nn import Samples
from lenet5c.training.model_file import TrainedModel, check_outputs, scale_logits
from lenet5c.training.weights import Targets

#: Number of images that teachers classify at once. Fixed, so that results do not depend on where
#: training was interrupted.
BLOCK = 4096


def add_soft_targets(
    dataset: Dataset, teachers: Sequence[TrainedModel], temperature: float = 1.0, share: float = 1.0
) -> Dataset:
    """Return a data set whose soft targets are the predictions of an ensemble of models.

    A net trained on them learns from the probabilities of all classes, not only from the label
    [1]_. The targets are ``share`` times the mean over the models of ``softmax(logits /
    temperature)`` plus ``1 - share`` times the previous target of the image: its label, or its soft
    target. Labels are not changed and are used for accuracies.

    Parameters
    ----------
    dataset : lenet5c.datasets.Dataset
    teachers : sequence of TrainedModel
        At least one model, with the classes of the data set in the same order.
    temperature : float
        Softmax temperature, greater than 0; values above 1 give more weight to unlikely classes.
        The temperatures of the models have no effect.
    share : float
        Weight of the models' predictions, greater than 0 and at most 1.

    Raises
    ------
    ValueError
        If there are no models, or a number is out of range.
    RunError
        If a model has other classes, or its output is not finite.

    References
    ----------
    .. [1] G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", 2015.

    Examples
    --------
    >>> import lenet5c
    >>> from lenet5c.training import add_soft_targets, open_model
    >>> train, _ = lenet5c.datasets.mnist()
    >>> taught = add_soft_targets(train.take(range(500)), [open_model()], temperature=2)
    >>> trainer = lenet5c.trainer("fast", data=taught, label_smoothing=0)
    >>> history = trainer.fit(progress=False)
    """
    check_teachers(dataset, teachers, temperature)
    _check_share(share)
    targets = _own_targets(dataset)
    taught = np.empty_like(targets)
    start = 0
    for images in blocks(dataset.images):
        rows = slice(start, start := start + len(images))
        said = [softmax(scale_logits(each.logits(images), temperature)) for each in teachers]
        taught[rows] = share * np.mean(said, axis=0) + (1 - share) * targets[rows]
    return replace(dataset, targets=taught)


def check_teachers(dataset: Dataset, teachers: Sequence[TrainedModel], temperature: float) -> None:
    """Check the models and the temperature of `add_soft_targets`."""
    if not teachers:
        raise ValueError("teachers must contain at least one model, got none")
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature must be a number greater than 0, got {temperature!r}")
    for teacher in teachers:
        if teacher.class_names != dataset.class_names:
            raise RunError(
                f"teachers must have the classes {dataset.class_names}, got one with "
                f"{teacher.class_names}; train it on this data"
            )


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"share must be greater than 0 and at most 1, got {share!r}")


def _own_targets(dataset: Dataset) -> NDArray[np.float32]:
    """Return the targets of images without teachers."""
    if dataset.targets is not None:
        return dataset.targets
    return np.eye(dataset.num_classes, dtype=np.float32)[dataset.labels]


class DistillationTargets(Targets):
    """Training targets predicted by an ensemble for the augmented images of each step.

    The teachers see the same augmented images as the student [1]_, which are classified before the
    first step of each epoch. If the augmentation repeats, targets are cached: 4 bytes for each
    image, class and draw. Assign it to `Trainer.targets`.

    Parameters
    ----------
    dataset : lenet5c.datasets.Dataset
        Images of the size of the net's input, such as `Trainer.train_set`.
    loss : CrossEntropyLoss or MSELoss
    batch_size : int
    teachers : sequence of TrainedModel
        At least one model, with the classes of the data set in the same order, and its image size.
    temperature : float
        See `add_soft_targets`.
    draws : int
        Number of epochs after which the augmentation repeats, 0 for never.
    share : float
        See `add_soft_targets`.
    fit : {'pad', 'resize'}
        Method by which images were fitted to their size, see `Preparation`. If teachers need
        another size, padded images are padded further or cropped after the augmentation.

    Raises
    ------
    ValueError
        If there are no models, the temperature is out of range, the loss does not support soft
        targets, or a model needs images of another size.
    RunError
        If a model has other classes.

    References
    ----------
    .. [1] L. Beyer et al., "Knowledge distillation: A good teacher is patient and consistent",
       CVPR 2022.
    """

    def __init__(
        self,
        dataset: Dataset,
        loss: Any,
        batch_size: int,
        teachers: Sequence[TrainedModel],
        temperature: float = 1.0,
        draws: int = 0,
        share: float = 1.0,
        fit: str = "pad",
    ) -> None:
        check_teachers(dataset, teachers, temperature)
        _check_share(share)
        size = dataset.images.shape[1:]
        for teacher in teachers:
            takes, padded = teacher.input_shape, fit == teacher.preparation.fit == "pad"
            if takes[0] != size[0] or (takes != size and not padded):
                raise ValueError(
                    f"teachers must have the input size of the student, {size}, got one with "
                    f"{takes}"
                )
        self.own = _own_targets(dataset)
        super().__init__(replace(dataset, targets=self.own), loss, batch_size)
        self.images = dataset.images
        self.teachers, self.temperature, self.draws = tuple(teachers), temperature, draws
        self.share = share
        self.drawn: dict[tuple[int, int] | None, NDArray[np.float32]] = {}

    def for_steps(
        self, index: NDArray[np.int64], distortion: EpochDistortion | None
    ) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """Return targets and weights of some images in an epoch.

        Raises
        ------
        RunError
            If an output of a teacher is not finite.
        """
        drawn = None if distortion is None else (distortion.seed, distortion.epoch)
        if drawn not in self.drawn:
            if not self.draws:
                self.drawn.clear()
            self.drawn[drawn] = self._ask(distortion)
        self.targets = self.drawn[drawn]
        return self[index]

    def digest(self) -> str:
        """Return a digest of the teachers and the settings of the targets."""
        parts: list[Any] = [f"{self.temperature} {self.share} {self.draws}"]
        for teacher in self.teachers:
            state = teacher.model.state_dict()
            parts += [f"{teacher.preparation.to_dict()} {list(state)}", *state.values()]
        return digest(*parts)

    def _ask(self, distortion: EpochDistortion | None) -> NDArray[np.float32]:
        """Return the predictions of the teachers for all images, (N, classes)."""
        taught = np.zeros((len(self.images), self.classes), np.float32)
        for start in range(0, len(taught), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(taught)))
            for teacher in self.teachers:
                outputs = teacher.model.outputs(self._samples(teacher, rows, distortion))
                check_outputs(outputs)
                logits = teacher.model.logits(outputs)
                taught[rows] += softmax(scale_logits(logits, self.temperature))
        taught *= np.float32(self.share / len(self.teachers))
        if self.share < 1:
            taught += np.float32(1 - self.share) * self.own
        return taught

    def _samples(
        self, teacher: TrainedModel, rows: NDArray[np.int64], distortion: EpochDistortion | None
    ) -> Samples:
        """Return some of the images prepared for a teacher, augmented like the student's."""
        preparation, size = teacher.preparation, self.images.shape[2:]
        if preparation.size == size:
            return preparation.samples(self.images, rows, distortion)
        pixels = Preparation(size, std=1 / 255).samples(self.images, rows, distortion).values()
        values = _center(pixels, preparation.size) * preparation.scale
        return Samples(values + preparation.offset(values.shape[1]))


def _center(images: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Pad images (N, C, h, w) with zeros or crop them to another size, centered.

    An odd row or column is padded at the end, as in `Preparation`; cropping reverses this.
    """
    for axis, after in zip((2, 3), size, strict=True):
        before = images.shape[axis]
        less = abs(after - before) // 2
        if after < before:
            images = np.take(images, np.arange(less, less + after), axis)
        elif after > before:
            pads = [(0, 0)] * 4
            pads[axis] = (less, after - before - less)
            images = np.pad(images, pads)
    return images
