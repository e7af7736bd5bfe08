"""Recognition by models trained on images with other framings."""

import io
from dataclasses import replace

import numpy as np
import pytest

from lenet5c.datasets import Dataset, Preparation, Source, mnist, resize
from lenet5c.datasets.framing import MNIST
from lenet5c.nn import LeNet5
from lenet5c.recipes import RECIPES
from lenet5c.recipes.build import build
from lenet5c.recognition import Reader, predict, reading
from lenet5c.recognition.signs import open_signs
from lenet5c.training import TrainedModel, open_model, save_model

Image = pytest.importorskip("PIL.Image")

from drawn.hard_pictures import hard_picture  # noqa: E402

TRAIN, TEST = (part.take(np.arange(count)) for part, count in zip(mnist(), (4000, 60), strict=True))


def invert(images):
    return 255 - images


def fill(images):
    """Return digits that fill 16 by 16 pixels, black on white."""
    return 255 - resize(images[:, :, 4:24, 4:24], (16, 16))


def stand_small(images):
    return np.pad(images, ((0, 0), (0, 0), (10, 10), (10, 10)))


def color(images):
    share = images / 255
    planes = [p + (i - p) * share for p, i in ((250, 30), (230, 60), (150, 140))]
    return (np.concatenate(planes, axis=1) + 0.5).astype(np.uint8)


def save(image, factor):
    """Return an image as a PNG file, enlarged."""
    picture = Image.fromarray(image.transpose(1, 2, 0) if len(image) == 3 else image[0])
    size = tuple(factor * side for side in picture.size)
    filters = {1: None, 3: Image.Resampling.NEAREST, 10: Image.Resampling.BICUBIC}
    file = io.BytesIO()
    picture.resize(size, filters[factor]).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module", params=[invert, fill, stand_small, color], ids=lambda f: f.__name__)
def case(request):
    make = request.param
    parts = [Dataset(make(part.images), part.labels, 10) for part in (TRAIN, TEST)]
    recipe = replace(RECIPES["default"], epochs=3)
    trainer, trained = build(recipe, Source(*parts), 0)
    trainer.run()
    return trained, parts[1]


def test_the_images_themselves_are_read_as_they_are(case):
    trained, test = case
    reader, expected = Reader(trained), trained.predict(test.images)
    for factor in (1, 3, 10):
        readings = [reader(save(image, factor)) for image in test.images]
        labels = [reading.top(1)[0][0] if reading.probabilities else "" for reading in readings]
        assert np.mean([a == str(b) for a, b in zip(labels, expected, strict=True)]) >= 0.96
        assert sum(reading.label is None for reading in readings) <= 4  # of a net that is not sure


def test_photographs_are_brought_to_their_form(case):
    trained, _ = case
    reader, right = Reader(trained), 0
    for i in range(12):
        rng = np.random.default_rng([1, 1, i])
        j = int(rng.integers(len(TEST)))
        content, *_ = hard_picture(TEST.images[j, 0], rng)
        right += reader(content).label == str(TEST.labels[j])
    assert right >= 9  # of a net of three epochs of few images


def test_several_digits_are_brought_to_their_form(case):
    trained, _ = case
    line = np.concatenate([np.pad(image, 8) for image in TEST.images[:5, 0]], axis=1)
    text = predict(255 - np.kron(line, np.ones((2, 2), np.uint8)), trained, digits="many").text
    assert sum(a == str(b) for a, b in zip(text.replace(" ", ""), TEST.labels, strict=False)) >= 4


def test_the_form_is_in_the_model_file(case, tmp_path):
    trained, test = case
    save_model(tmp_path / "model.safetensors", trained)
    again = open_model(tmp_path / "model.safetensors")
    assert again.framing == trained.framing != MNIST
    content = save(test.images[0], 3)
    assert predict(content, again).probabilities == predict(content, trained).probabilities


def test_digits_like_mnist_have_no_form_of_their_own(tmp_path):
    _, trained = build(RECIPES["default"], TRAIN, 0)
    assert trained.framing is MNIST
    save_model(tmp_path / "model.safetensors", trained)
    assert b"framing" not in (tmp_path / "model.safetensors").read_bytes()


def test_signs_are_told_in_the_form_of_mnist_whatever_size_the_model_takes(monkeypatch):
    trained = TrainedModel(
        LeNet5(rng=0), Preparation.named("default"), tuple("0123456789"), (1, 32, 32)
    )
    assert trained.framing is MNIST
    picture = 255 - np.kron(np.pad(TEST.images[0, 0], 8), np.ones((3, 3), np.uint8))
    answers, ask = [], reading._ask

    def record(model, images):
        answers.append(ask(model, images))
        return answers[-1]

    monkeypatch.setattr(reading, "_ask", record)
    predict(picture)
    predict(picture, trained, reject=0.0)
    classes = len(open_signs().class_names)
    usual, other = (answer for answer in answers if len(answer) == classes)
    assert usual.max() > 0.99
    np.testing.assert_array_equal(usual, other)
    many = predict(picture, trained, digits="many", reject=0.0)
    assert [[digit.steps["image"].shape for digit in line] for line in many.digits] == [[(32, 32)]]
    (signs,) = predict(picture, trained, digits="sum").digits
    assert len(signs) == 1
