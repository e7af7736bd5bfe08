"""Results of a model as lines of text."""

from lenet5c._text import columns, plain, shorten
from lenet5c.training import class_scores, confused_pairs

WIDEST = 100  # columns of a terminal
NAME = 20
MOST_CLASSES, HARDEST, PAIRS = 30, 20, 20


def matrix_table(matrix, class_names):
    """A confusion matrix as text; the most frequent mistakes in its place where it would be too wide.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.report.tables import matrix_table
    >>> print(matrix_table(np.array([[5, 0], [2, 7]]), ["cat", "dog"]))
    given   predicted
            cat  dog
    cat       5    .
    dog       2    7
    """
    names = [shorten(name, NAME) for name in class_names]
    cell = max(3, len(str(matrix.max())))
    heads = names
    if any(columns(name) > cell for name in names):
        # Numbers for names; the rows tell which is which.
        heads = [str(number) for number in range(len(names))]
        names = [f"{number:>{len(heads[-1])}} {name}" for number, name in enumerate(names)]
        cell = max(cell, len(heads[-1]))
    left = max(5, *map(columns, names))
    if left + 1 + len(names) * (cell + 2) > WIDEST:
        return pairs_table(matrix, class_names)
    lines = [
        f"{'given':{left}}   predicted",
        " " * (left + 1) + "".join(right(head, cell + 2) for head in heads),
    ]
    for name, row in zip(names, matrix.tolist(), strict=True):
        lines.append(
            padded(name, left) + " " + "".join(f"{count or '.':>{cell + 2}}" for count in row)
        )
    return "\n".join(line.rstrip() for line in lines)


def pairs_table(matrix, class_names):
    """The most frequent mistakes, a line for each."""
    pairs = confused_pairs(matrix)
    if not pairs:
        return "There is no mistake."
    shown = [
        (shorten(class_names[a], NAME), shorten(class_names[b], NAME), str(n))
        for a, b, n in pairs[:PAIRS]
    ]
    rest = sum(count for *_, count in pairs[PAIRS:])
    lines = aligned([("given", "predicted", "images"), *shown], "llr")
    return "\n".join(
        [*lines, f"and {rest:,} images in {len(pairs) - PAIRS:,} other pairs"] if rest else lines
    )


def class_table(matrix, class_names):
    """Precision, recall and F1 score by class; of many classes those with the lowest F1."""
    scores = class_scores(matrix)
    order = range(len(class_names))
    title = []
    if len(class_names) > MOST_CLASSES:
        present = [i for i in order if scores.count[i] or scores.predicted[i]]
        order = sorted(present, key=lambda i: (scores.f1[i], i))[:HARDEST]
        title = [f"The {len(order)} classes with the lowest F1, of {len(class_names)}:"]
    rows = [("class", "images", "precision", "recall", "F1")]
    for i in order:
        known = (scores.predicted[i], scores.count[i], scores.count[i] + scores.predicted[i])
        values = (scores.precision[i], scores.recall[i], scores.f1[i])
        shares = (
            f"{100 * value:.2f}%" if n else "-" for value, n in zip(values, known, strict=True)
        )
        rows.append((shorten(class_names[i], NAME), str(scores.count[i]), *shares))
    rows.append(
        (
            "mean of classes",
            str(scores.count.sum()),
            *(f"{100 * value:.2f}%" for value in scores.macro),
        )
    )
    return "\n".join([*title, *aligned(rows, "lrrrr")])


def worst_table(classification, class_names, most):
    """The wrong images that the model is surest of, a line for each."""
    rows = [("image", "given", "predicted", "confidence")]
    for index in classification.worst(most):
        given, predicted = (
            shorten(class_names[c[index]], NAME)
            for c in (classification.labels, classification.predictions)
        )
        rows.append(
            (str(index), given, predicted, f"{100 * classification.confidences[index]:.2f}%")
        )
    return "\n".join(aligned(rows, "rllr"))


def aligned(rows, alignment):
    """Rows of texts in columns; alignment has a letter, l or r, for each."""
    widths = [max(columns(row[i]) for row in rows) for i in range(len(alignment))]
    return [
        "  ".join(
            (padded if side == "l" else right)(cell, width)
            for cell, side, width in zip(row, alignment, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def padded(text, width):
    return text + " " * (width - columns(text))


def right(text, width):
    return " " * (width - columns(text)) + plain(text)
