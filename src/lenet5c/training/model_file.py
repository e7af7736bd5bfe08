"""Files of trained models with everything needed to use them."""

import os
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c import _files
from lenet5c._text import command_line
from lenet5c.datasets import Preparation
from lenet5c.datasets.conversion import to_pixels
from lenet5c.datasets.dataset import READINGS
from lenet5c.datasets.framing import MNIST, Framing
from lenet5c.datasets.mapped import Images, blocks, take
from lenet5c.datasets.preparation import MAX_SIDE
from lenet5c.errors import RunError
from lenet5c.nn import Sequential, build, describe, softmax
from lenet5c.nn.ensemble import describe_kind
from lenet5c.nn.layer import Rng
from lenet5c.nn.limits import limit_values
from lenet5c.nn.work import check_work
from lenet5c.training.notebook import show_model
from lenet5c.training.parallel import ALONE, Ranks
from lenet5c.training.summary import MODEL_NAME, read_summary
from lenet5c.training.temperature import check_temperature

MEAN_IMAGE = "preparation.mean_image"
MAX_NAME = 255  # maximum characters of a class name
BEST, SIGNS, STRINGS = "best", "signs", "strings"
BEST_FOLDER = Path(__file__).parent / "pretrained_data"
#: Models included in the package, by name.
SHIPPED = {
    BEST: BEST_FOLDER / MODEL_NAME,
    SIGNS: BEST_FOLDER / "signs.safetensors",
    STRINGS: BEST_FOLDER / "strings.safetensors",
}


@dataclass(eq=False)
class TrainedModel:
    """A model with the preparation of its input and its class names.

    Calling it with images returns `probabilities`. All methods accept images (N, C, H, W), or (N,
    H, W) if gray; a single image, (H, W) or (C, H, W), is a batch of one. Pixels are uint8, bool,
    or float from 0 (black) to 1 (white).

    Attributes
    ----------
    model : Sequential
    preparation : Preparation
    class_names : tuple of str
    image_shape : tuple of int
        (C, H, W) of the training images before preparation, to which pictures are resized. The
        default is 28 by 28 pixels, or less if the net's input is smaller.
    reading : {'ink', 'whole'}
        Conversion of pictures to such images, see `lenet5c.datasets.Source`.
    framing : Framing or None
        Position, size and colors of the digits in the training images, to which ink is converted;
        by default those of MNIST. None if the training images were not digits on a plain
        background.
    white : dict of str to float
        Gray level of white in pictures of more than eight bits (see `read_picture`) or in arrays of
        other types than bytes, and of 'black' if it is not 0.
    temperature : float
        Divisor of the logits in the softmax, see `fit_temperature`; 1 if none was fitted. It has no
        effect on predicted labels.
    path : Path or None
        The file from which it was read.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.training import open_model
    >>> trained, (_, test) = open_model(), mnist()
    >>> trained.predict(test.images[:3])
    array([7, 2, 1])
    >>> trained(test.images[:3]).shape
    (3, 10)
    """

    model: Sequential
    preparation: Preparation
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] = None  # type: ignore[assignment]  # set below
    reading: str = "ink"
    framing: Framing | None = MNIST
    white: dict[str, float] = field(default_factory=dict)
    temperature: float = 1.0
    path: Path | None = None

    def __post_init__(self) -> None:
        """Check the temperature and set the default image shape."""
        self.temperature = check_temperature(self.temperature)
        if self.image_shape is None:
            pad = self.preparation.fit == "pad"
            height, width = (min(28, side) if pad else 28 for side in self.preparation.size)
            channels = (self.model.input_shape or (1,))[0]
            self.image_shape = (channels, height, width)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of a prepared image, the net's input."""
        return (self.image_shape[0], *self.preparation.size)

    @property
    def inverted(self) -> bool:
        """True if its images are light ink on dark, which is drawn as dark on light."""
        return self.reading == "ink" and not (self.framing and self.framing.dark)

    def __repr__(self) -> str:
        model, shape = self.model, " x ".join(map(str, self.image_shape))
        return (
            f"<TrainedModel {describe_kind(model)}: {model.num_params:,} parameters, images of "
            f"{shape}, {len(self.class_names)} classes>"
        )

    _repr_html_ = show_model

    def logits(self, images: ArrayLike) -> NDArray[np.float32]:
        """Return logits (N, classes); penalties are negated.

        Raises
        ------
        TypeError, ValueError
            If `images` are invalid; the message has the expected shape.
        RunError
            If an output is not finite.
        """
        outputs = compute_outputs(self.model, self.preparation, self.as_images(images))
        check_outputs(outputs)
        return self.model.logits(outputs)

    def probabilities(self, images: ArrayLike) -> NDArray[np.float32]:
        """Return probabilities (N, classes) at the `temperature`; errors are those of `logits`."""
        return self.softmax(self.logits(images))

    __call__ = probabilities

    def softmax(self, logits: NDArray[Any]) -> NDArray[Any]:
        """Return the probabilities of logits (N, classes) or (classes,), at the `temperature`."""
        return softmax(scale_logits(logits, self.temperature))

    def predict(self, images: ArrayLike) -> NDArray[np.int64]:
        """Return the predicted label of each image, an index of `class_names`, (N,).

        Errors are those of `logits`.
        """
        return self.logits(images).argmax(axis=1)

    def as_images(self, images: Any) -> NDArray[np.uint8]:
        """Return images as uint8 (N, C, H, W), or raise an error with the expected shape."""
        array = to_pixels(images)
        channels, height, width = self.image_shape
        shape = array.shape
        if len(shape) == 3 and channels == 1:
            array = array[:, None]
        elif len(shape) == 3 or (len(shape) == 2 and channels == 1):
            array = array[None] if len(shape) == 3 else array[None, None]
        fits = array.ndim == 4 and array.shape[1] == channels and 0 not in array.shape[2:]
        most = self.preparation.size
        small = all(side <= end for side, end in zip(array.shape[2:], most, strict=False))
        if fits and (small or self.preparation.fit != "pad"):
            return array
        remedy = ""
        if fits:
            remedy = f"; use lenet5c.datasets.resize(images, {(height, width)})"
        elif len(shape) == 4 and shape[3] == channels != shape[1]:
            remedy = "; put the channels first: images.transpose(0, 3, 1, 2)"
        raise ValueError(
            "images must have the shape of the training images of this "
            f"{type(self.model).__name__}, (N, {channels}, {height}, {width}), got "
            f"{shape}{remedy}"
        )


def scale_logits(logits: NDArray[Any], temperature: float) -> NDArray[Any]:
    """Return logits divided by a temperature, with the same dtype; unchanged for 1."""
    return logits if temperature == 1 else logits / logits.dtype.type(temperature)


def check_outputs(outputs: NDArray[np.float32]) -> None:
    """Raise a RunError unless outputs (N, classes) are finite."""
    if broken := int((~np.isfinite(outputs)).any(axis=1).sum()):
        raise RunError(
            f"outputs of the model must be finite, got NaN or infinity for {broken} of "
            f"{len(outputs)} images; its weights are damaged or its training diverged: "
            "use another model"
        )


def compute_outputs(
    model: Sequential, preparation: Preparation, images: Images, ranks: Ranks = ALONE
) -> NDArray[np.float32]:
    """Return the outputs (N, classes) of a model for unprepared images.

    If the model is fully compiled, outputs do not depend on each other and are divided among the
    ranks.
    """
    whole = ranks.size == 1 or model.whole_chain() is None
    own = images if whole else take(images, ranks.share(len(images)))
    parts = [model.outputs(preparation.samples(block)) for block in blocks(own)]
    return ranks.join(parts[0] if len(parts) == 1 else np.concatenate(parts), len(images))


def open_model(name: str | os.PathLike[str] | None = None) -> TrainedModel:
    """Open a trained model.

    Parameters
    ----------
    name : str or path-like, optional
        A model file, or the folder of a finished run, whose summary must match the model.
        ``'best'``, the default, is the model for MNIST's digits included in the package (use
        `./best` for a file or folder of that name); it was trained by ``lenet5c train --recipe best
        --seed 0 --temperature 1.132`` and has a test accuracy of 99.65 %. ``'signs'`` is the
        included model for digits, arithmetic signs and other ink, trained by ``lenet5c train
        --recipe signs --data signs --seed 0``.

    Returns
    -------
    TrainedModel

    Raises
    ------
    RunError
        If there is no such model, or it cannot be used.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.training import open_model
    >>> _, test = mnist()
    >>> open_model().predict(test.images[:3]), test.labels[:3]
    (array([7, 2, 1]), array([7, 2, 1], dtype=int32))
    >>> open_model("runs/none")
    Traceback (most recent call last):
    lenet5c.errors.RunError: model must be a model file, the folder of a finished run, 'best' or \
'signs', got runs/none, which does not exist
    """
    if name is None or name in SHIPPED:
        try:
            return _read(SHIPPED[BEST if name is None else str(name)])
        except (RunError, FileNotFoundError) as error:
            raise RunError(
                f"{error}; this model is part of the package, reinstall it: python -m pip install "
                "--force-reinstall --no-deps lenet5c"
            ) from None
    path = folder = Path(name)
    wanted = "model must be a model file, the folder of a finished run, 'best' or 'signs', got"
    if path.is_dir():
        path /= MODEL_NAME
        if not path.is_file():
            raise RunError(
                f"{wanted} {name}, a folder without {MODEL_NAME}{_suggest_model(folder)}"
            )
    try:
        trained = _read(path)
    except FileNotFoundError:
        raise RunError(f"{wanted} {name}, which does not exist") from None
    if path is not folder:
        read_summary(folder)
    return trained


def _suggest_model(folder: Path) -> str:
    """Return a remedy for a folder without a model, '' if none is known."""
    if (folder / "config.json").is_file():
        return f"; finish its run: {command_line('train', '--resume', '--out', folder)}"
    with suppress(OSError):
        if any((each / MODEL_NAME).is_file() for each in folder.iterdir()):
            return "; pass one of the runs in it, or combine them into one model:  " + command_line(
                "ensemble", folder
            )
    return ""


def save_model(path: str | os.PathLike[str], trained: TrainedModel) -> str:
    """Write a `TrainedModel` for `open_model`; return its digest.

    Any `Sequential` of layers of the package or of registered custom layers (`lenet5c.nn.register`)
    can be saved. The format is safetensors, with everything except the weights as JSON in the
    metadata, including the description of the net (`lenet5c.nn.describe`). Equal models produce
    equal bytes.

    Raises
    ------
    ValueError
        If the parts are inconsistent (see `check_parts`), or a layer cannot be saved.
    OSError
        If the file cannot be written.
    """
    description = describe_net(trained.model)
    check_parts(trained)
    tensors = trained.model.state_dict()
    if trained.preparation.mean_image is not None:
        tensors[MEAN_IMAGE] = trained.preparation.mean_image
    metadata = {
        "model": description,
        "preparation": trained.preparation.to_dict(),
        "class_names": list(trained.class_names),
        "image_shape": list(trained.image_shape),
        "reading": trained.reading,
    }
    if trained.framing != MNIST:
        metadata["framing"] = trained.framing and trained.framing.to_dict()
    if trained.white:
        metadata["white"] = trained.white
    if trained.temperature != 1:
        metadata["temperature"] = trained.temperature
    return _files.write_tensors(path, "model", tensors, metadata)


def describe_net(model: Sequential) -> dict[str, Any]:
    """Return the description of a net after checking that it reproduces the same tensors.

    Raises
    ------
    ValueError
        If a layer has no description, or its settings do not reproduce it.
    """
    description = describe(model)
    state = model.state_dict()
    with limit_values(sum(array.size for array in state.values())):
        counterpart = build_net(description)
    own, others = (
        {name: array.shape for name, array in each.items()}
        for each in (state, counterpart.state_dict())
    )
    for name in own | others:
        if own.get(name) != others.get(name):
            raise ValueError(
                f"settings must reproduce the layer, got {name} of {others.get(name)} instead of "
                f"{own.get(name)}; its settings() must return all constructor arguments"
            )
    return description


def build_net(description: Any, rng: Rng = None) -> Sequential:
    """Build the net of an untrusted description, see `lenet5c.nn.build`."""
    model = build(description, rng)
    if not isinstance(model, Sequential):
        raise ValueError(f"net must be a Sequential, got {type(model).__name__}")
    return model


def _read(path: Path) -> TrainedModel:
    tensors, metadata = _files.read_tensors(path, "model")
    try:
        preparation = Preparation.from_dict(metadata["preparation"], tensors.pop(MEAN_IMAGE, None))
        if any(array.dtype not in (np.float32, np.int64) for array in tensors.values()):
            raise ValueError("its weights must be float32")
        # Layers may not use more memory than the file has.
        with limit_values(sum(array.size for array in tensors.values())):
            model = build_net(metadata["model"])
        model.load_state_dict(tensors)
        if any(array.dtype != tensors[name].dtype for name, array in model.state_dict().items()):
            raise ValueError("its weights must be float32")
        framing = metadata.get("framing", MNIST.to_dict())
        trained = TrainedModel(
            model,
            preparation,
            tuple(metadata["class_names"]),
            tuple(metadata["image_shape"]),
            metadata["reading"],
            framing if framing is None else Framing.from_dict(framing),
            metadata.get("white", {}),
            metadata.get("temperature", 1.0),
            path,
        )
        check_parts(trained)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"missing {error}" if isinstance(error, KeyError) else error
        raise RunError(f"{path} must be a consistent model file: {reason}") from None
    return trained


def check_parts(trained: TrainedModel) -> None:
    """Raise a ValueError unless the parts of a `TrainedModel` are consistent.

    The image shape must be valid for the preparation, not larger than the net's input if it pads;
    the net must have one output for each class name. Class names must be unique, of 1 to 255
    characters, without control characters and line breaks. Colors of the framing must have one
    channel or those of the images. Levels of white may be 'int' and 'float', finite and greater
    than 'black', which is 0 by default.
    """
    model, preparation, image_shape = trained.model, trained.preparation, trained.image_shape
    takes, image = model.input_shape, preparation.mean_image
    if takes is not None and preparation.size != takes[1:]:
        raise ValueError(f"its preparation must give images of {takes[1:]}, got {preparation.size}")
    channels = "channels" if takes is None else takes[0]
    most = preparation.size if preparation.fit == "pad" else (MAX_SIDE, MAX_SIDE)
    if (
        len(image_shape) != 3
        or not all(type(n) is int for n in image_shape)
        or not 1 <= image_shape[0] == (image_shape[0] if takes is None else channels)
        or not all(1 <= n <= end for n, end in zip(image_shape[1:], most, strict=True))
    ):
        raise ValueError(
            f"its image_shape must be ({channels}, height, width), at most {most[0]} by {most[1]}, "
            f"got {tuple(image_shape)!r}"
        )
    if image is not None and len(image) != image_shape[0]:
        raise ValueError(f"its mean image must have {image_shape[0]} channels, got {len(image)}")
    outputs = check_work(model, trained.input_shape)
    if len(outputs) != 1:
        raise ValueError(
            f"its net must output one row of class scores, got shape {outputs}; "
            "end it with Flatten and Linear"
        )
    check_class_names(trained.class_names, outputs[0])
    check_temperature(trained.temperature)
    reading, framing, white = trained.reading, trained.framing, trained.white
    if reading not in READINGS:
        raise ValueError(f"its reading must be one of {READINGS}, got {reading!r}")
    if framing is not None and len(framing.paper) not in (1, image_shape[0]):
        raise ValueError(
            f"its framing must have colors of {image_shape[0]} channels, got {len(framing.paper)}"
        )
    black = white.get("black", 0)
    if not white.keys() <= {"int", "float", "black"} or not all(
        type(level) in (int, float) and (name == "black" or black < level) and abs(level) < np.inf
        for name, level in white.items()
    ):
        raise ValueError(
            f"its white must have numbers greater than black for int and float, got {white!r}"
        )


def check_class_names(names: Sequence[str], count: int) -> None:
    """Raise a ValueError unless these are valid names for `count` classes, see `check_parts`."""
    if len(names) != count or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"its class names must be {count} strings, one for each output, got {len(names)}"
        )
    for name in names:
        # Some scripts need joining characters that are not printable by str.isprintable().
        hidden = any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name)
        if hidden or not name.strip() or len(name) > MAX_NAME:
            raise ValueError(
                f"its class names must have 1 to {MAX_NAME} printable characters, got "
                f"{name[:MAX_NAME]!r}"
            )
    if len(set(names)) != count:
        raise ValueError("its class names must be unique, got a duplicate")
