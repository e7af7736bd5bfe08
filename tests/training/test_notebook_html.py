"""HTML of models, trainers, evaluations and predictions in a notebook."""

from html.parser import HTMLParser

import numpy as np
import pytest
from evaluations import make_evaluation

import lenet5c
from lenet5c import nn
from lenet5c.datasets import Preparation
from lenet5c.recognition import Prediction
from lenet5c.training import Evaluation, TrainedModel, evaluate, open_model

HOSTILE = "<script>alert(1)</script>"


class Reader(HTMLParser):
    """Return the texts and tags of well-formed HTML."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.tags, self.open = [], set(), []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(value, most=10_000):
    html = value._repr_html_()
    assert len(html) < most
    reader = Reader(html)
    assert "script" not in reader.tags
    return reader.texts


def test_a_net_is_its_summary():
    model = nn.LeNet5()
    texts = read(model)
    for text in ("LeNet5", "61,706", "conv1", "122,304", "1 x 32 x 32"):
        assert text in texts
    summary = model.summary()
    assert repr(summary) == str(summary) and set(read(summary)) < set(texts)


def test_a_net_of_unknown_input_is_its_layers():
    model = nn.Sequential({HOSTILE: nn.Linear(3, 2), "b": nn.ReLU()})
    assert read(model)[5:8] == [HOSTILE, "Linear(3, 2)", "8"]
    model.forward(np.zeros((1, 3), np.float32))
    assert "neurons" in read(model)


def test_a_trained_model_has_its_images_and_classes():
    texts = read(open_model())
    assert "1 x 28 x 28, read as ink" in texts and "0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in texts
    names = tuple(f"{HOSTILE} {i}" for i in range(1000))
    trained = TrainedModel(nn.LeNet5(1000), Preparation((32, 32)), names)
    assert any(text.endswith("and 980 more") and HOSTILE in text for text in read(trained))
    assert repr(trained) == (
        f"<TrainedModel LeNet5: {trained.model.num_params:,} parameters, images of 1 x 28 x 28, "
        "1000 classes>"
    )


def test_a_trainer_has_its_place_and_history(mnist_slice):
    trainer = lenet5c.trainer("fast", data=mnist_slice[0], epochs=2)
    assert "0 of 2 epochs; call the trainer's fit() to continue." in read(trainer)
    trainer.fit(progress=False)
    texts = read(trainer)
    assert texts[0].startswith("LeNet5, ") and " training images, " in texts[0]
    assert f"{trainer.history[-1]['train_loss']:.4f}" in texts


def test_an_evaluation_has_its_interval_and_matrix(mnist_slice):
    result = evaluate(open_model(), mnist_slice[1])
    texts = read(result)
    assert str(result) in texts and "95% interval" in texts[1] and "true 9" in texts
    assert texts.count(str(result.matrix[0, 0])) >= 1
    named = Evaluation(
        result.labels, result.predictions, result.probabilities, 0.0, (HOSTILE,) * 10
    )
    assert f"true {HOSTILE}" in read(named)


def test_an_evaluation_of_many_classes_has_the_most_frequent_mistakes():
    labels = np.arange(300) % 100
    predictions = labels.copy()
    predictions[labels == 7] = 8
    result = make_evaluation(labels, predictions, 1, 100)
    assert read(result)[-3:] == ["7", "8", "3"]


def test_a_reading_has_its_classes_or_its_reason():
    probabilities = {HOSTILE: 0.75, "b": 0.25}
    assert read(Prediction(HOSTILE, 0.75, probabilities))[2:] == [HOSTILE, "75.00%", "b", "25.00%"]
    assert read(Prediction(rejected=HOSTILE)) == [f"rejected: {HOSTILE}"]
    assert read(Prediction(digits=((Prediction("1"),),), text="12\n<3")) == ["12\n<3"]


def test_every_figure_shows_itself(mnist_slice):
    pytest.importorskip("matplotlib")
    import pickle

    from lenet5c.recognition import why
    from lenet5c.report import pictures

    trained, (_, test) = open_model(), mnist_slice
    result = evaluate(trained, test)
    row = {"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.5}
    made = {
        "activations": pictures.activations(trained, test.images[0]),
        "confusion": pictures.confusion(result.matrix, trained.class_names),
        "curves": pictures.curves([row]),
        "errors": pictures.errors(test, result, trained.class_names),
        "filters": pictures.filters(trained.model),
        "rejections": pictures.rejections(result),
        "reliability": pictures.reliability(result),
        "roc": pictures.roc(result, trained.class_names),
        "slide": pictures.slide(trained, test.images[0], why.slide(trained, test.images[0], 4)),
        "why": pictures.why(trained, [why.explain(trained, test.images[0])]),
        "why_wrong": pictures.why_wrong(trained, test, result),
    }
    assert set(made) == set(pictures.__all__)
    for figure in made.values():
        assert figure._repr_png_().startswith(b"\x89PNG")
    figure = made["confusion"]
    assert pickle.loads(pickle.dumps(figure))._repr_png_() == figure._repr_png_()
