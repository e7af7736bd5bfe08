"""Common parts of the pages of runs and evaluations: pictures and tables of results."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lenet5c._text import plain
from lenet5c.datasets import Dataset
from lenet5c.report import page
from lenet5c.report.matrix import NUMBERED
from lenet5c.report.mistakes import find_file, link
from lenet5c.report.pictures import confusion, errors
from lenet5c.report.samples import SLOTS
from lenet5c.report.tables import score_texts
from lenet5c.training import Evaluation, confused_pairs, wilson_interval
from lenet5c.training.plot_style import png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS = 10


def draw_all(
    makers: Mapping[str, Callable[[], "Figure"]],
) -> tuple[dict[str, bytes], dict[str, Exception]]:
    """Draw figures, continuing if one fails.

    Parameters
    ----------
    makers : dict
        Functions that create the figures, by name.

    Returns
    -------
    pictures : dict
        Bytes of PNG files, by name.
    failures : dict
        Exceptions, by name.
    """
    pictures, failures = {}, {}
    for name, make in makers.items():
        try:
            pictures[name] = png(make())
        except Exception as error:  # the results are still valid without pictures
            failures[name] = error
    return pictures, failures


def result_makers(
    dataset: Dataset, result: Evaluation, class_names: Sequence[str], inverted: bool
) -> dict[str, Callable[[], "Figure"]]:
    """Return the pictures of results, for `draw_all`."""
    return {
        "confusion": lambda: confusion(result.matrix, class_names),
        "errors": lambda: errors(dataset, result, class_names, inverted=inverted),
    }


def accuracy_card(result: Evaluation, part: str | None = "test") -> tuple[str, str, str]:
    """Return the accuracy as a card for `page.facts`."""
    return (
        f"{part} accuracy" if part else "accuracy",
        f"{100 * result.accuracy:.2f} %",
        f"{describe_interval(result.correct, result.count)} (Wilson score interval)",
    )


def describe_interval(correct: int, count: int) -> str:
    """Return the interval of an accuracy as text."""
    low, high = wilson_interval(correct, count)
    interval = f"95 % interval {100 * low:.2f} to {100 * high:.2f} %"
    return f"{correct:,} of {count:,} images; {interval}"


def confusion_section(
    pictures: Mapping[str, bytes], result: Evaluation, class_names: Sequence[str]
) -> str:
    """Return the confusion matrix, the most frequent mistakes and the scores of each class."""
    names = [plain(name) for name in class_names]
    scores = result.scores
    rows = [
        [name, f"{scores.count[i]:,}", *score_texts(scores, i, "", "–")]
        for i, name in enumerate(names)
    ]
    means = (f"{100 * value:.2f}" for value in scores.macro)
    rows.append(["mean", f"{result.count:,}", *means])
    pairs = confused_pairs(result.matrix, PAIRS)
    told = "; ".join(f"{names[a]} → {names[b]} ({count:,})" for a, b, count in pairs)
    caption = (
        "Rows are true labels, columns are predicted labels; cells are numbers of images. "
        "Correct predictions are blue, on the diagonal; misclassified images are orange, darker "
        "for a larger fraction of the row."
    )
    if len(names) > NUMBERED and pairs:
        caption += " The most confused classes are repeated below with counts."
    if len(names) <= NUMBERED or pairs:
        caption += " The recall of each class is shown on the right, its precision at the top."
    shown = pictures.get("confusion")
    return page.section(
        "Confusion matrix",
        page.picture(shown, caption, "Confusion matrix") if shown else "",
        page.paragraph(
            f"Most frequent mistakes, true → predicted label: {told}."
            if pairs
            else "No images are misclassified."
        ),
        page.table(
            ["class", "images", "precision %", "recall %", "F1 %"],
            rows,
            numbers=(1, 2, 3, 4),
            marked=(len(names),),
        ),
        page.paragraph(
            "Precision: fraction of the images with this predicted label that have this true "
            "label. Recall: fraction of the images with this true label that have this predicted "
            "label. F1: their harmonic mean."
        ),
    )


def errors_section(
    pictures: Mapping[str, bytes], dataset: Dataset, result: Evaluation, folder: Path
) -> str:
    """Return the picture of misclassified images, '' if there are none.

    If the images have files or ids, a table lists them, with links for a page in `folder`.
    """
    wrong = result.count - result.correct
    if not wrong or not (dataset.ids or "errors" in pictures):
        return ""
    some = f"The {wrong:,} misclassified images" if wrong > 1 else "The misclassified image"
    if wrong > SLOTS:
        some = f"{SLOTS} of {wrong:,} misclassified images"
    median = np.median(result.confidences[result.worst()])
    origin = "its file or id" if dataset.ids else "the index of the image"
    caption = (
        f"{some}, most confident first: true → predicted label, below it the probability of "
        f"the predicted label and {origin}. Half of all misclassified images have a probability "
        f"below {100 * median:.0f} %."
    )
    shown = pictures.get("errors")
    return page.section(
        "Misclassified images",
        page.picture(shown, caption, "Misclassified images") if shown else "",
        _list_errors(dataset, result, folder) if dataset.ids else "",
    )


def _list_errors(dataset: Dataset, result: Evaluation, folder: Path) -> str:
    rows = []
    for i in result.worst(SLOTS).tolist():
        file, name = find_file(dataset, i), plain(dataset.describe(i))
        rows.append(
            [
                name if file is None else page.Link(name, link(file, folder)),
                *(
                    plain(dataset.class_names[each[i]])
                    for each in (result.labels, result.predictions)
                ),
                f"{100 * result.confidences[i]:.1f}",
            ]
        )
    return page.table(["image", "true", "predicted", "probability %"], rows, numbers=(3,))


def duration(seconds: float) -> str:
    """Format a duration.

    Examples
    --------
    >>> from lenet5c.report.results import duration
    >>> duration(2.345), duration(95), duration(7449)
    ('2.3 s', '1 min 35 s', '2 h 4 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
