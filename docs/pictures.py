"""Draw pictures of the pages: training.png, a trained net's view of one digit.

activations.png comes from the report of the same run.

    pip install matplotlib
    python -m lenet5c.train --out runs/picture
    python docs/pictures.py runs/picture

Without a run, docs/images/distortions.png: what the named distortions make of digits; and
augmented.png: what `lenet5c data inspect --augment` shows of drawn shapes; why.png and slide.png:
reasons for the answers of the model in the package, and that of signs slid over a number;
reliability.png, rejections.png and corruptions.png: the model in the package on MNIST's test
images.

    python docs/pictures.py
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from lenet5c.__main__ import main
from lenet5c.datasets import Distortion, Preparation, mnist
from lenet5c.datasets.corruptions import CORRUPTIONS
from lenet5c.recognition import why as reasons
from lenet5c.recognition.signs import open_signs
from lenet5c.report import pictures
from lenet5c.report.pictures import rejections, reliability
from lenet5c.report.robustness import corruption_sheet
from lenet5c.training import evaluate, open_model
from lenet5c.training.plot_style import DIVERGING, png

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))
from drawn_shapes import draw_folder

INK, ACCENT, GREY = "#1b2a41", "#d1495b", "#8d99ae"
IMAGES = Path(__file__).parent / "images"


def draw_distortions(digits=10, draws=8):
    """Draw the first image of each class in a row: the original and its distortions by epoch."""
    train, _ = mnist()
    first = np.array([np.flatnonzero(train.labels == label)[0] for label in range(digits)])
    images = Preparation.named("default").fit_images(train.images)
    figure = plt.figure(figsize=(10, 6.1), dpi=144)
    for part, name in zip(figure.subfigures(1, 2), ("paper1998", "modern"), strict=True):
        distortion = Distortion.named(name)
        grid = {
            "hspace": 0.06,
            "wspace": 0.06,
            "left": 0.03,
            "right": 0.97,
            "top": 0.9,
            "bottom": 0.02,
        }
        rows = part.subplots(digits, draws + 1, gridspec_kw=grid)
        columns = [images[first], *(distortion(images, 0, epoch, first) for epoch in range(draws))]
        for shown, axes in zip(columns, rows.T, strict=True):
            for image, ax in zip(shown, axes, strict=True):
                ax.imshow(image[0], cmap="gray_r", vmin=0, vmax=255)
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_color(ACCENT if shown is columns[0] else GREY)
        rows[0, 0].set_title("original", color=ACCENT, fontsize=7, pad=3)
        rows[0, 1].set_title("epoch 1", color=INK, fontsize=7, pad=3)
        rows[0, draws].set_title(f"epoch {draws}", color=INK, fontsize=7, pad=3)
        part.suptitle(f'Distortion.named("{name}")', color=INK, fontsize=10)
    figure.savefig(IMAGES / "distortions.png")


def draw_augmented():
    """Let the command draw what a training sees of two pictures of each drawn shape."""
    with tempfile.TemporaryDirectory() as folder:
        draw_folder(Path(folder), 10)
        sheet = ["--contact-sheet", IMAGES / "augmented.png"]
        main(["data", "inspect", folder, "--augment", "pictures-mixup", *sheet])


def draw_reasons():
    """Draw why a digit is read as it is, and a net slid over a number."""
    train, test = mnist()
    trained = open_model()
    neighbors = reasons.Neighbors(trained, train)
    chosen = [reasons.explain(trained, test.images[i], neighbors=neighbors) for i in (18, 8)]
    (IMAGES / "why.png").write_bytes(png(pictures.why(trained, chosen, neighbors=neighbors)))
    row = np.concatenate([np.pad(each, ((0, 0), (0, 4))) for each in test.images[5:11, 0]], axis=1)
    row = np.pad(row, ((0, 0), (16, 12)))
    signs = open_signs()
    found = reasons.slide(signs, row, 2)
    (IMAGES / "slide.png").write_bytes(png(pictures.slide(signs, row, found)))


def draw_probabilities():
    """Draw how honest the shipped model is, and some test images corrupted in each way."""
    _, test = mnist()
    result = evaluate(open_model(), test)
    rows = [{"kind": kind} for kind in CORRUPTIONS]
    record = {"severities": [1, 3, 5], "seed": 0, "rows": rows}
    for name, figure in (
        ("reliability", reliability(result)),
        ("rejections", rejections(result)),
        ("corruptions", corruption_sheet(test.images, record, inverted=True)),
    ):
        (IMAGES / f"{name}.png").write_bytes(png(figure))


def draw_training(run):
    trained = open_model(run / "model.safetensors")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run / "summary.json").read_text())
    _, test = mnist()
    image = test.images[:1]

    figure = plt.figure(figsize=(10, 3.6), dpi=144)
    left, right = figure.subfigures(1, 2, width_ratios=(1.5, 1))
    maps = left.subplots(
        3,
        6,
        gridspec_kw={
            "hspace": 0.12,
            "wspace": 0.08,
            "left": 0.12,
            "right": 0.98,
            "top": 0.86,
            "bottom": 0.04,
        },
    )
    x = trained.preparation(image)
    shown = {}
    for name, layer in trained.model.layers.items():
        x = layer.forward(x)
        shown[name] = x[0]
    filters = trained.model["conv1"].params["weight"][:, 0]
    strongest = abs(filters).max()
    for column in range(6):
        maps[0, column].imshow(filters[column], cmap=DIVERGING, vmin=-strongest, vmax=strongest)
        for row, name in ((1, "pool1"), (2, "pool2")):
            most = shown[name].max()
            maps[row, column].imshow(shown[name][column], cmap="gray_r", vmin=0, vmax=most)
    for ax in maps.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_color(GREY)
    for ax, text in zip(
        maps[:, 0], ("filters of\nconv1", "after\npool1", "after pool2\n(6 of 16)"), strict=True
    ):
        ax.set_ylabel(text, rotation=0, ha="right", va="center", color=INK, fontsize=8)
    for row in maps:
        bar = left.colorbar(row[-1].images[0], ax=row, fraction=0.02, pad=0.02, aspect=14)
        bar.ax.tick_params(labelsize=6, length=2)
        bar.outline.set_edgecolor(GREY)
    left.suptitle(f"What the net sees in a {test.labels[0]}", color=INK, fontsize=10)

    ax = right.subplots(gridspec_kw={"left": 0.17, "right": 0.95, "top": 0.86, "bottom": 0.16})
    epochs = [row["epoch"] for row in rows]
    for key, color, label, down in (
        ("train_accuracy", GREY, "train", -12),
        ("validation_accuracy", ACCENT, "validation", -14),
    ):
        values = 100 * np.array([row[key] for row in rows])
        ax.plot(epochs, values, color=color, marker="o", markersize=3)
        ax.annotate(
            label,
            (epochs[-1], values[-1]),
            (2, down),
            textcoords="offset points",
            color=color,
            fontsize=8,
            ha="right",
        )
    ax.set_ylim(94, 100.2)
    ax.set_xlabel("epoch", color=INK, fontsize=8)
    ax.set_ylabel("accuracy in %", color=INK, fontsize=8)
    ax.tick_params(labelsize=8, colors=INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3)
    right.suptitle(f"Test accuracy {100 * summary['test_accuracy']:.2f} %", color=INK, fontsize=10)
    figure.savefig(IMAGES / "training.png")
    shutil.copy(run / "activations.png", IMAGES)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        draw_training(Path(sys.argv[1]))
    else:
        draw_distortions()
        draw_augmented()
        draw_reasons()
        draw_probabilities()
