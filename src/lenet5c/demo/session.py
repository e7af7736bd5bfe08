"""Methods that the page can call: the state of one demo, shared by the threads that serve it."""

import threading
from collections.abc import Callable
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import reason
from lenet5c.datasets import Dataset, Source
from lenet5c.demo.answer import Reader
from lenet5c.demo.drawing import parse_strokes, render
from lenet5c.demo.samples import SampleFolder
from lenet5c.demo.transform import RANGES, Transform
from lenet5c.demo.tuning import EPOCHS, Tuning
from lenet5c.errors import UserError
from lenet5c.recognition.judge import reject_answer
from lenet5c.training import TrainedModel, evaluate, save_model

MOST_EPOCHS = 20
Request = dict[str, Any]


class RequestError(UserError):
    """A request of the page that has no meaning, or not now."""


class Session:
    """A model, a folder of samples, and the data that the model was trained on, if they are here.

    Each answer uses one `Reader` from beginning to end; fine-tuning works on a copy of the model
    and puts a new `Reader` in its place. `open_data` is called when the data are first needed.
    """

    def __init__(
        self,
        trained: TrainedModel,
        name: str,
        samples_path: Path | str,
        open_data: Callable[[], Source],
    ) -> None:
        self.original = self.reader = Reader(trained)
        self.name = name
        self.samples = SampleFolder(
            Path(samples_path).absolute(), trained.class_names, trained.image_shape
        )
        self.open_data = open_data
        self.lock = threading.RLock()
        self.source: Source | None = None
        self.no_source = ""
        self.tuning: Tuning | None = None
        self.kept: Path | None = None  # the file of the tuned model
        self.random = np.random.default_rng(0)
        self.mistakes: dict[Reader, NDArray[np.int64]] = {}

    def model(self, request: Request) -> dict[str, Any]:
        """Return all that the page needs to know once."""
        trained, stages = self.reader.trained, self.reader.stages
        return {
            "name": self.name,
            "parameters": trained.model.num_params,
            "classes": trained.class_names,
            "input": (self.samples.image_shape[0], *trained.preparation.size),
            "image": self.samples.image_shape,
            "stages": [asdict(stage) for stage in stages],
            "ranges": RANGES,
            "tests": self.tests(),
            **self.state({}),
        }

    def tests(self) -> dict[str, Any]:
        """Return how many test digits there are, and why if there are none."""
        try:
            return {"count": len(self.data().test)}
        except UserError as error:
            return {"count": 0, "why": str(error)}

    def state(self, request: Request) -> dict[str, Any]:
        """Return what changes: samples, fine-tuning, which model answers."""
        return {
            "samples": self.samples.counts(),
            "folder": str(self.samples.path),
            "tuning": self.tuning.status if self.tuning else {"state": "none"},
            "tuned": self.reader is not self.original,
            "kept": str(self.kept) if self.kept else None,
        }

    def answer(self, request: Request) -> tuple[dict[str, Any], bytes]:
        """Return facts and bytes of the answer to a drawing or a test digit.

        There are no bytes if there is nothing to see.
        """
        reader, ink = self.reader, None
        if request.get("test") is None:
            picture, transform, ink = draw(reader, request)
        else:
            images, transform = self.data().test.images, Transform.parse(request)
            number = parse_integer(request, "test", 0, len(images) - 1)
            picture = reader.rewrite(images[number], transform.width)
        if picture is None:
            return {"blank": True}, b""
        answer = reader.answer(picture, transform)
        rejected = (None if ink is None else reader.reject(ink)) or reject_answer(
            answer.probabilities
        )
        return {"best": int(answer.probabilities.argmax()), "rejected": rejected}, answer.pack()

    def test_digit(self, request: Request) -> dict[str, Any]:
        """Return number and label of a random test image; of a misclassified one, if asked."""
        test, reader = self.data().test, self.reader
        with self.lock:
            chosen = np.arange(len(test))
            if request.get("wrong"):
                if reader not in self.mistakes:
                    self.mistakes = {reader: np.sort(evaluate(reader.trained, test).worst())}
                chosen = self.mistakes[reader]
            if len(chosen) == 0:
                raise RequestError(f"the model classifies all {len(test):,} test images correctly")
            number = int(self.random.choice(chosen))
        return {"test": number, "label": int(test.labels[number]), "among": len(chosen)}

    def save_sample(self, request: Request) -> dict[str, Any]:
        """Save a drawing as a sample of its true label."""
        label = parse_integer(request, "label", 0, len(self.samples.class_names) - 1)
        picture, _, _ = draw(self.reader, request)
        if picture is None:
            raise RequestError("there is nothing to save: draw a digit first")
        path = self.samples.save(picture, label)
        return {"saved": str(path.relative_to(self.samples.path)), **self.state({})}

    def delete_sample(self, request: Request) -> dict[str, Any]:
        """Delete the newest sample."""
        path = self.samples.delete_last()
        return {"deleted": str(path.relative_to(self.samples.path)), **self.state({})}

    def start_tuning(self, request: Request) -> dict[str, Any]:
        """Start to fine-tune the original model on the samples."""
        epochs = parse_integer({"epochs": EPOCHS} | request, "epochs", 1, MOST_EPOCHS)
        with self.lock:
            if self.tuning is not None and self.tuning.status["state"] == "running":
                raise RequestError("a fine-tuning is under way; stop it first")
            samples, unusable = self.samples.read()
            if samples is None:
                raise RequestError(
                    "there are no samples to learn from: draw a digit and save its true label"
                )
            self.tuning = Tuning(self.original.trained, samples, self.data(), self.use, epochs)
            self.tuning.put(unusable=unusable[:5])
            self.tuning.start()
        return self.state({})

    def use(self, tuned: TrainedModel) -> None:
        """Answer with this model from now on."""
        reader = Reader(tuned)
        with self.lock:
            self.reader, self.kept = reader, None

    def stop_tuning(self, request: Request) -> dict[str, Any]:
        """Stop a fine-tuning; the model stays as it is."""
        if self.tuning is not None:
            self.tuning.stopped.set()
        return self.state({})

    def revert_model(self, request: Request) -> dict[str, Any]:
        """Go back to the original model."""
        with self.lock:
            self.reader, self.kept = self.original, None
            if self.tuning is not None and self.tuning.status["state"] == "done":
                self.tuning = None
        return self.state({})

    def keep_model(self, request: Request) -> dict[str, Any]:
        """Write the tuned model beside the folder of samples, as a new file."""
        with self.lock:
            if self.reader is self.original:
                raise RequestError("there is no fine-tuned model to keep")
            if self.kept is None:
                folder, name = self.samples.path.parent, self.samples.path.name
                paths = (folder / f"{name}-model-{number}.safetensors" for number in count(1))
                path = next(path for path in paths if not path.exists())
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    save_model(path, self.reader.trained)
                except OSError as error:
                    raise RequestError(reason(error)) from None
                self.kept = path
        return self.state({})

    def data(self) -> Source:
        """Return the `Source` of test images and of what fine-tuning must not forget."""
        with self.lock:
            if self.source is None and not self.no_source:
                try:
                    source = self.open_data()
                    check_data(source.test, self.original.trained)
                    self.source = source
                except UserError as error:
                    self.no_source = str(error)
                except (OSError, MemoryError) as error:
                    self.no_source = f"the data cannot be read: {reason(error) or 'out of memory'}"
            if self.source is None:
                raise RequestError(self.no_source)
            return self.source

    def close(self) -> None:
        """Stop what is under way; it does not outlive the demo."""
        if self.tuning is not None:
            self.tuning.stopped.set()
            self.tuning.join(5)


def draw(
    reader: Reader, request: Request
) -> tuple[NDArray[np.uint8] | None, Transform, NDArray[np.uint8]]:
    """Return the image of a request's strokes, its transform, and the ink."""
    transform = Transform.parse(request)
    ink = render(parse_strokes(request.get("strokes")), transform.width)
    return reader.prepare(ink, transform.width), transform, ink


def parse_integer(request: Request, name: str, low: int, high: int) -> int:
    """Return an integer of a request if it is in this range."""
    value = request.get(name)
    if type(value) is not int or not low <= value <= high:
        raise RequestError(f"{name} must be an integer from {low} to {high}, got {value!r:.40}")
    return value


def check_data(test: Dataset, trained: TrainedModel) -> None:
    """Refuse data that cannot be what the model was trained on."""
    expected: object
    what, expected, found = "class names", trained.class_names, test.class_names
    if found == expected:
        what, expected, found = "image shape", trained.image_shape, test.images.shape[1:]
    if found != expected:
        raise RequestError(
            f"{test.name or 'the data'} must have the model's {what}, {expected!s:.60}, "
            f"got {found!s:.60}; start the demo with --data NAME_OR_PATH, "
            "the images it was trained on"
        )
