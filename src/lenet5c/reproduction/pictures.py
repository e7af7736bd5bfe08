"""Pictures of a report, drawn from its record; those of errors also need the test images."""

from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from lenet5c import _files
from lenet5c.datasets import Dataset
from lenet5c.recipes import reported
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

COLUMNS, MAX_ERRORS = 12, 120
#: Recipes whose errors are shown individually; the first one of the report if it has none of them.
ERRORS_SHOWN = ("best", "paper1998-distorted")
Result = dict[str, Any]  # a record, one of its results, or columns
HOLLOW: dict[str, Any] = {"marker": "s", "markerfacecolor": "white", "linestyle": "--"}


def draw(record: Result, test_set: Dataset, folder: Path) -> dict[tuple[str, str], str]:
    """Draw all pictures of a record into a folder; return file names by (kind, recipe).

    The kinds are 'overview' (of all recipes), 'curve', 'sizes' and 'errors'.
    """
    results = record["results"]
    whole = {result["recipe"]: result for result in results if result["train_size"] is None}
    figures: dict[tuple[str, str], Callable[[], Any]] = {
        ("overview", ""): partial(overview, list(whole.values()))
    }
    for name, result in whole.items():
        if result["epochs"] > 1 or reported(name).test_errors:  # otherwise a single point
            figures["curve", name] = partial(curve, result)
        if points := [each for each in results if each["recipe"] == name and each["train_size"]]:
            figures["sizes", name] = partial(sizes, [*points, result], record["train_count"], whole)
    for name in choose_shown(list(whole)):
        if whole[name]["errors"]["index"]:
            rejected = record["rejected"]["index"]
            figures["errors", name] = partial(errors, whole[name], test_set, rejected)
    files = {key: "-".join(filter(None, key)) + ".png" for key in figures}
    for key, make in figures.items():
        _files.write_bytes(folder / files[key], png(styled(make)()))
    for kind in ("curve", "sizes", "errors"):
        for old in sorted(folder.glob(f"{kind}-*.png")):  # of recipes no longer in the record
            if old.name not in files.values():
                old.unlink()
    return files


def choose_shown(names: list[str]) -> list[str]:
    """Return the recipes whose errors are shown individually."""
    return [name for name in ERRORS_SHOWN if name in names] or names[:1]


def most_confident(columns: Result) -> list[int]:
    """Return the indices of the errors to show: at most `MAX_ERRORS`, most confident first."""
    confidence = columns["confidence"]
    return sorted(range(len(confidence)), key=lambda i: -confidence[i])[:MAX_ERRORS]


def overview(results: list[Result]) -> Any:
    """Draw the test errors of all recipes, one dot per seed, and the reported ones."""
    figure = new_figure(8, 1.3 + 0.42 * len(results), layout="constrained")
    ax = figure.add_subplot()
    labels: dict[str, Any] = {}
    values: list[float] = []
    dots: dict[str, Any] = {
        "s": 16,
        "facecolors": "none",
        "edgecolors": BLUE,
        "linewidths": 0.8,
        "alpha": 0.7,
    }
    for row, result in enumerate(results):
        each = [100 - 100 * run["test_correct"] / run["test_count"] for run in result["runs"]]
        labels["one seed"] = ax.scatter(each, [row] * len(each), zorder=2, **dots)
        values += each
        found = result["accuracy"]
        mean = 100 - found["mean"]
        if found["sd"] is not None:
            # The interval of two seeds can be very wide, so the axis may show only part of it.
            low, high = max(mean / 3, 100 - found["high"]), 100 - found["low"]
            ax.plot([low, high], [row, row], color=BLUE, linewidth=1.5, zorder=1)
            values += [low, min(high, 3 * mean)]
        labels["mean with 95 % interval"] = ax.scatter(
            [mean], [row], s=60, marker="|", color=BLUE, linewidths=2, zorder=3
        )
        facts = reported(result["recipe"])
        if facts.accuracy is not None and facts.on == "test":
            error = 100 - facts.accuracy
            labels["reported"] = ax.scatter(
                [error], [row], s=34, marker="D", color=ORANGE, zorder=4
            )
            values.append(error)
    ax.set_yticks(range(len(results)), [result["recipe"] for result in results])
    ax.set_ylim(len(results) - 0.5, -0.5)
    ax.set_xlabel("test error in %")
    log_axis(ax, "x", values)
    ax.grid(axis="x")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    figure.legend(labels.values(), labels.keys(), loc="outside upper center", ncols=len(labels))
    return figure


def curve(result: Result) -> Any:
    """Draw errors by epoch: thin lines for seeds, a thick one for the mean, published ones."""
    facts = reported(result["recipe"])
    figure = new_figure(7, 4, layout="constrained")
    ax = figure.add_subplot()
    histories = [run["history"] for run in result["runs"]]
    # Training may stop early; the mean is over the epochs that all runs have.
    epochs = min((history["epoch"] for history in histories), key=len)
    longest = max(len(history["epoch"]) for history in histories)
    thick: dict[str, Any] = (
        {"linewidth": 1} if len(epochs) > 40 else {"linewidth": 2, "marker": "o"}
    )
    drawn: list[float] = []
    for key, color, label in (
        ("train_accuracy", GREY, "training (mean over the epoch)"),
        ("validation_accuracy", GREEN, "validation"),
        ("test_accuracy", BLUE, "test"),
    ):
        if key not in histories[0]:
            continue
        each = [100 - 100 * np.array(history[key]) for history in histories]
        for line in each if len(each) > 1 else ():
            ax.plot(range(1, len(line) + 1), line, color=color, linewidth=0.6, alpha=0.45)
        mean = np.mean([line[: len(epochs)] for line in each], axis=0)
        ax.plot(epochs, mean, color=color, label=label, markersize=4, **thick)
        drawn += np.concatenate(each).tolist()
    for published, color, label in (
        (facts.train_errors, GREY, "training, as published"),
        (facts.test_errors, ORANGE, "test, as published"),
    ):
        if published:
            steps = range(1, len(published) + 1)
            ax.plot(
                steps, published, color=color, linewidth=1.2, markersize=3.5, label=label, **HOLLOW
            )
            drawn += list(published)
    log_axis(ax, "y", drawn)
    last = max(longest, len(facts.test_errors))
    ax.set_xlim(0.5, last + 0.5) if last < 40 else ax.set_xlim(0, last)
    if last <= 21:
        ax.set_xticks(range(1, last + 1))
    ax.set_xlabel("epoch")
    ax.set_ylabel("error in %")
    count = len(histories)
    title = f"mean of {count} runs, shown as thin lines" if count > 1 else "one run"
    ends = "; a line ends where the error is 0" if min(drawn) == 0 else ""
    ax.set_title(f"{result['recipe']}: {title}{ends}")
    ax.grid()
    ax.legend()
    return figure


def sizes(results: list[Result], last: int, whole: dict[str, Result]) -> Any:
    """Draw test errors by the number of training images (up to `last`), and published ones."""
    facts = reported(results[0]["recipe"])
    figure = new_figure(6.4, 4, layout="constrained")
    ax = figure.add_subplot()
    counts = [result["train_size"] or last for result in results]
    ax.plot(*zip(*facts.sizes.items(), strict=True), color=ORANGE, label="as published", **HOLLOW)
    label = "ours, mean and standard deviation"
    select_errors(ax, counts, results, marker="o", linewidth=2, label=label)
    distorted = f"{results[0]['recipe']}-distorted"
    points = {"marker": "D", "linestyle": "none"}
    for size, error in reported(distorted).sizes.items():
        label = "with distortions, as published"
        ax.plot([size], [error], color=ORANGE, label=label, **HOLLOW | points)
    if distorted in whole:
        select_errors(ax, [last], [whole[distorted]], label="with distortions, ours", **points)
    ax.set_xlim(0, 1.08 * last)
    ax.set_ylim(bottom=0)
    ax.set_xticks(sorted(facts.sizes), [f"{size:,}" for size in sorted(facts.sizes)])
    ax.set_xlabel("training images")
    ax.set_ylabel("test error in %")
    ax.grid()
    ax.legend()
    return figure


def select_errors(ax: Any, counts: list[int], results: list[Result], **style: Any) -> None:
    """Draw test errors with their standard deviations by the number of training images."""
    found = [result["accuracy"] for result in results]
    means, deviations = [100 - each["mean"] for each in found], [each["sd"] or 0 for each in found]
    ax.errorbar(counts, means, deviations, color=BLUE, capsize=3, **style)


def errors(result: Result, test_set: Dataset, rejected: list[int]) -> Any:
    """Draw the misclassified test images, most confident first, marking `rejected` labels."""
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
        picture = picture if picture.shape[2] == 3 else picture[:, :, 0]
        ax.imshow(picture, cmap="gray_r", vmin=0, vmax=255)
        ax.set(xticks=[], yticks=[])
        marked = index in rejected
        color, weight = (ORANGE, "bold") if marked else (INK, "normal")
        edge, width = (ORANGE, 2.2) if marked else (PALE, 0.6)
        ax.spines[:].set(visible=True, color=edge, linewidth=width)
        title = f"{names[0]} → {names[1]}"
        ax.set_title(title, fontsize=8, color=color, fontweight=weight, pad=2)
        ax.set_xlabel(f"{index}", fontsize=6.5, color=color, labelpad=1.5)
    count = len(columns["index"])
    some = f"the {len(order)} most confident of " if len(order) < count else ""
    found = set(rejected) & set(columns["index"])
    note = ". Framed: labels rejected by raters" if found else ""
    title = f"{result['recipe']}: {some}{count} errors, label → prediction{note}"
    figure.suptitle(title, fontsize=9)
    return figure
