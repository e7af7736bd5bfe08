"""Confusion matrix and derived scores, compared with a naive count and scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
from evaluations import make_evaluation

from lenet5c import nn
from lenet5c.datasets import Dataset, Preparation
from lenet5c.training import (
    RunError,
    TrainedModel,
    class_scores,
    confused_pairs,
    confusion_matrix,
    evaluate,
    match_dataset,
    open_model,
    save_model,
)


def draws(seed, classes, count=500, absent=()):
    """Return labels and predictions that agree about half the time; some classes never occur."""
    rng = np.random.default_rng(seed)
    present = [c for c in range(classes) if c not in absent]
    labels = rng.choice(present, count)
    return labels, np.where(rng.random(count) < 0.5, labels, rng.choice(present, count))


@pytest.mark.parametrize("seed, classes", [(0, 2), (1, 3), (2, 10), (3, 47)])
def test_against_a_naive_count(seed, classes):
    labels, predictions = draws(seed, classes)
    matrix = confusion_matrix(labels, predictions, classes)
    scores = class_scores(matrix)
    pairs = list(zip(labels.tolist(), predictions.tolist(), strict=True))
    f1s = []
    for a in range(classes):
        for b in range(classes):
            assert matrix[a, b] == pairs.count((a, b))
        hits = sum(1 for given, taken in pairs if given == taken == a)
        given, taken = sum(1 for g, _ in pairs if g == a), sum(1 for _, t in pairs if t == a)
        assert scores.count[a] == given and scores.predicted[a] == taken
        precision, recall = hits / taken, hits / given
        f1s.append(2 * precision * recall / (precision + recall) if hits else 0.0)
        assert (scores.precision[a], scores.recall[a]) == pytest.approx((precision, recall))
    assert scores.f1 == pytest.approx(f1s)
    assert scores.macro[2] == pytest.approx(sum(f1s) / classes)


@pytest.mark.parametrize("classes, absent", [(10, ()), (10, (3, 9)), (5, (0,))])
def test_against_scikit_learn(classes, absent):
    metrics = pytest.importorskip("sklearn.metrics")
    labels, predictions = draws(4, classes, absent=absent)
    labels[labels == 4], predictions[7] = 2, 4  # a class that is predicted only
    matrix = confusion_matrix(labels, predictions, classes)
    np.testing.assert_array_equal(
        matrix, metrics.confusion_matrix(labels, predictions, labels=range(classes))
    )
    report = metrics.classification_report(labels, predictions, output_dict=True, zero_division=0)
    scores = class_scores(matrix)
    for c in set(range(classes)) - set(absent):
        each = report[str(c)]
        assert (
            scores.precision[c],
            scores.recall[c],
            scores.f1[c],
            scores.count[c],
        ) == pytest.approx((each["precision"], each["recall"], each["f1-score"], each["support"]))
    macro = report["macro avg"]
    assert scores.macro == pytest.approx((macro["precision"], macro["recall"], macro["f1-score"]))


def test_pairs_are_the_mistakes_by_number():
    matrix = np.array([[9, 1, 4], [4, 9, 0], [0, 7, 9]])
    assert confused_pairs(matrix) == [(2, 1, 7), (0, 2, 4), (1, 0, 4), (0, 1, 1)]
    assert confused_pairs(matrix, 1) == [(2, 1, 7)] and confused_pairs(np.diag([3, 3])) == []
    assert matrix[0, 0] == 9  # is as it was


@pytest.mark.parametrize(
    "labels, predictions, words",
    [
        ([0, 2], [0, 1], "labels must be from 0 to 1, got 0 to 2"),
        ([0], [-1], "predictions must be from 0 to 1, got -1"),
        ([0], [0, 1], "one value for each of 1 labels, got 2"),
        ([0.5], [0], "integers of shape"),
        ([[0]], [0], "integers of shape"),
    ],
)
def test_what_cannot_be_counted(labels, predictions, words):
    with pytest.raises(ValueError, match=words):
        confusion_matrix(labels, predictions, 2)


@pytest.mark.parametrize("net", [nn.LeNet5, nn.LeNet5_1998])
def test_evaluate(mnist_slice, net):
    _, test = mnist_slice
    trained = TrainedModel(net(), Preparation.named("default"), test.class_names)
    result = evaluate(trained, test)
    logits = trained.logits(test.images)
    assert (result.predictions == logits.argmax(axis=1)).all()
    assert result.loss == nn.CrossEntropyLoss()(logits, test.labels)[0]
    assert (result.correct, result.count) == ((result.predictions == test.labels).sum(), 500)
    assert str(result) == f"{100 * result.accuracy:.2f}% ({result.correct}/500)"
    same = evaluate(trained.model, test, trained.preparation)
    assert (same.loss, same.correct) == (result.loss, result.correct)
    with pytest.raises(TypeError, match="preparation must be passed"):
        evaluate(trained.model, test)
    assert result.matrix.sum() == 500 and np.trace(result.matrix) == result.correct
    np.testing.assert_array_equal(
        result.confidences, trained.probabilities(test.images).max(axis=1)
    )


def test_worst_are_the_surest_wrong_ones_and_then_by_index():
    result = make_evaluation([0] * 5, [1, 0, 1, 1, 1], [0.5, 1, 0.9, 0.5, 0.7], 2)
    assert result.worst().tolist() == [2, 4, 0, 3] and result.worst(2).tolist() == [2, 4]


def data(names, labels, shape=(1, 28, 28)):
    return Dataset(
        np.zeros((len(labels), *shape), np.uint8),
        np.array(labels),
        len(names),
        "some",
        tuple(names),
    )


def model(names, shape=(1, 28, 28)):
    net = nn.LeNet5(len(names), shape[0])
    return TrainedModel(net, Preparation((32, 32)), tuple(names), shape)


def test_the_same_classes_are_left_alone():
    dataset = data("abc", [0, 1, 2])
    same, notes = match_dataset(model("abc"), dataset)
    assert same is dataset and notes == []


@pytest.mark.parametrize(
    "known, names, labels, note",
    [
        ("abc", "cab", [2, 0, 1], "by name"),
        ("abcd", "db", [3, 1], "by name; the model has 2 more"),
        (["cat", "dog"], "01", [0, 1], "by number, because the data has no class names"),
        (["cat", "dog", "cow"], "01", [0, 1], "by number, because the data has no class names"),
        (["cat", "dog"], "12", [0, 1], "by number, because the data has no class names"),
        (
            "0123",
            ["three", "Zero", "two"],
            [3, 0, 2],
            "by name: 'three' is the model's '3', 'Zero'",
        ),
        (["zero", "one"], "10", [1, 0], "'1' is the model's 'one'"),
        ("0123", ["digit_3", "01"], [3, 1], "'digit_3' is the model's '3'"),
        (["New York", "T-shirt/top"], ["t_shirt_top", "new-york"], [1, 0], "'New York'"),
        ("aAb", "Ab", [1, 2], "by name; the model has 1 more"),
        (["1.5", "15", "-1"], ["15", "-1"], [1, 2], "by name"),
    ],
)
def test_classes_are_matched_by_meaning(known, names, labels, note):
    dataset, notes = match_dataset(model(list(known)), data(list(names), range(len(names))))
    assert dataset.labels.tolist() == labels and dataset.class_names == tuple(known)
    assert note in notes[0] and len(notes) == 1


@pytest.mark.parametrize(
    "known, names, shape, words",
    [
        ("ab", "abc", (1, 28, 28), "among the classes of the model .*, got 'c'; .*--map c=CLASS"),
        (["cat", "dog"], ["dog", "cow"], (1, 28, 28), "classes of the model .*, got 'cow'"),
        (["cat", "dog"], ["cat", "hound"], (1, 28, 28), "got 'hound'"),
        (["cat", "dog"], ["Katze", "Hund"], (1, 28, 28), "--map Katze=CLASS Hund=CLASS, rename"),
        (
            "0123456789",
            ["cat", "dog"],
            (1, 28, 28),
            "classes of the model .'0', .*, got 'cat' and 'dog'",
        ),
        (
            "0123456789",
            list(map(str, range(1, 11))),
            (1, 28, 28),
            "got '10'; .*--map 10=0, or 1=0 2=1 ... if",
        ),
        ("012", ["x", "y"], (1, 28, 28), "got 'x' and 'y'"),
        (["cat", "dog"], "012", (1, 28, 28), "--map 0=CLASS 1=CLASS 2=CLASS"),
        ("ab", ["A", "a "], (1, 28, 28), "got 'A' and 'a '"),
        ("ab", "ab", (3, 28, 28), "images must have 1 channel for this model, got 3 in some"),
    ],
)
def test_what_does_not_match(known, names, shape, words):
    with pytest.raises(RunError, match=words):
        match_dataset(model(list(known)), data(list(names), range(len(names)), shape))


def test_classes_without_images_need_no_match():
    dataset, _ = match_dataset(model("ab"), data(["b", "new folder", "a"], [0, 2]))
    assert dataset.labels.tolist() == [1, 0] and dataset.class_names == ("a", "b")


def test_a_mapping_says_what_names_do_not():
    names = ["Katze", "Kater", "dog"]
    mapping = {"Katze": "cat", "Kater": "cat"}
    dataset, notes = match_dataset(model(["dog", "cat"]), data(names, [0, 1, 2]), mapping)
    assert dataset.labels.tolist() == [1, 1, 0]
    assert notes == [
        "classes are matched by name: 'Katze' is the model's 'cat', 'Kater' is the model's 'cat'"
    ]
    swapped, _ = match_dataset(model("ab"), data("ab", [0, 1]), {"a": "b", "b": "a"})
    assert swapped.labels.tolist() == [1, 0]
    for wrong, words in (({"Hund": "dog"}, "classes of some"), ({"dog": "Hund"}, "the model's")):
        with pytest.raises(RunError, match=f"--map must be DATA=MODEL.*{words}.*got 'Hund'"):
            match_dataset(model(["dog", "cat"]), data(names, [0, 1, 2]), wrong)


@pytest.mark.parametrize("side, becomes", [(28, 28), (32, 32), (64, 28), (20, 28)])
def test_images_of_other_sizes_are_brought_to_the_models(side, becomes):
    trained = model("ab")
    dataset, notes = match_dataset(trained, data("ab", [0, 1], (1, side, side)))
    assert dataset.images.shape[2:] == (becomes, becomes) and bool(notes) == (side != becomes)
    evaluate(trained, dataset)


def test_ink_and_paper_that_are_exchanged_are_told(mnist_slice):
    _, test = mnist_slice
    inverted = replace(test, images=255 - test.images)
    trained = open_model()
    assert match_dataset(trained, test)[1] == []
    (note,) = match_dataset(trained, inverted)[1]
    assert note == (
        "the images are dark on light, but the training images were light on dark; invert them"
    )
    trained.framing = replace(trained.framing, paper=(255,), ink=(0,))
    assert "are light on dark" in match_dataset(trained, test)[1][0]
    assert match_dataset(trained, inverted)[1] == []
    trained.framing = None
    assert match_dataset(trained, test)[1] == []


def test_models_are_named_by_file_folder_or_best(tmp_path):
    trained = model("ab")
    save_model(tmp_path / "model.safetensors", trained)
    for name in (tmp_path, str(tmp_path / "model.safetensors")):
        assert open_model(name).class_names == ("a", "b")
    assert open_model("best").class_names == open_model().class_names == tuple("0123456789")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="got .*empty, a folder without model.safetensors"):
        open_model(tmp_path / "empty")
    (tmp_path / "runs/one").mkdir(parents=True)
    save_model(tmp_path / "runs/one/model.safetensors", trained)
    with pytest.raises(RunError, match="pass one of the runs in it, or .* ensemble .*runs"):
        open_model(tmp_path / "runs")
    with pytest.raises(RunError, match="model must be .* got nowhere, which does not exist"):
        open_model("nowhere")
    (tmp_path / "other").write_bytes(b"not a model")
    with pytest.raises(RunError):
        open_model(tmp_path / "other")
