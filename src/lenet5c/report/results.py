"""What the pages of a run and of an evaluation have in common: pictures of the results, and their tables."""

import numpy as np

from lenet5c._text import plain
from lenet5c.report import page
from lenet5c.report.pictures import confusion, errors
from lenet5c.report.samples import SLOTS
from lenet5c.training.plot_style import png
from lenet5c.training import class_scores, confused_pairs, wilson_interval

PAIRS = 10


def draw_all(makers):
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


def result_makers(dataset, classification, class_names, inverted):
    """The pictures of results, for `draw_all`."""
    return {
        "confusion": lambda: confusion(classification.matrix, class_names),
        "errors": lambda: errors(dataset.images, classification, class_names, inverted=inverted),
    }


def accuracy_card(classification, of="test images"):
    low, high = wilson_interval(classification.correct, classification.count)
    return (
        f"of {classification.count:,} {of} right",
        f"{100 * classification.accuracy:.2f} %",
        f"{classification.correct:,} of {classification.count:,}; 95 % interval {100 * low:.2f} to {100 * high:.2f} % "
        f"(Wilson): what other images of this kind could have shown",
    )


def confusion_section(pictures, classification, class_names):
    names = [plain(name) for name in class_names]
    scores = class_scores(classification.matrix)
    rows = [
        [names[i], f"{count:,}", *_shares(scores, i)]
        for i, count in enumerate(scores.count.tolist())
    ]
    precision, recall, f1 = scores.macro
    rows.append(
        [
            "mean",
            f"{classification.count:,}",
            *(f"{100 * value:.2f}" for value in (precision, recall, f1)),
        ]
    )
    pairs = confused_pairs(classification.matrix, PAIRS)
    told = "; ".join(f"{names[a]} taken for {names[b]} ({count:,})" for a, b, count in pairs)
    caption = (
        "A row for each class as given, a column for each class as predicted; a cell counts images. Right answers are "
        "blue, on the diagonal; mistakes are orange, the stronger the more of the row they are."
    )
    if len(names) <= 24:
        caption += " On the right each class's share of right answers, on top that of the answers with this class."
    shown = pictures.get("confusion")
    return page.section(
        "Which classes are taken for which",
        page.picture(shown, caption, "Confusion matrix") if shown else "",
        page.paragraph(f"The most frequent mistakes: {told}." if pairs else "There is no mistake."),
        page.table(
            ["class", "images", "precision %", "recall %", "F1 %"],
            rows,
            (1, 2, 3, 4),
            (len(names),),
        ),
        page.paragraph(
            "Precision: of the images taken for the class, the share that are of it. Recall: of the images of the "
            "class, the share that were taken for it. F1 is their harmonic mean."
        ),
    )


def _shares(scores, i):
    known = (scores.predicted[i], scores.count[i], scores.count[i] + scores.predicted[i])
    values = (scores.precision[i], scores.recall[i], scores.f1[i])
    return [
        f"{100 * value:.2f}" if count else "–" for value, count in zip(values, known, strict=True)
    ]


def errors_section(pictures, classification):
    wrong = classification.count - classification.correct
    if not wrong or "errors" not in pictures:
        return ""
    some = f"The {wrong:,} wrong images" if wrong > 1 else "The one wrong image"
    if wrong > SLOTS:
        some = f"{SLOTS} of {wrong:,} wrong images"
    sure = np.median(classification.confidences[classification.worst()])
    caption = (
        f"{some}, the surest mistake first: given class → predicted class, below it the probability that the model "
        f"gave to its answer, and the image's index. Half of all mistakes have a probability below {100 * sure:.0f} %."
    )
    return page.section(
        "The mistakes", page.picture(pictures["errors"], caption, "Images that the model has wrong")
    )


def duration(seconds):
    """A time as people say it.

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
