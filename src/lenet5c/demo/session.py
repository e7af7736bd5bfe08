"""What the page can ask for: the state of one demo, shared by the threads that serve it."""

import threading
from pathlib import Path

import numpy as np

from lenet5c.demo.answer import Reader
from lenet5c.demo.drawing import checked_strokes, render
from lenet5c.demo.samples import SampleFolder
from lenet5c.demo.transform import RANGES, Transform
from lenet5c.demo.tuning import EPOCHS, Tuning
from lenet5c.errors import UserError
from lenet5c.recognition.judge import reject_answer
from lenet5c.training import save_model

MOST_EPOCHS = 20


class RequestError(UserError):
    """The page asked for what makes no sense, or not now."""


class Session:
    """A model, a folder of samples, and perhaps the data that the model was trained on.

    Answers use one `Reader` from beginning to end; fine-tuning works on a copy and puts a new `Reader` in its place.

    Parameters
    ----------
    trained : lenet5c.training.TrainedModel
    name : str
        What the page calls the model.
    samples_path : Path
    open_data : callable
        Returns a `Source`, or raises a UserError that says why there is none; asked when it is first needed.
    """

    def __init__(self, trained, name, samples_path, open_data):
        self.original = self.reader = Reader(trained)
        self.name = name
        self.samples = SampleFolder(
            Path(samples_path).absolute(), trained.class_names, trained.image_shape
        )
        self.open_data = open_data
        self.lock = threading.RLock()
        self.source = self.no_source = None
        self.tuning = None
        self.kept = None  # the file of the tuned model
        self.random = np.random.default_rng(0)
        self.wrong = {}

    def model(self, request):
        """All that the page needs to know once."""
        reader = self.reader
        trained = reader.trained
        return {
            "name": self.name,
            "parameters": trained.model.num_params,
            "classes": list(trained.class_names),
            "input": list(reader.trained.image_shape[:1]) + list(trained.preparation.size),
            "image": list(trained.image_shape),
            "reading": trained.reading,
            "stages": [
                {
                    "name": stage.name,
                    "kind": stage.kind,
                    "shape": list(stage.shape),
                    "shown": list(stage.shown),
                }
                for stage in reader.stages
            ],
            "ranges": RANGES,
            "tests": self.tests(),
            **self.state({}),
        }

    def tests(self):
        """How many test digits there are, or why there are none."""
        try:
            return {"count": len(self.data().test)}
        except UserError as error:
            return {"count": 0, "why": str(error)}

    def state(self, request):
        """What changes: samples, fine-tuning, which model answers."""
        tuning = self.tuning
        return {
            "samples": self.samples.counts(),
            "folder": str(self.samples.path),
            "tuning": {"state": "none"} if tuning is None else tuning.status,
            "tuned": self.reader is not self.original,
            "kept": None if self.kept is None else str(self.kept),
        }

    def answer(self, request):
        """(facts, bytes) of the answer to a drawing or a test digit; no bytes if there is nothing to see."""
        reader, transform = self.reader, Transform.checked(request.get("transform", {}))
        if request.get("test") is not None:
            picture, ink = reader.rewritten(self.test_image(request["test"]), transform.width), None
        else:
            ink = render(checked_strokes(request.get("strokes")), transform.width)
            picture = reader.picture(ink, transform.width)
        if picture is None:
            return {"blank": True}, b""
        answer = reader.answer(picture, transform)
        doubt = (None if ink is None else reader.doubt(ink)) or reject_answer(answer.probabilities)
        return {"best": int(answer.probabilities.argmax()), "doubt": doubt}, answer.packed()

    def test_image(self, number):
        images = self.data().test.images
        if type(number) is not int or not 0 <= number < len(images):
            raise RequestError(f"test should be an integer from 0 to {len(images) - 1}")
        return images[number]

    def test_digit(self, request):
        """The number and the label of a test image, drawn at random; of one that the model gets wrong, if asked."""
        test, reader = self.data().test, self.reader
        with self.lock:
            if request.get("wrong"):
                choice = self.mistakes(reader, test)
                if len(choice) == 0:
                    raise RequestError(f"the model reads all {len(test):,} test images right")
            else:
                choice = np.arange(len(test))
            number = int(self.random.choice(choice))
        return {"test": number, "label": int(test.labels[number]), "choice": len(choice)}

    def mistakes(self, reader, test):
        """The test images that the model gets wrong; found once for each model."""
        if reader not in self.wrong:
            answers = reader.trained.logits(test.images).argmax(axis=1)
            self.wrong = {reader: np.flatnonzero(answers != test.labels)}
        return self.wrong[reader]

    def save_sample(self, request):
        """Save a drawing as a sample of its true class."""
        label, classes = request.get("label"), self.samples.class_names
        if type(label) is not int or not 0 <= label < len(classes):
            raise RequestError(f"label should be an integer from 0 to {len(classes) - 1}")
        transform = Transform.checked(request.get("transform", {}))
        picture = self.reader.picture(
            render(checked_strokes(request.get("strokes")), transform.width), transform.width
        )
        if picture is None:
            raise RequestError("there is nothing to save: draw a digit first")
        path = self.samples.save(picture, label)
        return {"saved": str(path.relative_to(self.samples.path)), **self.state({})}

    def delete_sample(self, request):
        """Delete the newest sample."""
        path = self.samples.delete_last()
        return {"deleted": str(path.relative_to(self.samples.path)), **self.state({})}

    def tune(self, request):
        """Begin to fine-tune the original model on all samples."""
        epochs = request.get("epochs", EPOCHS)
        if type(epochs) is not int or not 1 <= epochs <= MOST_EPOCHS:
            raise RequestError(f"epochs should be an integer from 1 to {MOST_EPOCHS}")
        with self.lock:
            if self.tuning is not None and self.tuning.status["state"] == "running":
                raise RequestError("a fine-tuning is under way")
            samples, unusable = self.samples.read()
            if samples is None:
                raise RequestError(
                    "there are no samples to learn from: draw a digit and save it under its true class"
                )
            source = self.data()
            self.tuning = Tuning(self.original.trained, samples, source, self.use, epochs)
            self.tuning.put(unusable=unusable[:5])
            self.tuning.start()
        return self.state({})

    def use(self, tuned):
        """Answer with this model from now on."""
        reader = Reader(tuned)
        with self.lock:
            self.reader, self.kept = reader, None

    def stop(self, request):
        """Stop a fine-tuning; the model stays as it is."""
        if self.tuning is not None:
            self.tuning.stopped.set()
        return self.state({})

    def revert(self, request):
        """Go back to the original model."""
        with self.lock:
            self.reader, self.kept = self.original, None
            if self.tuning is not None and self.tuning.status["state"] == "done":
                self.tuning = None
        return self.state({})

    def keep(self, request):
        """Write the tuned model beside the folder of samples, as a new file."""
        with self.lock:
            if self.reader is self.original:
                raise RequestError("there is no fine-tuned model to keep")
            if self.kept is None:
                folder = self.samples.path
                try:
                    folder.parent.mkdir(parents=True, exist_ok=True)
                    path = new_file(folder.parent, f"{folder.name}-model-", ".safetensors")
                    save_model(path, self.reader.trained)
                except OSError as error:
                    raise RequestError(f"{folder.parent}: {error.strerror or error}") from None
                self.kept = path
        return self.state({})

    def data(self):
        """The `Source` of test images and of what fine-tuning must not forget."""
        with self.lock:
            if self.source is None and self.no_source is None:
                try:
                    self.source = fitting(self.open_data(), self.original.trained)
                except UserError as error:
                    self.no_source = str(error)
                except (OSError, MemoryError) as error:
                    self.no_source = f"the data cannot be read: {error}"
            if self.source is None:
                raise RequestError(self.no_source)
            return self.source

    def close(self):
        """Stop what is under way; it does not outlive the demo."""
        if self.tuning is not None:
            self.tuning.stopped.set()
            self.tuning.join(5)


def fitting(source, trained):
    """The source itself, if it can be what the model was trained on."""
    test, remedy = (
        source.test,
        "start the demo with --data NAME_OR_DIR, the images it was trained on",
    )
    if tuple(test.class_names) != tuple(trained.class_names):
        raise RequestError(f"this model has other classes than {test.name or 'the data'}: {remedy}")
    if test.images.shape[1:] != tuple(trained.image_shape):
        shape = " x ".join(map(str, trained.image_shape))
        raise RequestError(
            f"this model reads images of {shape}, other than {test.name or 'the data'} has: {remedy}"
        )
    return source


def new_file(folder, prefix, suffix):
    """The first path of this form, numbered from 1, that does not exist; made, so that nobody else takes it."""
    for number in range(1, 100_000):
        path = folder / f"{prefix}{number}{suffix}"
        try:
            path.open("xb").close()
        except FileExistsError:
            continue
        return path
    raise RequestError(f"{folder} holds too many models; move some of them away")
