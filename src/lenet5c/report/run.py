"""Pictures and HTML page of a training run."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from lenet5c import _files
from lenet5c._optional import require
from lenet5c._text import command_line
from lenet5c.errors import MissingExtraError, RunError
from lenet5c.nn import Conv2d
from lenet5c.recipes import RECIPES, Run
from lenet5c.recipes.custom_net import name_net
from lenet5c.recipes.setting import in_words
from lenet5c.report import page
from lenet5c.report.pictures import activations, curves, filters, why_wrong
from lenet5c.report.results import (
    accuracy_card,
    confusion_section,
    describe_interval,
    draw_all,
    duration,
    errors_section,
    result_makers,
)
from lenet5c.training import Evaluation, TrainedModel
from lenet5c.training.loss_terms import describe_loss
from lenet5c.training.run_folder import RunFolder

PICTURES = ("curves", "confusion", "errors", "why", "filters", "activations")
PAGE = "report.html"
FILES = (PAGE, *(f"{name}.png" for name in PICTURES))
Pictures = dict[str, bytes]  # PNG files by name


def leave_report(
    run: Run, on_message: Callable[[str], object], warn: Callable[[str], object]
) -> None:
    """Write pictures and a page of a finished run, unless they exist.

    `warn` is called with a line for each failure, `on_message` with a line on the written files.
    """
    began = time.perf_counter()
    files = cast(RunFolder, run.folder)
    folder = files.path
    again = f"{command_line('train', '--resume', '--out', folder)} to draw them"
    try:
        if complete(folder):
            return
        require("matplotlib", "plots", "pictures of a run")
        with files.lock(names=FILES):
            failures = write_report(run, folder)
    except MissingExtraError:
        on_message("For pictures of each run and a report: pip install 'lenet5c[plots]'")
    except (Exception, KeyboardInterrupt) as error:
        warn(f"no report: {_one_line(error)}; run {again}")
    else:
        for name, failure in failures.items():
            warn(f"no {name}.png: {_one_line(failure)}; {again}")
        on_message(
            f"Pictures and a report in {folder / PAGE} ({time.perf_counter() - began:.1f} s)"
        )


def _one_line(error: BaseException) -> str:
    """Format an exception as one line, with its type if it was not expected."""
    kind = "" if isinstance(error, RunError) else type(error).__name__
    return f"{kind} {error}".strip().replace("\n", " ")


def complete(folder: Path) -> bool:
    """Return True if the folder of a run has all current files of `write_report`."""
    files, ends = [folder / name for name in FILES], RunFolder(folder).summary_file
    return all(file.exists() for file in files) and (
        not ends.exists() or files[0].stat().st_mtime_ns >= ends.stat().st_mtime_ns
    )


def write_report(run: Run, folder: Path) -> dict[str, Exception]:
    """Write the pictures of a finished run, and a page with them, to its folder.

    Returns
    -------
    dict
        Exceptions by name of the pictures that could not be drawn, which are missing on the page.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    OSError
        If the folder is not writable.
    """
    require("matplotlib", "plots", "pictures of a run")
    test, trained, result = run.source.test, run.trained, run.evaluation
    kept = (run.summary or {}).get("kept_epoch")
    inverted, terms = trained.inverted, describe_loss(run.trainer)
    right = np.flatnonzero(result.right)
    example = int(right[0]) if len(right) else 0
    makers = {"curves": lambda: curves(run.history, kept_epoch=kept, loss=terms)}
    makers |= result_makers(test, result, trained.class_names, inverted)
    makers["why"] = lambda: why_wrong(trained, test, result, run.trainer.train_set)
    if any(isinstance(layer, Conv2d) for layer in trained.model.all_layers()):
        makers["filters"] = lambda: filters(trained.model)
    makers |= {
        "activations": lambda: activations(
            trained,
            test.images[example],
            title=f"Test image {example}",
            label=test.labels[example],
            inverted=inverted,
        )
    }
    pictures, failures = draw_all(makers)
    for name, content in pictures.items():
        _files.write_bytes(folder / f"{name}.png", content)
    _files.write_bytes(folder / PAGE, run_page(run, folder.resolve(), pictures).encode())
    return failures


def run_page(run: Run, folder: Path, pictures: Pictures) -> str:
    """Return the page of a finished run for its folder, with its pictures as PNG files by name."""
    config, summary, trained, result = run.config, run.summary or {}, run.trained, run.evaluation
    recipe = RECIPES[config.recipe]
    shape = " × ".join(map(str, trained.image_shape or ()))
    lead = (
        f"{type(trained.model).__name__} with {trained.model.num_params:,} parameters, trained on "
        f"{'MNIST' if config.data == 'mnist' else config.data} with the recipe {config.recipe} "
        f"({recipe.summary}). lenet5c {summary['lenet5c']}, seed {config.seed}."
    )
    kept = f"weights of epoch {summary['kept_epoch']}" if "kept_epoch" in summary else ""
    cards: list[tuple[str, Any, str]] = [
        accuracy_card(result),
        ("loss on the test images", f"{result.loss:.4f}", "mean cross-entropy only"),
    ]
    if "validation_accuracy" in summary:
        share, count = summary["validation_accuracy"], summary["validation_count"]
        interval = describe_interval(round(share * count), count)
        text = f"in the epoch of the final weights; {interval}"
        cards.append(("accuracy on validation images", f"{100 * share:.2f} %", text))
    held_out = run.trainer.validation_set
    if "calibration_count" in summary:
        fitted = (
            f"fitted on the {summary['calibration_count']:,} validation "
            f"images: NLL {summary['nll_after']:.4f}, {summary['nll_before']:.4f} at temperature 1"
        )
    else:
        given = config.settings.temperature is not None
        fitted = "as set" if given else "not fitted: no validation images"
    cards.append(("temperature", f"{summary['temperature']:.4g}", fitted))
    cards += [
        (
            "training images",
            f"{len(run.trainer.train_set):,}",
            f"and {len(held_out):,} for validation" if held_out else "no validation images",
        ),
        ("epochs", summary["epochs"], kept),
        (
            "time",
            duration(summary["seconds"]),
            "until evaluation, since the run was resumed"
            if summary.get("resumed")
            else "until evaluation",
        ),
        ("machine", f"{summary['kernels']}", f"kernels, on {summary['threads']} threads"),
        ("classes", len(trained.class_names), f"images of {shape} (channels, height, width)"),
    ]
    return page.page(
        f"lenet5c run {folder.name}",
        page.heading(f"Run {folder.name}", lead),
        page.facts(*cards),
        page.section(
            "Command to repeat the run",
            page.preformatted(config.command(), command=True),
            page.paragraph(
                "The same data and version give bit-identical weights with any number of threads."
            ),
        ),
        _curves(pictures, run),
        confusion_section(pictures, result, trained.class_names),
        errors_section(pictures, run.source.test, result, folder),
        _reasons(pictures, result),
        _inside(pictures, trained),
        _settings(config.to_dict(), recipe.to_dict()),
    )


def _curves(pictures: Pictures, run: Run) -> str:
    if "curves" not in pictures:
        return ""
    history = run.history
    distortion = run.config.settings.distortion or {}
    augmented = ", on distorted images" if distortion else ""
    if distortion.get("mixup"):
        augmented = ", on mixed images, whose label is that of the larger part"
    caption = (
        "Loss and accuracy after each epoch. Training values are running means over the "
        f"epoch{augmented}, so validation values may be better."
    )
    if terms := describe_loss(run.trainer):
        caption += f" The loss is {terms}; the test loss above is cross-entropy only."
    if len(history) > 1:
        caption += " The accuracy axis is stretched near 100 %."
    if not any("validation_loss" in row for row in history):
        caption += " There is no validation set."
    return page.section(
        "Learning curves", page.picture(pictures["curves"], caption, "Loss and accuracy by epoch")
    )


def _reasons(pictures: Pictures, result: Evaluation) -> str:
    if "why" not in pictures:
        return ""
    title, shown, to = (
        "Explanations of misclassified images",
        "most confident mistakes",
        "the true label",
    )
    if result.correct == result.count:
        title, shown, to = "Least confident predictions", "least probable predictions", "another"
    caption = (
        f"Explanations of the {shown}, true → predicted label. Gradient: change of the predicted "
        "class's logit with each pixel, from no ink to full ink (mean over noisy images). "
        "Grad-CAM: regions that support the predicted class. Occlusion: decrease of its logit when "
        "a patch of 5 by 5 pixels is covered. Red supports the predicted class, blue opposes it. "
        f"Then the smallest change found that changes the prediction to {to}, with its Euclidean "
        "norm, and its difference (red is added, blue removed). Last, the nearest training images "
        "by the features of the last hidden layer, with their labels."
    )
    drawn = page.picture(pictures["why"], caption, "Explanations of predictions")
    return page.section(title, drawn)


def _inside(pictures: Pictures, trained: TrainedModel) -> str:
    layers = trained.model.all_layers()
    partly = any(getattr(layer, "connection_table", None) is not None for layer in layers)
    of_filters = (
        "The filters of the convolutions. Red weights are positive and respond to ink, blue "
        "weights are negative, white is zero; each layer has its own color scale."
    )
    if (trained.image_shape or (1,))[0] == 3:
        of_filters += (
            " The first row shows the filters in color, with gray for zero; the red, green and "
            "blue components are below."
        )
    if partly:
        of_filters += (
            " Gray squares are maps that are not connected (table I of LeCun et al., 1998)."
        )
    of_layers = (
        "Activations of each layer for one test image: the maps of the convolution and pooling "
        "layers, then the units of the last layers. Red is positive, blue negative; each layer has "
        "its own color scale. The most probable classes are at the top."
    )
    pairs = (
        ("filters", of_filters, "Filters of the convolutions"),
        ("activations", of_layers, "Activations of each layer for a test image"),
    )
    drawn = [page.picture(pictures[name], *texts) for name, *texts in pairs if name in pictures]
    summary = trained.model.summary(trained.input_shape)
    return page.section("Inside the net", *drawn, page.preformatted(summary))


def _settings(config: dict[str, Any], usual: dict[str, Any]) -> str:
    rows: list[list[str]] = []
    changed: list[int] = []
    for key, value in config.items():
        own, before = (
            name_net(each) if key == "net" else in_words(each)
            for each in (value, usual.get(key, value))
        )
        if own != before:
            changed.append(len(rows))
        rows.append([key, own, "" if own == before else before])
    text = "The settings in config.json."
    text += " Rows in bold differ from the recipe." if changed else ""
    table = page.table(["setting", "value", "in the recipe"], rows, marked=changed)
    return page.section("Configuration", page.paragraph(text), table)
