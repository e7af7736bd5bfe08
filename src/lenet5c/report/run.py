"""The pictures and the page that a training leaves beside its model."""

import shlex
import time

import numpy as np

from lenet5c import _files
from lenet5c._optional import require
from lenet5c.commands.cli import say, warn
from lenet5c.errors import MissingExtraError
from lenet5c.recipes import RECIPES
from lenet5c.recipes.recipe import Recipe
from lenet5c.report import page
from lenet5c.report.pictures import activations, curves, filters
from lenet5c.report.repeat import repeat_command
from lenet5c.report.results import (
    accuracy_card,
    confusion_section,
    draw_all,
    duration,
    errors_section,
    result_makers,
)
from lenet5c.training import evaluate, open_model

PICTURES = ("curves", "confusion", "errors", "filters", "activations")
PAGE = "report.html"


def leave_report(prog, trainer, source, folder, config, summary, quiet):
    """Pictures and a page of a finished run, if it has none yet; whatever goes wrong here, the run has not failed.

    Parameters
    ----------
    prog : str
        Who warns.
    trainer : lenet5c.training.Trainer
        Of the run: its history, and the data it was given.
    source : lenet5c.datasets.Source
    folder : lenet5c.training.run_folder.RunFolder
    config, summary : dict
    quiet : bool
        Print warnings only.
    """
    began = time.perf_counter()
    again = f"lenet5c train --resume --out {shlex.quote(str(folder.path))} draws them"
    counts = (
        len(trainer.train_set),
        0 if trainer.validation_set is None else len(trainer.validation_set),
    )
    try:
        if complete(folder.path):
            return
        trained = open_model(folder.path)  # a resumed trainer has not
        failures = write_report(
            folder.path, config, summary, trainer.history, trained, source, counts
        )
    except MissingExtraError:
        if not quiet:
            say("For pictures of each run and a report: pip install 'lenet5c[plots]'")
    except (Exception, KeyboardInterrupt) as error:
        warn(prog, f"no report: {_one_line(error)}; {again}")
    else:
        for name, failure in failures.items():
            warn(prog, f"no {name}.png: {_one_line(failure)}; {again}")
        if not quiet:
            say(
                f"Pictures and a report in {folder.path / PAGE} ({time.perf_counter() - began:.1f} s)"
            )


def _one_line(error):
    """An exception that nobody foresaw, as a line."""
    return f"{type(error).__name__} {error}".strip().replace("\n", " ")


def complete(folder):
    """Whether the folder of a run has all that `write_report` writes."""
    return all((folder / name).exists() for name in (PAGE, *(f"{name}.png" for name in PICTURES)))


def write_report(folder, config, summary, history, trained, source, counts):
    """Draw the pictures of a finished run and write them, and a page with all of them, into its folder.

    Parameters
    ----------
    folder : Path
    config, summary : dict
        What config.json and summary.json hold.
    history : list of dict
        As in `lenet5c.training.Trainer.history`.
    trained : lenet5c.training.TrainedModel
    source : lenet5c.datasets.Source
    counts : (int, int)
        Images that were trained on, and validation images.

    Returns
    -------
    dict
        Name of a picture -> the exception, of those that could not be drawn; the page goes without them.

    Raises
    ------
    lenet5c.errors.MissingExtraError
        matplotlib is not installed.
    OSError
        The folder cannot be written to.
    """
    require("matplotlib", "plots", "pictures of a run")
    test = source.test
    inverted = trained.reading == "ink"
    result = evaluate(trained, test)
    right = np.flatnonzero(result.labels == result.predictions)
    example = int(right[0]) if len(right) else 0
    makers = {"curves": lambda: curves(history, kept_epoch=summary.get("kept_epoch"))}
    makers |= result_makers(test, result, trained.class_names, inverted)
    makers |= {
        "filters": lambda: filters(trained.model),
        "activations": lambda: activations(
            trained,
            test.images[example],
            title=f"Test image {example}",
            label=test.labels[example],
            inverted=inverted,
        ),
    }
    pictures, failures = draw_all(makers)
    for name, content in pictures.items():
        _files.write_bytes(folder / f"{name}.png", content)
    html = run_page(
        folder.resolve().name, config, summary, history, trained, result, counts, pictures
    )
    _files.write_bytes(folder / PAGE, html.encode())
    return failures


def run_page(name, config, summary, history, trained, result, counts, pictures):
    """The page as HTML; arguments as of `write_report`."""
    data = config["data"]
    recipe = RECIPES.get(config["recipe"])
    shape = " × ".join(map(str, trained.image_shape))
    lead = (
        f"{type(trained.model).__name__} with {trained.model.num_params:,} parameters, trained on "
        f"{'MNIST' if data == 'mnist' else data} by the recipe {config['recipe']}"
        + (f" ({recipe.summary})" if recipe and recipe.summary else "")
        + f". lenet5c {summary['lenet5c']}, seed {config['seed']}."
    )
    kept = (
        f"the weights are those of epoch {summary['kept_epoch']}" if "kept_epoch" in summary else ""
    )
    cards = [
        accuracy_card(result),
        ("loss on the test images", f"{result.loss:.4f}", "mean cross-entropy"),
    ]
    if "validation_accuracy" in summary:
        validated = f"{100 * summary['validation_accuracy']:.2f} %"
        cards.append(("accuracy on validation images", validated, "in the epoch of the weights"))
    cards += [
        (
            "training images",
            f"{counts[0]:,}",
            f"and {counts[1]:,} to validate" if counts[1] else "none held out",
        ),
        ("epochs", summary["epochs"], kept),
        (
            "time",
            duration(summary["seconds"]),
            "until the test, since the run was resumed"
            if summary.get("resumed")
            else "until the test",
        ),
        ("machine", f"{summary['kernels']}", f"kernels, on {summary['threads']} threads"),
        ("classes", len(trained.class_names), f"images of {shape} (channels, height, width)"),
    ]
    return page.page(
        f"lenet5c run {name}",
        page.heading(f"Run {name}", lead),
        page.facts(*cards),
        page.section(
            "Do it again",
            page.preformatted(repeat_command(config), command=True),
            page.paragraph(
                "The same data and version give the same weights to the last bit, on any number of threads."
            ),
        ),
        _curves(pictures, history, config),
        confusion_section(pictures, result, trained.class_names),
        errors_section(pictures, result),
        _inside(pictures, trained),
        _settings(config, recipe),
    )


def _curves(pictures, history, config):
    if "curves" not in pictures:
        return ""
    distorted = ", and of distorted images" if config.get("distortion") else ""
    caption = (
        f"Loss and accuracy after each epoch. The training figures are means over the epoch, while the net was "
        f"changing{distorted}; so validation may well look better."
    )
    if len(history) > 1:
        caption += " Where accuracies come near 100 %, their axis is stretched there."
    if not any("validation_loss" in row for row in history):
        caption += " No images were held out to validate."
    return page.section(
        "How the training went",
        page.picture(pictures["curves"], caption, "Loss and accuracy by epoch"),
    )


def _inside(pictures, trained):
    layers = trained.model.layers.values()
    partly = any(getattr(layer, "connection_table", None) is not None for layer in layers)
    of_filters = (
        "The filters of the convolutions. Blue weights are positive and answer to ink, orange ones are negative, white "
        "is zero; each layer is coloured against its own largest weights."
    )
    if trained.image_shape[0] == 3:
        of_filters += (
            " The first row has the filters on the three colours together, grey meaning zero."
        )
    if partly:
        of_filters += " Grey squares are maps that are not connected, as table I of LeCun et al. (1998) has it."
    of_layers = (
        "One test image on its way through the net, a line for each layer: the maps of the convolutions and poolings, "
        "then the units of the last layers in a row. Blue is positive, orange negative, each layer against its own "
        "largest value. On top the classes that the net finds most probable."
    )
    return page.section(
        "Inside the net",
        page.picture(pictures["filters"], of_filters, "Filters of the convolutions")
        if "filters" in pictures
        else "",
        page.picture(pictures["activations"], of_layers, "What each layer makes of a test image")
        if "activations" in pictures
        else "",
        page.preformatted(trained.model.summary()),
    )


def _settings(config, recipe):
    usual = (recipe or Recipe()).to_dict()
    rows, changed = [], []
    for key, value in config.items():
        other = key in usual and _words(value) != _words(usual[key])
        if other:
            changed.append(len(rows))
        rows.append([key, _words(value), _words(usual[key]) if other else ""])
    return page.section(
        "Configuration",
        page.paragraph(
            "What config.json beside this page holds."
            + (" Rows in bold differ from the recipe." if changed else "")
        ),
        page.table(["setting", "value", "in the recipe"], rows, marked=changed),
    )


def _words(value):
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(each)}" for key, each in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_words, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
