"""Parts that the pages of a run and of an evaluation share: pictures and tables of the results."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lenet5c._text import plain
from lenet5c.datasets import Dataset
from lenet5c.report import page
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
    """Draw figures, and go on when one fails.

    Parameters
    ----------
    makers : dict
        Name -> function that makes the figure.

    Returns
    -------
    pictures : dict
        Name -> bytes of a PNG file.
    failures : dict
        Name -> the exception.
    """
    pictures, failures = {}, {}
    for name, make in makers.items():
        try:
            pictures[name] = png(make())
        except Exception as error:  # whatever it is, the model is more than its pictures
            failures[name] = error
    return pictures, failures


def result_makers(
    dataset: Dataset, result: Evaluation, class_names: Sequence[str], inverted: bool
) -> dict[str, Callable[[], "Figure"]]:
    """Return the pictures of results, for `draw_all`."""
    return {
        "confusion": lambda: confusion(result.matrix, class_names),
        "errors": lambda: errors(dataset.images, result, class_names, inverted=inverted),
    }


def accuracy_card(result: Evaluation, part: str = "test") -> tuple[str, str, str]:
    """Return the accuracy as a card for `page.facts`."""
    return (
        f"{part} accuracy",
        f"{100 * result.accuracy:.2f} %",
        f"{describe_interval(result.correct, result.count)} (Wilson): the accuracy that other such "
        "images could have given",
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
        "A row for each true label, a column for each predicted label; a cell counts images. "
        "Correct ones are blue, on the diagonal; misclassified ones are orange, the stronger the "
        "larger their share of the row."
    )
    if len(names) <= 24:
        caption += " The recall of each class is on the right, its precision on top."
    shown = pictures.get("confusion")
    return page.section(
        "Confusion matrix",
        page.picture(shown, caption, "Confusion matrix") if shown else "",
        page.paragraph(
            f"The most frequent mistakes, true → predicted label: {told}."
            if pairs
            else "There is no mistake."
        ),
        page.table(
            ["class", "images", "precision %", "recall %", "F1 %"],
            rows,
            numbers=(1, 2, 3, 4),
            marked=(len(names),),
        ),
        page.paragraph(
            "Precision: of the images predicted as the class, the share that are of it. Recall: "
            "of the images of the class, the share predicted as it. F1 is their harmonic mean."
        ),
    )


def errors_section(pictures: Mapping[str, bytes], result: Evaluation) -> str:
    """Return the picture of misclassified images; nothing if there are none."""
    wrong = result.count - result.correct
    if not wrong or "errors" not in pictures:
        return ""
    some = f"The {wrong:,} misclassified images" if wrong > 1 else "The one misclassified image"
    if wrong > SLOTS:
        some = f"{SLOTS} of {wrong:,} misclassified images"
    median = np.median(result.confidences[result.worst()])
    caption = (
        f"{some}, the most confident first: true → predicted label, below it the probability of "
        "the predicted label and the index of the image. Half of all misclassified images have a "
        f"probability below {100 * median:.0f} %."
    )
    picture = page.picture(pictures["errors"], caption, "Misclassified images")
    return page.section("Misclassified images", picture)


def duration(seconds: float) -> str:
    """Return a time in words.

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
