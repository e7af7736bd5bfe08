"""Pictures of nets and data of all kinds: content, margins, and reproducible bytes."""

import re
from io import BytesIO

import numpy as np
import pytest
from evaluations import make_evaluation

from lenet5c import nn
from lenet5c.datasets import Dataset, Preparation
from lenet5c.report.pictures import activations, confusion, curves, errors, filters
from lenet5c.training import TrainedModel, evaluate
from lenet5c.training.plot_style import png

matplotlib = pytest.importorskip("matplotlib.image") and pytest.importorskip("matplotlib")


def rows(epochs, validation=True, **others):
    """Return a history like that of a trainer."""
    made = []
    for epoch in range(1, epochs + 1):
        row = {
            "epoch": epoch,
            "step": 10 * epoch,
            "lr": 1e-3 / epoch,
            "train_loss": 1 / epoch,
            "train_accuracy": 1 - 0.3 / epoch,
        }
        if validation:
            row |= {"validation_loss": 0.8 / epoch, "validation_accuracy": 1 - 0.2 / epoch}
        made.append(row | others)
    return made


def synthetic(classes, channels=1, side=28, names=(), count=200):
    rng = np.random.default_rng(classes)
    images = rng.integers(0, 256, (count, channels, side, side), np.uint8)
    return Dataset(images, rng.integers(0, classes, count), classes, "made up", tuple(names))


def untrained(dataset, net=nn.LeNet5, **options):
    channels = dataset.images.shape[1]
    model = net(dataset.num_classes, channels, **options)
    preparation = Preparation((32, 32), fit="resize", mean=0.5, std=0.3)
    return TrainedModel(model, preparation, dataset.class_names, dataset.images.shape[1:])


def assert_all_inside(figure):
    """No part of a figure is cut off: its edges are white."""
    content = png(figure)
    assert content.startswith(b"\x89PNG") and b"Software" not in content
    pixels = matplotlib.image.imread(BytesIO(content))[..., :3]
    assert pixels.min() < 0.9
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert edge.min() == 1


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def test_curves_show_the_history():
    history = rows(10)
    figure = curves(history, kept_epoch=7)
    losses, accuracies, rates = figure.axes
    (train_loss, validation_loss) = (line.get_ydata() for line in losses.lines[:2])
    np.testing.assert_array_equal(train_loss, [row["train_loss"] for row in history])
    np.testing.assert_array_equal(validation_loss, [row["validation_loss"] for row in history])
    # The axis is one of errors, labelled with accuracies, better ones above.
    error = accuracies.lines[1].get_ydata()
    np.testing.assert_allclose(error, [100 - 100 * row["validation_accuracy"] for row in history])
    bottom, top = accuracies.get_ylim()
    assert bottom > top and accuracies.yaxis.get_major_formatter()(1.0) == "99"
    np.testing.assert_array_equal(rates.lines[0].get_ydata(), [row["lr"] for row in history])
    assert all(7 in ax.lines[-1].get_xdata() for ax in figure.axes)
    assert_all_inside(figure)


@pytest.mark.parametrize(
    "history",
    [
        rows(1),
        rows(1, validation=False),
        rows(5, validation=False, lr=1e-3),
        rows(1000),
        rows(3, train_accuracy=1.0, validation_accuracy=1.0, train_loss=0.0),
        rows(3, train_accuracy=0.0, validation_accuracy=0.0),
        rows(3, train_loss=float("nan"), validation_loss=None),
        rows(4, test_accuracy=0.9, test_loss=0.3, note="others of a row are not looked at"),
        rows(12)[5:],
        [{"epoch": 1}],
    ],
    ids=[
        "one epoch",
        "one, no validation",
        "constant rate",
        "1000 epochs",
        "all right",
        "all wrong",
        "nan",
        "test",
        "later epochs",
        "nothing but the epoch",
    ],
)
def test_curves_of_any_history(history):
    assert_all_inside(curves(history))


def test_curves_need_a_row():
    with pytest.raises(ValueError, match="history_rows must have a row"):
        curves([])


NAMES = {
    2: ["yes", "no"],
    3: ["T-shirt / top", "$Bag$ <b>&amp;", "Ankle\nboot\0\ud800"],
    10: [],
    47: [
        f"{['a very long name of a class', 'ß', '犬', 'собака', ''][i % 5]} number {i}"
        for i in range(47)
    ],
    100: [f"W{'W' * (i % 40)}{i}" for i in range(100)],
    300: [],
}


@pytest.mark.parametrize("classes", NAMES)
def test_confusion_of_any_number_of_classes(classes):
    dataset = synthetic(classes, names=NAMES[classes])
    predictions = np.where(np.arange(len(dataset)) % 3, dataset.labels, dataset.labels[::-1])
    result = make_evaluation(dataset.labels, predictions, 1, classes)
    figure = confusion(result.matrix, dataset.class_names)
    assert_all_inside(figure)
    width, height = figure.get_size_inches()
    assert width < 15 and height < 24
    if classes <= 10:
        cells = [int(text.get_text()) for text in figure.axes[0].texts if text.get_text().isdigit()]
        assert sorted(cells) == sorted(result.matrix[result.matrix > 0])  # zero cells are empty


def test_names_never_begin_a_formula_and_missing_characters_are_numbers():
    matrix = np.eye(3, dtype=int)
    shown = texts(confusion(matrix, ["$a$", "\U0010fff0", "犬" * 40]))
    assert r"\$a\$" in shown and "class 1" in shown and not any("犬" * 30 in text for text in shown)


def test_confusion_wants_a_name_for_each_class():
    with pytest.raises(ValueError, match="one name for each of the 2 classes, got 3"):
        confusion(np.eye(2, dtype=int), "abc")


def test_a_class_without_images_or_predictions_has_a_dash():
    shown = texts(confusion(np.array([[3, 0, 0], [1, 0, 0], [0, 0, 0]]), ["a", "b", "c"]))
    assert shown.count("–") == 3  # precision of b and c, recall of c


@pytest.mark.parametrize("wrong", [0, 1, 7, 200])
@pytest.mark.parametrize("channels", [1, 3])
def test_errors_worst_first(wrong, channels):
    dataset = synthetic(3, channels, names=["zero", "a name that is really quite long", "2"])
    predictions = dataset.labels.copy()
    predictions[:wrong] = (predictions[:wrong] + 1) % 3
    confidences = np.linspace(0.2, 0.9, len(dataset), dtype=np.float32)
    result = make_evaluation(dataset.labels, predictions, confidences, 3)
    figure = errors(dataset.images, result, dataset.class_names)
    assert_all_inside(figure)
    indices = [int(text.split("· ")[1]) for text in texts(figure) if "·" in text]
    assert indices == list(range(wrong))[::-1][:40]
    assert any("None of the 200 images is misclassified" in text for text in texts(figure)) == (
        wrong == 0
    )


@pytest.mark.parametrize("channels, side", [(2, 5), (4, 64), (1, 300)])
def test_errors_of_other_sizes(channels, side):
    dataset = synthetic(2, channels, side, count=30)
    result = make_evaluation(dataset.labels, 1 - dataset.labels, 1, 2)
    figure = errors(dataset.images, result, dataset.class_names)
    assert_all_inside(figure)
    assert max(figure.get_size_inches()) < 12


NETS = {
    "usual": (nn.LeNet5, 1, {}),
    "color": (nn.LeNet5, 3, {"pooling": "avg", "activation": "tanh"}),
    "c5 as convolution": (
        nn.LeNet5,
        1,
        {"c5": "conv", "dropout": 0.5, "batch_norm": True, "kernel_size": 3},
    ),
    "five channels": (nn.LeNet5, 5, {"padding": (2, 0), "without_activation": ["conv1"]}),
    "of 1998": (nn.LeNet5_1998, 1, {}),
    "of 1998 in color": (nn.LeNet5_1998, 3, {"input_size": 32}),
}


@pytest.mark.parametrize("net, channels, options", NETS.values(), ids=NETS)
def test_filters_and_activations_of_any_net(net, channels, options):
    dataset = synthetic(10, channels)
    trained = untrained(dataset, net, **options)
    figure = filters(trained.model)
    assert_all_inside(figure)
    convolutions = [
        layer for layer in trained.model.layers.values() if isinstance(layer, nn.Conv2d)
    ]
    assert len(figure.axes[0].images) == len(convolutions)
    assert len(figure.axes[0].collections) == len(convolutions)  # color bars
    figure = activations(trained, dataset.images[0], title="of $5", label=3)
    assert_all_inside(figure)
    assert r"of \$5, true label 3" in texts(figure)
    told = [text.split("\n")[0] for text in texts(figure) if "\n" in text]
    passed_on = {name for name in trained.model.layers if name.startswith(("flatten", "dropout"))}
    assert told[0] == "input" and set(told[1:]) == set(trained.model.layers) - passed_on
    likeliest = trained.probabilities(dataset.images[:1]).argmax()
    first = next(text for text in texts(figure) if " %  " in text)
    assert first.endswith(f"%  {likeliest}")


def test_filters_are_the_weights():
    model = nn.LeNet5()
    weight = model["conv1"].params["weight"]
    sheet = filters(model).axes[0].images[0].get_array()
    for i in range(6):
        cell = sheet[:5, 6 * i : 6 * i + 5]
        # Positive is red, negative blue.
        np.testing.assert_array_equal(cell[..., 0] > cell[..., 2], weight[i, 0] > 0)
        np.testing.assert_array_equal(cell[..., 0] < cell[..., 2], weight[i, 0] < 0)


def test_color_bars_have_the_numbers_of_the_layer():
    model = nn.Sequential(nn.Conv2d(1, 2, 2, rng=0))
    model["0"].params["weight"] = np.array([1, -2, 0, 0.5, 1, 1, 1, 0]).reshape(2, 1, 2, 2)
    figure = filters(model)
    limit = f"{np.quantile(abs(model['0'].params['weight']), 0.995):.3g}"
    assert {f"−{limit}", limit} <= set(texts(figure))
    bar = figure.axes[0].collections[0].get_facecolor()[:-1]  # without its frame
    assert bar[0, 2] > bar[0, 0] and bar[-1, 0] > bar[-1, 2]  # from blue to red


def test_filters_of_color_images_are_in_color_with_labels():
    model = nn.LeNet5(in_channels=3)
    shown = texts(filters(model))
    assert [text for text in shown if text in ("in color", "red", "green", "blue")] == [
        "in color",
        "red",
        "green",
        "blue",
    ]
    assert [text for text in shown if text.isdigit()] == list("012345")  # maps that conv2 reads
    weight = model["conv1"].params["weight"]
    sheet = filters(model).axes[0].images[0].get_array()
    color = sheet[:5, :5]  # of the first filter
    for channel in range(3):
        np.testing.assert_array_equal(color[..., channel] > 0.5, weight[0, channel] > 0)


def test_of_very_many_maps_the_first_are_shown():
    trained = untrained(synthetic(10), nn.LeNet5, channels=(300, 140))
    words = "\n".join(texts(filters(trained.model)))
    assert "300 filters of 5 × 5\n" in words  # all
    assert re.search(r"128 of 300 input maps \(rows\) to \d+ of 140 output maps", words)
    figure = activations(trained, synthetic(10).images[0])
    assert_all_inside(figure)
    told = {text.split("\n")[0]: text.split("\n")[2:] for text in texts(figure) if "\n" in text}
    assert told["conv1"] == ["the first 128 of 300"] and told["conv2"] == ["the first 128 of 140"]
    assert told["fc1"] == told["input"] == []


@pytest.mark.parametrize("classes", [10, 26, 47, 100, 130, 131])
def test_units_of_the_last_layer_have_names(classes):
    names = [f"{'kind ' if classes > 40 else ''}{i}" for i in range(classes)]
    dataset = synthetic(classes, names=names)
    trained = untrained(dataset)
    figure = activations(trained, dataset.images[0])
    assert_all_inside(figure)
    shown = texts(figure)
    assert all((name in shown) == (classes <= 130) for name in names)
    if classes <= 130:
        (bold,) = [
            each for each in figure.findobj(matplotlib.text.Text) if each.get_weight() == "bold"
        ]
        assert bold.get_text() == names[trained.probabilities(dataset.images[:1]).argmax()]


@pytest.mark.parametrize("classes", [27, 47, 100])
def test_many_classes_are_shown_with_those_confused_most(classes):
    matrix = np.diag(np.full(classes, 50))
    matrix[3, 7], matrix[20, 3], matrix[26, 1] = 12, 9, 1
    figure = confusion(matrix, [f"n{i}" for i in range(classes)])
    assert_all_inside(figure)
    whole, correct, mistaken, part = figure.axes
    assert whole.images[0].get_array().shape[:2] == (classes, classes)
    assert [label.get_text() for label in part.get_yticklabels()] == [
        "n1",
        "n3",
        "n7",
        "n20",
        "n26",
    ]
    written = [text.get_text() for text in part.texts]
    assert {"12", "9", "1", "50", "other", "recall %"} <= set(written)
    assert "The 5 most confused classes" in texts(figure)
    assert correct.get_title() == "correct, % of a row"
    assert mistaken.get_title() == "misclassified, % of a row"
    flawless = confusion(np.diag(np.full(classes, 5)), [f"n{i}" for i in range(classes)])
    assert len(flawless.axes) == 3
    assert_all_inside(flawless)


def test_mistakes_as_other_classes_are_counted():
    matrix = np.diag(np.full(40, 50))
    matrix[:12, 12:] = np.arange(1, 29)
    matrix[0, 1:7] = 100
    matrix[1, 7:13] = 90
    figure = confusion(matrix, list(map(str, range(40))))
    part = figure.axes[-1]
    rows = [int(label.get_text()) for label in part.get_yticklabels()]
    others = matrix[rows].sum(axis=1) - matrix[np.ix_(rows, rows)].sum(axis=1)
    written = {text.get_text() for text in part.texts}
    assert len(rows) <= 12 and {f"{each:,}" for each in others if each} <= written


def test_maps_that_are_not_connected_are_gray():
    model = nn.LeNet5_1998()
    sheet = filters(model).axes[0].images[1].get_array()
    gray = np.array(
        [
            [np.ptp(sheet[6 * i : 6 * i + 5, 6 * o : 6 * o + 5]) == 0 for o in range(16)]
            for i in range(6)
        ]
    )
    np.testing.assert_array_equal(~gray, model["c3"].connection_table)


def test_a_model_without_convolutions_has_no_filters():
    with pytest.raises(ValueError, match="must have a Conv2d"):
        filters(nn.Sequential(nn.Linear(2, 2)))


def test_images_larger_than_the_picture():
    dataset = synthetic(4, 1, 28)
    model = nn.LeNet5(4, input_size=200)
    trained = TrainedModel(model, Preparation((200, 200), fit="resize"), dataset.class_names)
    assert_all_inside(activations(trained, dataset.images[0]))


def test_equal_pictures_have_equal_bytes_whatever_a_reader_has_set():
    dataset = synthetic(10)
    trained = untrained(dataset)
    result = evaluate(trained, dataset)

    def draw():
        return [
            png(curves(rows(4))),
            png(confusion(result.matrix, dataset.class_names)),
            png(filters(trained.model)),
            png(errors(dataset.images, result, dataset.class_names)),
            png(activations(trained, dataset.images[0])),
        ]

    before = draw()
    with matplotlib.rc_context(
        {
            "font.size": 20,
            "axes.grid": True,
            "figure.facecolor": "red",
            "lines.linewidth": 9,
            "savefig.dpi": 30,
            "axes.facecolor": "green",
            "font.family": "serif",
        }
    ):
        mine = dict(matplotlib.rcParams)
        assert draw() == before
        assert dict(matplotlib.rcParams) == mine
