"""Pictures of explanations, and of a net slid over a long image."""

import numpy as np
import pytest
from exported_models import images, variants

from lenet5c.recognition.why import Neighbors, explain
from lenet5c.recognition.why import slide as slide_over
from lenet5c.report import why as why_module
from lenet5c.report.pictures import slide, why, why_wrong
from lenet5c.training import evaluate, open_model
from lenet5c.training.plot_style import png

pytest.importorskip("matplotlib")
VARIANTS = variants()


def words(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def colors(figure):
    (shown,) = figure.axes[0].images
    return np.asarray(shown.get_array())


def test_a_row_of_all_reasons(mnist_slice):
    trained, (train, test) = open_model(), mnist_slice
    neighbors = Neighbors(trained, train)
    explained = explain(trained, test.images[0], neighbors=neighbors, steps=10)
    picture = np.full((300, 200, 3), 200, np.uint8)
    figure = why(trained, [explained], neighbors=neighbors, pictures=[picture])
    assert {"picture", "Grad-CAM", "nearest training images", "7", "100.0 %"} <= set(words(figure))
    assert f"{explained.change.norm:.0f} gray levels (L2)" in words(figure)
    assert words(figure).count("7") == 6  # the label, and those of its neighbors
    # The strongest of a map is in the darkest red of the palette.
    found = colors(figure) / 255
    red = (found[..., 0] > 0.35) & (found[..., 1:] < 0.15).all(axis=-1)
    assert red.sum() > 100
    assert png(figure) == png(why(trained, [explained], neighbors=neighbors, pictures=[picture]))


@pytest.mark.parametrize("name", ["1998-rgb-4-classes", "no-convolution", "enlarged"])
def test_other_images_and_nets(name):
    trained = VARIANTS[name]
    rows = [
        explain(trained, image, label, steps=3) for label, image in enumerate(images(trained, 2))
    ]
    found = words(why(trained, rows, captions=[["a"], ["b", "c"]]))
    assert {"a", "b", "c"} <= set(found)
    assert ("no maps" in found) == (name == "no-convolution")


def test_a_target_is_the_class_of_the_change():
    trained, image = VARIANTS["1998"], images(VARIANTS["1998"], 1)[0]
    predicted = int(trained.predict(image)[0])
    other = (predicted + 1) % 10
    assert explain(trained, image, other).change.label == other
    assert explain(trained, image, predicted, target=other).change.label == other
    assert explain(trained, image, str(predicted)).change.label != predicted


def test_mistakes_of_a_model_and_fewer_rows_of_a_larger_net(mnist_slice, monkeypatch):
    train, test = mnist_slice
    trained = VARIANTS["tanh-max"]  # not trained
    result = evaluate(trained, test)
    figure = why_wrong(trained, test, result, train)
    worst = result.worst(4)
    for index in worst:
        pair = f"{result.labels[index]} → {result.predictions[index]}"
        assert pair in words(figure)
        assert any(text.endswith(f"· {index}") for text in words(figure))
    monkeypatch.setattr(why_module, "WORK", 1)
    few = words(why_wrong(trained, test, result, train))
    assert sum("·" in text for text in few) == 1


def test_without_mistakes_the_least_probable_are_drawn(mnist_slice):
    trained, test = open_model(), mnist_slice[1]
    result = evaluate(trained, test)
    right = np.flatnonzero(result.labels == result.predictions)
    dataset = test.take(right)
    result = evaluate(trained, dataset)
    least = int(result.confidences.argmin())
    assert any(text.endswith(f"· {least}") for text in words(why_wrong(trained, dataset, result)))


def test_a_slide():
    trained = open_model()
    image = np.zeros((28, 100), np.uint8)
    image[4:24, 40:44] = 255
    found = slide_over(trained, image)
    figure = slide(trained, image, found)
    assert set("0123456789") <= set(words(figure)) and "window: 32 columns" in words(figure)
    answers = [text for text in figure.axes[0].texts if text.get_text() == "1"]
    assert len(answers) > 1  # the row, and the answer above the stroke


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="explanations must have at least one"):
        why(open_model(), [])
