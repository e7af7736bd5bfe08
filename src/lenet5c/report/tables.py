"""Results of a model as text tables."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import columns, count, shorten, table
from lenet5c.training import ClassScores, Evaluation, class_scores, confused_pairs

WIDEST = 100  # columns of a terminal
NAME, IMAGE = 20, 40  # columns of the name of a class, and of an image
MAX_CLASSES, HARDEST, PAIRS = 30, 20, 20


def matrix_table(matrix: NDArray[np.integer], class_names: Sequence[str]) -> str:
    """Return a confusion matrix as text, or `pairs_table` if it would be too wide.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.report.tables import matrix_table
    >>> print(matrix_table(np.array([[5, 0], [2, 7]]), ["cat", "dog"]))
    true    predicted
            cat  dog
    cat       5    .
    dog       2    7
    """
    names = [shorten(name, NAME) for name in class_names]
    cell = max(3, len(str(matrix.max())))
    headers = names
    if any(columns(name) > cell for name in names):
        # Numbers instead of names, which are in the rows.
        headers = [str(number) for number in range(len(names))]
        names = [f"{number:>{len(headers[-1])}} {name}" for number, name in enumerate(names)]
        cell = max(cell, len(headers[-1]))
    left = max(5, *map(columns, names))
    if left + 1 + len(names) * (cell + 2) > WIDEST:
        return pairs_table(matrix, class_names)
    rows = [(" " * (left + 1), " " * (cell - columns(headers[0])) + headers[0], *headers[1:])]
    rows += [
        (name, *(f"{count or '.':>{cell}}" for count in row))
        for name, row in zip(names, matrix.tolist(), strict=True)
    ]
    return f"{'true':{left}}   predicted\n" + table(rows, "l" + "r" * len(names))


def pairs_table(matrix: NDArray[np.integer], class_names: Sequence[str]) -> str:
    """Return the most frequent mistakes, a line for each pair of classes."""
    pairs = confused_pairs(matrix)
    if not pairs:
        return "No images are misclassified."
    names = [shorten(name, NAME) for name in class_names]
    rows = [(names[a], names[b], str(n)) for a, b, n in pairs[:PAIRS]]
    text = table([("true", "predicted", "images"), *rows], "llr")
    if rest := sum(count for *_, count in pairs[PAIRS:]):
        text += f"\nand {rest:,} images in {len(pairs) - PAIRS:,} other pairs"
    return text


def class_table(matrix: NDArray[np.integer], class_names: Sequence[str]) -> str:
    """Return precision, recall and F1 score by class; for many classes, the lowest F1 scores."""
    scores = class_scores(matrix)
    order = list(range(len(class_names)))
    title = ""
    if len(order) > MAX_CLASSES:
        present = [i for i in order if scores.count[i] or scores.predicted[i]]
        order = sorted(present, key=lambda i: (scores.f1[i], i))[:HARDEST]
        title = f"The {len(order)} classes with the lowest F1, of {len(class_names)}:\n"
    rows: list[tuple[str, ...]] = [("class", "images", "precision", "recall", "F1")]
    rows += [
        (shorten(class_names[i], NAME), str(scores.count[i]), *score_texts(scores, i))
        for i in order
    ]
    mean = (f"{100 * value:.2f}%" for value in scores.macro)
    rows.append(("mean of classes", str(scores.count.sum()), *mean))
    return title + table(rows, "lrrrr")


def worst_table(
    result: Evaluation, class_names: Sequence[str], most: int, ids: Sequence[str] | None = None
) -> str:
    """Return a table of the misclassified images, most confident first.

    `ids` are the names of the images; by default their positions.
    """
    rows: list[tuple[str, ...]] = [("image", "true", "predicted", "confidence")]
    for index in result.worst(most):
        names = (
            shorten(class_names[classes[index]], NAME)
            for classes in (result.labels, result.predictions)
        )
        image = str(index) if ids is None else shorten(ids[index], IMAGE)
        rows.append((image, *names, f"{100 * result.confidences[index]:.2f}%"))
    return table(rows, "rllr" if ids is None else "lllr")


def count_images(number: int, part: str | None) -> str:
    """Return the number of images of a part, or of undivided data.

    Examples
    --------
    >>> from lenet5c.report.tables import count_images
    >>> count_images(10_000, "test"), count_images(1, None)
    ('10,000 test images', '1 image')
    """
    return count(number, f"{part} image" if part else "image")


def defined_scores(scores: ClassScores, i: int) -> list[float | None]:
    """Return precision, recall and F1 score of class `i`, None if undefined."""
    counts = (scores.predicted[i], scores.count[i], scores.count[i] + scores.predicted[i])
    values = (scores.precision[i], scores.recall[i], scores.f1[i])
    return [float(value) if count else None for value, count in zip(values, counts, strict=True)]


def score_texts(scores: ClassScores, i: int, unit: str = "%", undefined: str = "-") -> list[str]:
    """Return the `defined_scores` in percent."""
    return [
        undefined if value is None else f"{100 * value:.2f}{unit}"
        for value in defined_scores(scores, i)
    ]
