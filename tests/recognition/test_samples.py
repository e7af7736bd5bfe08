"""Pictures of a data set, normalized as for recognition by a model."""

from dataclasses import replace

import numpy as np
import pytest

from lenet5c.datasets import Dataset, DatasetError, Source, mnist, open_source
from lenet5c.recognition import predict
from lenet5c.recognition.samples import frame_dataset, frame_source
from lenet5c.training import evaluate, match_dataset, open_model

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def trained():
    return open_model()


@pytest.fixture(scope="module")
def digits():
    return mnist()[1].take(np.arange(40))


def draw(images, side=90, top=7, left=31):
    """Return digits, black on white and twice as large, off-center in larger pictures."""
    large = images.repeat(2, axis=2).repeat(2, axis=3)
    pictures = np.full((len(images), 1, side, side), 255, np.uint8)
    pictures[:, :, top : top + large.shape[2], left : left + large.shape[3]] = 255 - large
    return pictures


def test_digits_are_as_predict_sees_them(trained, digits):
    pictures = replace(digits, images=draw(digits.images), sample_weight=np.arange(1.0, 41))
    framed, notes = frame_dataset(pictures, trained)
    assert framed.images.shape == (40, *trained.image_shape)
    assert notes == ["its pictures are read as predict reads them: the ink, cropped and centered"]
    assert np.array_equal(framed.labels, digits.labels)
    assert np.array_equal(framed.sample_weight, pictures.sample_weight)
    # Not much else than the digits that were drawn.
    assert np.abs(framed.images.astype(int) - digits.images).mean() < 12
    result = evaluate(trained, framed)
    assert result.correct >= 39
    for i in (0, 7, 31):
        prediction = predict(pictures.images[i, 0])
        assert np.array_equal(prediction.steps["centered"], framed.images[i, 0])
        assert prediction.label == str(result.predictions[i])


def test_images_in_that_form_stay(trained, digits):
    same, notes = frame_dataset(digits, trained)
    assert same is digits and notes == []


def test_colors_of_the_files_are_used(trained, digits, tmp_path):
    """Files are preferred to the resized gray images of a data set."""
    for i, picture in enumerate(draw(digits.images)[:, 0]):
        colored = np.stack([np.full_like(picture, 255), picture, np.full_like(picture, 255)], 2)
        folder = tmp_path / str(digits.labels[i])
        folder.mkdir(exist_ok=True)
        Image.fromarray(colored).save(folder / f"{i}.png")
    source = open_source(str(tmp_path))
    assert source.reading == "whole"
    framed, notes = frame_source(source, trained)
    assert framed.reading == "ink" and len(notes) == 1  # once, although of two parts
    assert evaluate(trained, match_dataset(trained, framed.train)[0]).accuracy > 0.9
    assert framed.train.ids == source.train.ids and framed.train.root == source.train.root


def test_pictures_without_ink_are_left_out(trained, digits):
    images = draw(digits.images)
    images[[2, 5]] = 255
    ids = tuple(f"{i}.png" for i in range(40))
    framed, notes = frame_dataset(Dataset(images, digits.labels, 10, ids=ids), trained)
    assert len(framed) == 38 and framed.ids == ids[:2] + ids[3:5] + ids[6:]
    assert notes[1] == "pictures without ink are left out: 2 of 40, such as 2.png"
    assert np.array_equal(framed.labels, np.delete(digits.labels, [2, 5]))
    assert evaluate(trained, framed).correct >= 37


def test_a_part_without_any_ink_is_refused(trained, digits):
    blank = Dataset(np.full((4, 1, 50, 60), 200, np.uint8), np.arange(4), 10, "blank")
    source = Source(replace(digits, images=draw(digits.images)), blank)
    with pytest.raises(DatasetError, match="^blank must have pictures with ink .*--reading whole$"):
        frame_source(source, trained)
    framed, _ = frame_source(replace(source, test=source.train, validation=None), trained)
    assert framed.validation is None
