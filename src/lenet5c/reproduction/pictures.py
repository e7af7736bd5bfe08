"""The report's pictures, drawn by matplotlib from the record alone; the errors' pictures need the test images, too."""

from math import ceil

import numpy as np

from lenet5c import _files
from lenet5c.training.plot_style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    log_axis,
    new_figure,
    png,
    styled,
)
from lenet5c.reproduction.reported import ERRORS_SHOWN, reported

OURS, THEIRS, TRAIN, VALIDATION, REJECTED = BLUE, ORANGE, GREY, GREEN, ORANGE
COLUMNS, MOST_ERRORS = 12, 120


def draw(record, test_set, folder):
    """Draw all pictures of a record into a folder.

    Returns
    -------
    dict
        (kind, recipe) -> the file's name, with the kinds 'overview', 'curve', 'sizes' and 'errors'.
    """
    whole = {
        result["recipe"]: result for result in record["results"] if result["train_size"] is None
    }
    figures = {("overview", ""): lambda: overview(list(whole.values()))}
    for name, result in whole.items():
        figures["curve", name] = lambda result=result: curve(result)
        if points := [
            other for other in record["results"] if other["recipe"] == name and other["train_size"]
        ]:
            figures["sizes", name] = lambda result=result, points=points: sizes(
                [*points, result], record["train_count"], whole
            )
    for name in shown(list(whole)):
        if whole[name]["errors"]["index"]:
            figures["errors", name] = lambda name=name: errors(
                whole[name], test_set, record["rejected"]["index"]
            )
    files = {}
    for (kind, name), make in figures.items():
        files[kind, name] = f"{kind}{'-' if name else ''}{name}.png"
        _files.write_bytes(folder / files[kind, name], png(styled(make)()))
    for kind in ("curve", "sizes", "errors"):
        for old in sorted(
            folder.glob(f"{kind}-*.png")
        ):  # of recipes that are no longer in the record
            if old.name not in files.values():
                old.unlink()
    return files


def shown(names):
    """The recipes whose errors are shown one by one."""
    return [name for name in ERRORS_SHOWN if name in names] or names[:1]


def most_confident(columns):
    """The order in which errors are shown: the surest first, `MOST_ERRORS` at most."""
    return sorted(range(len(columns["index"])), key=lambda i: -columns["confidence"][i])[
        :MOST_ERRORS
    ]


def overview(results):
    """Test errors of all recipes, every seed a dot, beside what was reported."""
    figure = new_figure(8, 1.3 + 0.42 * len(results), layout="constrained")
    ax = figure.add_subplot()
    labels = {}
    values = []
    for row, result in enumerate(results):
        each = [100 - 100 * run["test_correct"] / run["test_count"] for run in result["runs"]]
        found = result["accuracy"]
        labels["one seed"] = ax.scatter(
            each,
            [row] * len(each),
            s=16,
            facecolors="none",
            edgecolors=OURS,
            linewidths=0.8,
            alpha=0.7,
            zorder=2,
        )
        values += each
        mean = 100 - found["mean"]
        if found["sd"] is not None:
            # The interval of two seeds can be wider than all else: the axis shows part of it.
            low, high = max(mean / 3, 100 - found["high"]), 100 - found["low"]
            ax.plot([low, high], [row, row], color=OURS, linewidth=1.5, zorder=1)
            values += [low, min(high, 3 * mean)]
        labels["mean and its 95 % interval"] = ax.scatter(
            [mean], [row], s=60, marker="|", color=OURS, linewidths=2, zorder=3
        )
        accuracy = reported(result["recipe"]).accuracy
        if accuracy is not None and reported(result["recipe"]).on == "test":
            labels["reported"] = ax.scatter(
                [100 - accuracy], [row], s=34, marker="D", color=THEIRS, zorder=4
            )
            values.append(100 - accuracy)
    ax.set_yticks(range(len(results)), [result["recipe"] for result in results])
    ax.set_ylim(len(results) - 0.5, -0.5)
    ax.set_xlabel("test error in %")
    log_axis(ax, "x", values)
    ax.grid(axis="x")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    figure.legend(labels.values(), labels.keys(), loc="outside upper center", ncols=len(labels))
    return figure


def curve(result):
    """Errors by epoch, each seed a thin line and their mean a thick one, over a published curve."""
    facts = reported(result["recipe"])
    figure = new_figure(7, 4, layout="constrained")
    ax = figure.add_subplot()
    histories = [run["history"] for run in result["runs"]]
    # Trainings may stop early; the mean is of the epochs that all have.
    epochs = min((history["epoch"] for history in histories), key=len)
    longest = max(len(history["epoch"]) for history in histories)
    thick = (
        {"linewidth": 1} if len(epochs) > 40 else {"linewidth": 2, "marker": "o", "markersize": 4}
    )
    drawn = []
    for key, colour, label in (
        ("train_accuracy", TRAIN, "training, while the model changed"),
        ("validation_accuracy", VALIDATION, "validation"),
        ("test_accuracy", OURS, "test"),
    ):
        if key not in histories[0]:
            continue
        each = [100 - 100 * np.array(history[key]) for history in histories]
        for line in each if len(each) > 1 else ():
            ax.plot(range(1, len(line) + 1), line, color=colour, linewidth=0.6, alpha=0.45)
        ax.plot(
            epochs,
            np.mean([line[: len(epochs)] for line in each], axis=0),
            color=colour,
            label=label,
            **thick,
        )
        drawn += np.concatenate(each).tolist()
    for published, colour, label in (
        (facts.train_errors, TRAIN, "training, as published"),
        (facts.test_errors, THEIRS, "test, as published"),
    ):
        if published:
            ax.plot(
                range(1, len(published) + 1),
                published,
                color=colour,
                linewidth=1.2,
                linestyle="--",
                marker="s",
                markersize=3.5,
                markerfacecolor="white",
                label=label,
            )
            drawn += published
    log_axis(ax, "y", drawn)
    last = max(longest, len(facts.test_errors))
    ax.set_xlim(0.5, last + 0.5) if last < 40 else ax.set_xlim(0, last)
    if last <= 21:
        ax.set_xticks(range(1, last + 1))
    ax.set_xlabel("epoch")
    ax.set_ylabel("error in %")
    count = len(histories)
    ax.set_title(
        f"{result['recipe']}: "
        + (f"mean of {count} trainings, each a thin line" if count > 1 else "one training")
        + ("; a line ends where errors do" if min(drawn) == 0 else "")
    )
    ax.grid()
    ax.legend()
    return figure


def sizes(results, last, whole):
    """Test error by the number of training images, `last` of them in all, with the published points."""
    facts = reported(results[0]["recipe"])
    figure = new_figure(6.4, 4, layout="constrained")
    ax = figure.add_subplot()
    found = [(result["train_size"] or last, result["accuracy"]) for result in results]
    ax.plot(
        *zip(*facts.sizes.items(), strict=True),
        color=THEIRS,
        linestyle="--",
        marker="s",
        markerfacecolor="white",
        label="as published",
    )
    ax.errorbar(
        [size for size, _ in found],
        [100 - each["mean"] for _, each in found],
        [each["sd"] or 0 for _, each in found],
        color=OURS,
        marker="o",
        capsize=3,
        linewidth=2,
        label="ours, mean and standard deviation",
    )
    distorted = f"{results[0]['recipe']}-distorted"
    for size, error in reported(distorted).sizes.items():
        ax.plot(
            [size],
            [error],
            color=THEIRS,
            marker="D",
            markerfacecolor="white",
            linestyle="none",
            label="with distortions, as published",
        )
    if distorted in whole:
        each = whole[distorted]["accuracy"]
        ax.errorbar(
            [last],
            [100 - each["mean"]],
            [each["sd"] or 0],
            color=OURS,
            marker="D",
            capsize=3,
            linestyle="none",
            label="with distortions, ours",
        )
    ax.set_xlim(0, 1.08 * last)
    ax.set_ylim(bottom=0)
    ax.set_xticks(sorted(facts.sizes), [f"{size:,}" for size in sorted(facts.sizes)])
    ax.set_xlabel("training images")
    ax.set_ylabel("test error in %")
    ax.grid()
    ax.legend()
    return figure


def errors(result, test_set, rejected):
    """The test images that the model has wrong, the surest error first; `rejected` labels are marked."""
    columns = result["errors"]
    order = most_confident(columns)
    across = min(COLUMNS, len(order))
    rows = ceil(len(order) / across)
    figure = new_figure(max(5.0, 0.85 * across), 0.5 + 1.04 * rows, layout="constrained")
    axes = figure.subplots(rows, across, squeeze=False)
    for ax in axes.flat[len(order) :]:
        ax.set_axis_off()
    for ax, i in zip(axes.flat, order, strict=False):
        index = columns["index"][i]
        names = [test_set.class_names[columns[key][i]] for key in ("label", "predicted")]
        picture = test_set.images[index].transpose(1, 2, 0)
        ax.imshow(
            picture if picture.shape[2] == 3 else picture[:, :, 0], cmap="gray_r", vmin=0, vmax=255
        )
        ax.set(xticks=[], yticks=[])
        marked = index in rejected
        colour = REJECTED if marked else INK
        ax.spines[:].set(
            visible=True, color=REJECTED if marked else PALE, linewidth=2.2 if marked else 0.6
        )
        ax.set_title(
            f"{names[0]} → {names[1]}",
            fontsize=8,
            color=colour,
            fontweight="bold" if marked else "normal",
            pad=2,
        )
        ax.set_xlabel(f"{index}", fontsize=6.5, color=colour, labelpad=1.5)
    some = f"the {len(order)} surest of " if len(order) < len(columns["index"]) else ""
    note = (
        ". Framed: the label itself is rejected by raters"
        if set(rejected) & set(columns["index"])
        else ""
    )
    figure.suptitle(
        f"{result['recipe']}: {some}{len(columns['index'])} errors, label → prediction{note}",
        fontsize=9,
    )
    return figure
