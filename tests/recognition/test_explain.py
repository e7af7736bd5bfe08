"""Pictures of the steps to the input of the net."""

import numpy as np
import pytest

pytest.importorskip("PIL")

from lenet5c.datasets import mnist
from lenet5c.recognition import predict
from lenet5c.recognition.explain import draw_prediction, save_picture


def test_a_strip_shows_what_the_net_sees(tmp_path):
    digit = mnist()[1].images[0, 0]
    reading = predict(255 - digit.repeat(5, axis=0).repeat(5, axis=1))
    image = draw_prediction(reading)
    save_picture(tmp_path / "new" / "strip.png", image)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["strip.png"]
    # The net's input is in it, each pixel 7 by 7.
    shown = np.asarray(image.convert("L"))
    centered = reading.steps["centered"].repeat(7, axis=0).repeat(7, axis=1)
    width = centered.shape[1]
    assert any(
        np.array_equal(shown[14 : 14 + width, left : left + width], centered)
        for left in range(shown.shape[1] - width)
    )


@pytest.mark.parametrize(
    "picture",
    [
        np.full((40, 30), 9, np.uint8),
        np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8),
        np.zeros((1, 2000), np.uint8),
        np.zeros((1, 1), np.uint8),
    ],
)
def test_rejected_pictures_are_explained(picture):
    assert draw_prediction(predict(picture)).size[0] >= 640


def test_a_sheet_is_marked():
    digits = mnist()[1].images[:4, 0]
    picture = np.pad(np.hstack(digits), 6)
    reading = predict(picture, digits="many")
    image = np.asarray(draw_prediction(reading)).astype(int)
    blue = (image[..., 2] > 150) & (image[..., 0] < 60)
    assert reading.text == "7210" and blue.sum() > 400
