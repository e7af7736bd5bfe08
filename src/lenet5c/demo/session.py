"""State of a demo, shared by threads, and the methods called by its page."""

import threading
from base64 import b64decode
from collections.abc import Callable
from itertools import count
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import reason
from lenet5c.datasets import Dataset, Source
from lenet5c.demo.samples import SampleFolder
from lenet5c.demo.tuning import EPOCHS, Tuning
from lenet5c.errors import UserError
from lenet5c.export.html_model import choose_examples, describe_page, pack_weights
from lenet5c.recognition.predictor import DIGITS, Reader
from lenet5c.recognition.reading import Prediction
from lenet5c.training import TrainedModel, evaluate, save_model

MAX_EPOCHS = 20
#: Kinds of pictures to read, with their labels on the page.
PICTURES = {"one": "one digit", "many": "several digits", "sum": "sums"}
Request = dict[str, Any]
Reply = tuple[dict[str, Any], bytes]  # JSON data, followed by bytes


class RequestError(UserError):
    """Raised for a request that is invalid or currently impossible."""


class Session:
    """A model, a folder of samples and, if available, the data that the model was trained on.

    The page computes its answers itself. Fine-tuning trains a copy of the model, which then
    replaces it. `open_data` is called when the data is first needed.
    """

    def __init__(
        self,
        trained: TrainedModel,
        name: str,
        samples_path: Path | str,
        open_data: Callable[[], Source],
    ) -> None:
        self.original = self.trained = trained
        self.number = 0  # of the active model; 0 for the original
        self.tuned = 0  # number of fine-tuned models
        self.name = name
        self.page = describe_page(trained, name)
        self.samples = SampleFolder(
            Path(samples_path).absolute(), trained.class_names, trained.image_shape
        )
        self.open_data = open_data
        self.lock = threading.RLock()
        self.source: Source | None = None
        self.no_source = ""
        self.tuning: Tuning | None = None
        self.kept: Path | None = None  # file of the fine-tuned model
        self.random = np.random.default_rng(0)
        self.mistakes: dict[TrainedModel, NDArray[np.int64]] = {}

    def start(self, request: Request) -> Reply:
        """Return the constant data of the page, except its embedded model.

        The bytes are those of some training images, whose labels are in the JSON data.
        """
        kinds = PICTURES
        if self.original.reading == "whole":
            kinds = {"one": "the whole picture"}
        facts = {"tests": self.tests(), "photos": kinds, "labels": [], **self.state({})}
        if self.source is None:
            return facts, b""
        examples = choose_examples(self.source.train)
        images = np.asarray(examples.images[np.arange(len(examples))])
        return facts | {"labels": examples.labels.tolist()}, images.tobytes()

    def tests(self) -> dict[str, Any]:
        """Return the number of test images, or the reason why there are none."""
        try:
            return {"count": len(self.data().test)}
        except UserError as error:
            return {"count": 0, "why": str(error)}

    def state(self, request: Request) -> dict[str, Any]:
        """Return the current state: samples, fine-tuning, and the active model."""
        return {
            "samples": self.samples.counts(),
            "folder": str(self.samples.path),
            "tuning": self.tuning.status if self.tuning else {"state": "none"},
            "tuned": self.trained is not self.original,
            "kept": str(self.kept) if self.kept else None,
            "model": self.number,
        }

    def weights(self, request: Request) -> Reply:
        """Return the weights of the active model in the format of the page."""
        return {}, pack_weights(self.trained)

    def test_image(self, request: Request) -> Reply:
        """Return a random test image and its label, optionally a misclassified one."""
        test, trained = self.data().test, self.trained
        with self.lock:
            chosen = np.arange(len(test))
            if request.get("wrong"):
                if trained not in self.mistakes:
                    self.mistakes = {trained: np.sort(evaluate(trained, test).worst())}
                chosen = self.mistakes[trained]
            if len(chosen) == 0:
                raise RequestError(f"the model classifies all {len(test):,} test images correctly")
            number = int(self.random.choice(chosen))
        facts = {"test": number, "label": int(test.labels[number]), "among": len(chosen)}
        return facts, np.asarray(test.images[np.array([number])]).tobytes()

    def read_picture(self, content: bytes, digits: str) -> dict[str, Any]:
        """Return the prediction for a picture file, with boxes in pixels."""
        if digits not in DIGITS:
            raise RequestError(f"digits must be one of {', '.join(DIGITS)}, got {digits!r:.40}")
        kind: Any = digits
        return describe_prediction(Reader(self.trained, digits=kind)(content))

    def save_sample(self, request: Request) -> dict[str, Any]:
        """Save an image as a sample of its true label."""
        label = parse_integer(request, "label", 0, len(self.samples.class_names) - 1)
        path = self.samples.save(parse_image(request, self.samples.image_shape), label)
        return {"saved": str(path.relative_to(self.samples.path)), **self.state({})}

    def delete_sample(self, request: Request) -> dict[str, Any]:
        """Delete the newest sample."""
        path = self.samples.delete_last()
        return {"deleted": str(path.relative_to(self.samples.path)), **self.state({})}

    def read_samples(self, request: Request) -> Reply:
        """Return the images of all samples, and their labels."""
        samples, _ = self.samples.read()
        if samples is None:
            return {"labels": []}, b""
        return {"labels": samples.labels.tolist()}, samples.images.tobytes()

    def start_tuning(self, request: Request) -> dict[str, Any]:
        """Start to fine-tune the original model on the samples."""
        epochs = parse_integer({"epochs": EPOCHS} | request, "epochs", 1, MAX_EPOCHS)
        with self.lock:
            if self.tuning is not None and self.tuning.status["state"] == "running":
                raise RequestError("fine-tuning is already running; stop it first")
            samples, unusable = self.samples.read()
            if samples is None:
                raise RequestError(
                    "there are no samples to train on; draw a digit and press its true label"
                )
            self.tuning = Tuning(self.original, samples, self.data(), self.use, epochs)
            self.tuning.put(unusable=unusable[:5])
            self.tuning.start()
        return self.state({})

    def use(self, tuned: TrainedModel) -> None:
        """Make this model the active one."""
        with self.lock:
            self.tuned += 1
            self.trained, self.number, self.kept = tuned, self.tuned, None

    def stop_tuning(self, request: Request) -> dict[str, Any]:
        """Stop fine-tuning without changing the active model."""
        if self.tuning is not None:
            self.tuning.stopped.set()
        return self.state({})

    def revert_model(self, request: Request) -> dict[str, Any]:
        """Go back to the original model."""
        with self.lock:
            self.trained, self.number, self.kept = self.original, 0, None
            if self.tuning is not None and self.tuning.status["state"] == "done":
                self.tuning = None
        return self.state({})

    def keep_model(self, request: Request) -> dict[str, Any]:
        """Write the fine-tuned model to a new file next to the folder of samples."""
        with self.lock:
            if self.trained is self.original:
                raise RequestError("there is no fine-tuned model to keep")
            if self.kept is None:
                folder, name = self.samples.path.parent, self.samples.path.name
                paths = (folder / f"{name}-model-{number}.safetensors" for number in count(1))
                path = next(path for path in paths if not path.exists())
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    save_model(path, self.trained)
                except OSError as error:
                    raise RequestError(reason(error)) from None
                self.kept = path
        return self.state({})

    def data(self) -> Source:
        """Return the `Source` of test images and of rehearsal images for fine-tuning."""
        with self.lock:
            if self.source is None and not self.no_source:
                try:
                    source = self.open_data()
                    check_data(source.test, self.original)
                    self.source = source
                except UserError as error:
                    self.no_source = str(error)
                except (OSError, MemoryError) as error:
                    self.no_source = f"the data cannot be read: {reason(error) or 'out of memory'}"
            if self.source is None:
                raise RequestError(self.no_source)
            return self.source

    def close(self) -> None:
        """Stop running work."""
        if self.tuning is not None:
            self.tuning.stopped.set()
            self.tuning.join(5)


def describe_prediction(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction for the page: lines with verdicts, and boxes of digits."""
    lines = list(prediction.sums) or [prediction]
    rows = [row for line in lines for row in line.digits]
    digits = [digit for row in rows for digit in row] or [prediction]
    return {
        "size": prediction.steps["picture"].shape[:2],
        "lines": [describe_line(line) for line in lines],
        "boxes": [{"label": digit.label, "box": digit.box} for digit in digits if digit.box],
    }


def describe_line(line: Prediction) -> dict[str, Any]:
    """Return the text and verdict of a line, and True if its sum is right."""
    text, verdict = line.text or line.label, ""
    if line.rejected:
        verdict = f"rejected: {line.rejected}"
    elif line.expression is None and line.label is not None:
        (_, best), *others = line.top()
        verdict = f"{best:.1%}, then " + ", ".join(f"{name} {p:.1%}" for name, p in others)
    elif line.value is not None and line.value != line.expression:
        verdict = "right" if line.correct else f"= {line.value}"
        verdict = f"wrong: the result is {line.value}" if line.correct is False else verdict
    if line.remark:
        verdict = f"{verdict} ({line.remark})".strip()
    return {"text": text, "verdict": verdict, "correct": line.correct}


def parse_image(request: Request, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return the image of a request, base64 of its pixels."""
    text = request.get("image")
    try:
        content = b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        content = b""
    if len(content) != prod(shape):
        raise RequestError(f"image must be base64 of {prod(shape):,} pixels, got {text!r:.40}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def parse_integer(request: Request, name: str, low: int, high: int) -> int:
    """Return an integer of a request if it is in this range."""
    value = request.get(name)
    if type(value) is not int or not low <= value <= high:
        raise RequestError(f"{name} must be an integer from {low} to {high}, got {value!r:.40}")
    return value


def check_data(test: Dataset, trained: TrainedModel) -> None:
    """Raise an error if data does not match the training data of the model."""
    expected: object
    what, expected, found = "class names", trained.class_names, test.class_names
    if found == expected:
        what, expected, found = "image shape", trained.image_shape, test.images.shape[1:]
    if found != expected:
        raise RequestError(
            f"{test.name or 'the data'} must have the {what} of the model, {expected!s:.60}, "
            f"got {found!s:.60}; start the demo with --data NAME_OR_PATH, "
            "the training data of the model"
        )
