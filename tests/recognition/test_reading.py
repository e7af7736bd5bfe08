"""Accepted and rejected pictures."""

import numpy as np
import pytest

from lenet5c.datasets import Preparation, mnist, resize
from lenet5c.errors import UserError
from lenet5c.nn import LeNet5
from lenet5c.recognition import Reader, predict
from lenet5c.training import RunError, TrainedModel, save_model

pytest.importorskip("PIL")

from drawn.hard_pictures import COLORS
from drawn.no_digits import KINDS


@pytest.fixture(scope="module")
def test_set():
    return mnist()[1].take(np.arange(200))


@pytest.fixture(scope="module")
def reader():
    return Reader()


def test_digits_are_not_rejected(test_set, reader):
    readings = [reader(image) for image in test_set.images[:, 0]]
    assert sum(reading.rejected is not None for reading in readings) <= 1
    assert (
        sum(
            reading.label == str(label)
            for reading, label in zip(readings, test_set.labels, strict=True)
        )
        >= 198
    )


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_without_a_digit_are_rejected(kind, reader):
    readings = [
        reader(KINDS[kind](np.random.default_rng([1, i]), (28, 90, 300)[i % 3])) for i in range(6)
    ]
    assert sum(reading.rejected is None for reading in readings) <= (
        kind in ("clouds", "edges", "sloping_light")
    )
    assert all((reading.label is None) == (reading.rejected is not None) for reading in readings)


def test_chalk_is_not_full_of_lines(test_set, reader):
    rng = np.random.default_rng(3)
    for image in test_set.images[:10, 0]:
        ink = np.pad(resize(image, (280, 280)), 60) / 255
        grain = resize(rng.integers(0, 256, (200, 200), np.uint8), (400, 400)) / 255
        board = 45 + 180 * ink * np.clip(2.2 * grain, 0, 1)
        assert not reader(board.astype(np.uint8)).rejected


def side_by_side(test_set, first, second):
    picture = np.zeros((40, 80), np.uint8)
    picture[6:34, 6:34], picture[6:34, 44:72] = (
        test_set.images[first, 0],
        test_set.images[second, 0],
    )
    return 255 - picture


def test_two_digits_are_not_one(test_set, reader):
    rejected = [reader(side_by_side(test_set, k, k + 1)).rejected or "" for k in range(0, 60, 2)]
    assert sum("2 digits; --digits many" in reason for reason in rejected) >= 28


@pytest.mark.parametrize(("paper", "pen"), COLORS)
def test_inks_and_papers(test_set, reader, paper, pen):
    ink = test_set.images[0, 0].repeat(4, axis=0).repeat(4, axis=1)[..., np.newaxis] / 255
    picture = (np.array(paper) * (1 - ink) + np.array(pen) * ink).astype(np.uint8)
    assert reader(picture).label == "7"


def test_yellow_on_white_and_colors_of_one_brightness(test_set, reader):
    for paper, pen in [((255, 255, 255), (255, 255, 60)), ((118, 118, 118), (255, 60, 60))]:
        ink = test_set.images[2, 0].repeat(4, axis=0).repeat(4, axis=1)[..., np.newaxis] / 255
        picture = (np.array(paper) * (1 - ink) + np.array(pen) * ink).astype(np.uint8)
        assert reader(picture).label == "1"


def test_a_small_digit_in_a_large_picture(test_set, reader):
    picture = np.full((2000, 3000), 235, np.uint8)
    picture[1500:1584, 200:284] -= test_set.images[1, 0].repeat(3, axis=0).repeat(3, axis=1) // 2
    reading = reader(picture)
    assert reading.label == "2"
    top, left, bottom, right = reading.box
    assert 1500 <= top < bottom <= 1584 and 200 <= left < right <= 284


@pytest.mark.parametrize(
    ("page", "height"), [((1000, 1000), 60), ((3508, 2480), 100), ((3000, 4000), 80)], ids=str
)
def test_a_digit_anywhere_on_a_clean_page(test_set, reader, page, height):
    """The blurred edge of a stroke is not separate ink."""
    rng = np.random.default_rng(height)
    for k in range(6):
        digit = test_set.images[k, 0]
        rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
        digit = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        width = max(1, round(digit.shape[1] * height / digit.shape[0]))
        top, left = rng.integers(page[0] - height), rng.integers(page[1] - width)
        picture = np.full(page, 255, np.uint8)
        picture[top : top + height, left : left + width] -= resize(digit, (height, width))
        assert reader(picture).label == str(test_set.labels[k])


def test_probabilities_have_the_class_names(test_set, reader):
    reading = reader(test_set.images[0, 0])
    assert list(reading.probabilities) == list("0123456789")
    assert abs(sum(reading.probabilities.values()) - 1) < 1e-6
    assert reading.top(1) == [(reading.label, reading.probability)]


def color_model():
    model = LeNet5(3, in_channels=3, rng=0)
    return TrainedModel(
        model,
        Preparation(size=(32, 32), fit="resize"),
        ("cat", "dog", "fish"),
        (3, 48, 40),
        "whole",
    )


def test_a_model_of_whole_pictures():
    trained = color_model()
    picture = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    expected = trained.probabilities(picture.transpose(2, 0, 1)[np.newaxis])[0]
    reading = predict(picture, trained)
    np.testing.assert_allclose(list(reading.probabilities.values()), expected, atol=1e-6)
    assert list(reading.probabilities) == ["cat", "dog", "fish"]
    assert predict(picture[..., 0], trained).probabilities  # gray does, too
    trained.framing = None
    with pytest.raises(UserError, match="must be trained on digits on a plain background"):
        predict(picture, trained, reading="ink")
    with pytest.raises(UserError, match="many"):
        Reader(trained, digits="many")


def test_models_are_named_by_file_or_folder(tmp_path, test_set):
    trained = TrainedModel(LeNet5(rng=0), Preparation.named("default"), tuple("0123456789"))
    save_model(tmp_path / "model.safetensors", trained)
    picture = test_set.images[0, 0]
    expected = Reader(trained)(picture).probabilities
    assert predict(picture, tmp_path).probabilities == expected
    assert predict(picture, tmp_path / "model.safetensors").probabilities == expected
    assert predict(picture, "best").probabilities == predict(picture).probabilities
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="without model.safetensors"):
        predict(picture, tmp_path / "empty")
    with pytest.raises(RunError, match="which does not exist"):
        predict(picture, tmp_path / "none")


def test_lists_in_lists_out(test_set):
    readings = predict(list(test_set.images[:3, 0]))
    assert [reading.label for reading in readings] == ["7", "2", "1"]


@pytest.mark.parametrize("options", [{"digits": "two"}, {"reading": "pen"}])
def test_bad_options(options):
    with pytest.raises(ValueError, match="must be"):
        Reader(**options)
