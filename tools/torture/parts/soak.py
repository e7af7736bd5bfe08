"""Train, predict, evaluate, export and so on in one process for a long time.

Small tasks in random order, each with 1 to 3 threads. Each must give the same bits as the first
time, and after a warm-up (each task twice) the process must not use more descriptors, threads and
temporary files, and at most 64 MB more memory.
"""

import base64
import gc
import io
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import lenet5c
from lenet5c import export, recipes, recognition, training
from lenet5c._files import digest
from lenet5c.datasets import Distortion, Source, mnist
from lenet5c.demo.session import Session
from torture.campaign import Campaign
from torture.runs import snapshot

ALLOWED = 64 << 20  # bytes that the process may grow by after the warm-up
VARIANTS = 3


def run(campaign: Campaign) -> None:
    """Run tasks until the time is over."""
    before = tempfile.tempdir, lenet5c.get_num_threads()
    with campaign.folder() as folder:
        try:
            temporary = folder / "temporary"
            temporary.mkdir()
            tempfile.tempdir = str(temporary)
            soak(campaign, Pieces(folder), temporary)
        finally:
            tempfile.tempdir = before[0]
            lenet5c.set_num_threads(before[1])


def soak(campaign: Campaign, pieces: "Pieces", temporary: Path) -> None:
    """Run each task twice, then random ones, and measure after each."""
    every = [(work, variant) for work in pieces.all() for variant in range(VARIANTS)]
    first: dict[tuple[str, int], str] = {}
    warm = Usage.now()
    grown = 0
    for number, rng in campaign.tries():
        warming = number < 2 * len(every)
        work, variant = every[number % len(every) if warming else rng.integers(len(every))]
        name = work.__name__.replace("_", " ")
        try:
            if campaign.only is not None:
                first[name, variant] = work(variant)
            lenet5c.set_num_threads(int(rng.integers(1, 4)))
            got = work(variant)
        except Exception as error:
            campaign.fail(number, f"{name}, variant {variant}: {type(error).__name__} {error}")
            continue
        campaign.count(name)
        if first.setdefault((name, variant), got) != got:
            campaign.fail(number, f"{name}, variant {variant}: other bits than the first time")
        if left := [path.name for path in temporary.iterdir()]:
            campaign.fail(number, f"{name}: temporary files {left}")
        gc.collect()
        usage = Usage.now()
        if warming or campaign.only is not None:
            warm = Usage(*map(max, vars(warm).values(), vars(usage).values()))
            continue
        grown = max(grown, usage.memory - warm.memory)
        for problem in warm.exceeded(usage):
            campaign.fail(number, f"after {name}: {problem}")
            warm = Usage(*map(max, vars(warm).values(), vars(usage).values()))
    campaign.count("memory grown after the warm-up, MB", grown >> 20)
    campaign.count("memory after the warm-up, MB", warm.memory >> 20)


class Usage:
    """Memory in bytes, open descriptors and threads of this process; 0 if unknown."""

    def __init__(self, memory: int, descriptors: int, threads: int) -> None:
        self.memory, self.descriptors, self.threads = memory, descriptors, threads

    @classmethod
    def now(cls) -> "Usage":
        """Measure."""
        memory, descriptors, threads = 0, 0, threading.active_count()
        with suppress(OSError):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            memory = pages * os.sysconf("SC_PAGE_SIZE")
            descriptors = len(os.listdir("/proc/self/fd"))
            threads = len(os.listdir("/proc/self/task"))
        return cls(memory, descriptors, threads)

    def exceeded(self, now: "Usage") -> list[str]:
        """Return the excesses of another measurement beyond the limits."""
        found = []
        if now.memory > self.memory + ALLOWED:
            found.append(f"memory grew from {self.memory >> 20} to {now.memory >> 20} MB")
        for name in ("descriptors", "threads"):
            was, has = getattr(self, name), getattr(now, name)
            if has > was:
                found.append(f"{has} {name}, {was} after the warm-up")
        return found


class Pieces:
    """The tasks; each returns a digest of its results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        train, test = mnist()
        self.train, self.test = train.take(np.arange(600)), test.take(np.arange(200))
        self.source = Source(self.train, self.test)
        self.best = training.open_model()
        self.session = Session(self.best, "best", folder / "samples", lambda: self.source)

    def all(self) -> list[Callable[[int], str]]:
        """Return the tasks whose requirements are installed."""
        work = [self.train_some, self.run_and_resume, self.predict, self.evaluate, self.open_model]
        work += [self.export, self.distort, self.demo, self.command]
        if find_spec("sklearn"):
            work.append(self.fit_estimator)
        if find_spec("matplotlib"):
            work.append(self.draw)
        return work

    def train_some(self, variant: int) -> str:
        settings: dict = (
            {"pooling": "max", "distortion": "modern"},
            {"batch_norm": True, "dropout": 0.3, "average": 0.9, "validation": 50, "keep": "best"},
            {"name": "paper1998", "train_size": 100},
        )[variant]
        changes = {"name": "fast", "epochs": 1, "train_size": 300} | settings
        trainer = lenet5c.trainer(data=self.source, **changes)
        trainer.fit(progress=False)
        return digest(trainer.trained.probabilities(self.test.images))

    def run_and_resume(self, variant: int) -> str:
        with tempfile.TemporaryDirectory() as folder:
            changes = {
                "epochs": 2,
                "train_size": 200,
                "seed": variant,
                "folder": Path(folder) / "run",
            }
            config = recipes.RunConfig.named("fast", **changes)
            steps = iter(range(100))
            recipes.train(config, self.source, stop=lambda: next(steps) >= variant)
            done = recipes.train(config, self.source, resume=True)
            files = snapshot(Path(folder) / "run")
            return digest(files["model.safetensors"], str(done.accuracy))

    def predict(self, variant: int) -> str:
        picture = 255 - np.kron(self.test.images[variant, 0], np.ones((9, 9), np.uint8))
        one = recognition.predict(picture, self.best)
        sheet = np.hstack([picture, np.roll(picture, 3, 0), picture])
        many = recognition.predict(sheet, self.best, digits="many")
        return digest(repr((one.label, one.rejected, many.label)), repr(many))

    def evaluate(self, variant: int) -> str:
        result = training.evaluate(self.best, self.test.take(np.arange(50 + variant, 200)))
        return digest(result.probabilities, repr(result.loss), str(result))

    def open_model(self, variant: int) -> str:
        path = self.folder / f"model-{variant}.safetensors"
        training.save_model(path, training.open_model())
        model = training.open_model(path)
        path.unlink()
        return digest(model.probabilities(self.test.images[variant : variant + 33]))

    def export(self, variant: int) -> str:
        if variant == 0:
            return digest(export.to_c(self.best))
        if variant == 1 and find_spec("onnx"):
            return digest(export.to_onnx(self.best))
        return digest(export.to_torch(self.best))

    def distort(self, variant: int) -> str:
        distortion = Distortion.named(Distortion.NAMES[variant % len(Distortion.NAMES)])
        return digest(distortion(self.train.images, seed=variant, epoch=variant))

    def demo(self, variant: int) -> str:
        session = self.session
        image = self.test.images[variant]
        reading = session.read_picture(write_png(255 - image[0]), "one")
        session.save_sample({"image": base64.b64encode(image.tobytes()).decode(), "label": 1})
        session.start_tuning({"epochs": 1})
        if variant == 1:
            session.stop_tuning({})
        session.tuning.join()
        _, weights = session.weights({})
        if variant == 2:
            session.keep_model({})
            session.kept.unlink()
        session.revert_model({})
        session.delete_sample({})
        # A stopped fine-tuning may have been finished already.
        return digest(repr(reading), *([] if variant == 1 else [weights]))

    def command(self, variant: int) -> str:
        from lenet5c.__main__ import main

        words = (["recipes"], ["summary", "best"], ["evaluate", "nowhere"])[variant]
        output = io.StringIO()
        with redirect_stdout(output), redirect_stderr(output):
            code = main(words)
        return digest(repr(code), output.getvalue())

    def fit_estimator(self, variant: int) -> str:
        import pickle

        from lenet5c.sklearn import LeNet5Classifier

        images, labels = self.train.images[:200], self.train.labels[:200]
        estimator = LeNet5Classifier(epochs=1, random_state=variant)
        estimator.fit(images, labels) if variant else estimator.partial_fit(
            images, labels, range(10)
        )
        again = pickle.loads(pickle.dumps(estimator))
        return digest(again.predict_proba(self.test.images))

    def draw(self, variant: int) -> str:
        from lenet5c.report.pictures import activations, filters
        from lenet5c.training.plot_style import png

        if variant == 0:
            return digest(png(filters(self.best.model)))
        image = self.test.images[variant]
        return digest(png(activations(self.best, image, title="", label=1, inverted=True)))


def write_png(gray: np.ndarray) -> bytes:
    """Return a gray picture as a PNG file."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(gray).save(content, "PNG")
    return content.getvalue()
