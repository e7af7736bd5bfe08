"""Ink that is not a digit, and the rejection threshold."""

import numpy as np
import pytest

from lenet5c.datasets import mnist
from lenet5c.datasets.sign_names import CLASS_NAMES
from lenet5c.datasets.stroke_shapes import LETTERS
from lenet5c.datasets.strokes import Writers, draw_texts
from lenet5c.recognition import Reader, predict
from lenet5c.recognition.signs import ALONE, P_NONE, P_SEVERAL, describe, digit_share, open_signs


def sheet(image):
    """Return an image in MNIST's format as dark ink on paper."""
    return 255 - np.kron(np.pad(image, 8), np.ones((5, 5), np.uint8))


def lines(*ends):
    """Return a picture of straight strokes between points of (y, x)."""
    y, x = np.mgrid[:200, :200]
    ink = np.zeros((200, 200), bool)
    for (y0, x0), (y1, x1) in ends:
        dy, dx = y1 - y0, x1 - x0
        t = np.clip(((y - y0) * dy + (x - x0) * dx) / (dy * dy + dx * dx), 0, 1)
        ink |= np.hypot(y - y0 - t * dy, x - x0 - t * dx) < 6
    return np.where(ink, 30, 240).astype(np.uint8)


@pytest.fixture(scope="module")
def test_set():
    return mnist()[1]


def test_the_model_of_signs_knows_digits(test_set):
    trained = open_signs()
    assert trained is open_signs() and trained.class_names == CLASS_NAMES
    found = trained.probabilities(test_set.images)
    assert np.mean(found[:, :10].argmax(axis=1) == test_set.labels) >= 0.995
    share = digit_share(found, ALONE)
    assert share.shape == (10_000,) and np.mean(share < 0.5) < 0.004
    assert (digit_share(found) <= share + 1e-6).all()


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (lines(((100, 50), (100, 150))), "it looks like a minus sign, not a digit"),
        (lines(((50, 50), (150, 150)), ((50, 150), (150, 50))), "a multiplication sign"),
        (lines(((40, 100), (160, 100)), ((100, 40), (100, 160))), "a plus sign"),
        (lines(((80, 50), (80, 150)), ((120, 50), (120, 150))), "an equals sign"),
        (
            lines(((150, 60), (50, 80)), ((50, 80), (150, 120)), ((50, 80), (50, 81))),
            "not look like a digit",
        ),
    ],
    ids=["minus", "times", "plus", "equals", "a lambda"],
)
def test_signs_are_rejected_by_name(picture, reason):
    reading = predict(picture)
    assert reading.label is None and reason in reading.rejected
    assert reading.confidence < 0.5
    assert predict(picture, reject=0.0).label is not None


def test_most_letters_are_rejected():
    rng = np.random.default_rng(11)
    writers, reader = Writers.draw(rng, 60), Reader()
    images = np.concatenate([draw_texts(texts, 3, writers, rng) for texts in LETTERS.values()])
    assert np.mean([reader(sheet(image)).label is not None for image in images]) < 0.1


def test_a_stricter_limit_rejects_more(test_set):
    images = test_set.images[:150, 0]
    counts = [
        sum(reading.rejected is not None for reading in predict(list(images), reject=reject))
        for reject in (0.0, 0.5, 0.999)
    ]
    assert counts == sorted(counts) and counts[0] == 0 and 5 < counts[2] < 100
    for wrong in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="reject must be"):
            predict(images[0], reject=wrong)
    with pytest.raises(TypeError, match="reject must be"):
        predict(images[0], reject="much")


def test_the_confidence_is_that_of_both_nets(test_set):
    reading = predict(test_set.images[0, 0])
    assert reading.label == "7" and 0.9 < reading.confidence <= reading.probability
    row = np.zeros(20)
    row[[1, CLASS_NAMES.index("/")]] = 0.5
    assert 0.5 < digit_share(row) < 1
    assert describe(row) == "it looks like a slash, not a digit"
    row[P_NONE] = 0.9
    assert describe(row) == "it does not look like a digit"
    row[P_SEVERAL] = 0.95
    assert describe(row) == "it looks like several characters, not one digit"
