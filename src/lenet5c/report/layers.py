"""The inside of a model: its filters, and the activations of its layers for an image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import shorten
from lenet5c.nn import Conv2d, Dropout, Flatten, Sequential, softmax
from lenet5c.report.matrix import rgb
from lenet5c.report.mosaic import (
    Floats,
    canvas,
    frames,
    limit_of,
    place,
    shrink,
    tile,
    to_colors,
    to_diverging,
    write,
)
from lenet5c.report.names import drawable
from lenet5c.training import TrainedModel
from lenet5c.training.plot_style import BLUE, GREY, INK, PALE, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, MARGIN, LABELS, BAR = 1180, 16, 242, 300  # pixels
TOP_CLASSES = 5
LARGEST = 16  # pixels that a weight or a unit may take
WIDEST = 40  # columns of a name
MOST_FILTERS = 4096


@styled
def filters(model: Sequential) -> "Figure":
    """Draw the filters of a model's convolutions.

    Parameters
    ----------
    model : lenet5c.nn.Sequential

    Returns
    -------
    matplotlib.figure.Figure
        A column for each output map, a row for each input map; filters of color images are seen
        in color first. Positive weights are blue, negative ones orange; maps that are not
        connected are gray.

    Raises
    ------
    ValueError
        The model has no convolution.
    lenet5c.errors.MissingExtraError
        matplotlib is not installed.
    """
    found = [(name, layer) for name, layer in model.named_layers() if isinstance(layer, Conv2d)]
    if not found:
        raise ValueError("model must have a Conv2d whose filters to show, got none")
    sheets = [_filter_sheet(layer) for _, layer in found]
    scales = [max(1, min(LARGEST, (WIDTH - 2 * MARGIN) // sheet.shape[1])) for sheet in sheets]
    heights = [52 + len(sheet) * scale for sheet, scale in zip(sheets, scales, strict=True)]
    figure, ax = canvas(WIDTH, sum(heights) + MARGIN)
    y = MARGIN
    for (name, layer), sheet, scale, height in zip(found, sheets, scales, heights, strict=True):
        outputs, inputs, h, w = layer.dense_weight.shape
        table = layer.connection_table
        count = outputs * inputs if table is None else int(table.sum())
        title = f"{name}: {count:,} filters of {h} × {w}"
        if inputs > 1:
            title += f", {inputs} input maps (rows) to {outputs} output maps (columns)"
        write(ax, title, MARGIN, y, fontsize=9)
        place(ax, sheet, MARGIN, y + 30, scale)
        y += height
    return figure


def _filter_sheet(layer: Conv2d) -> Floats:
    """Return all filters of a convolution as one picture (h, w, 3)."""
    weight = layer.dense_weight
    outputs, inputs, _, w = weight.shape
    limit = limit_of(layer.params["weight"])
    cells = to_diverging(weight, limit)
    if layer.connection_table is not None:
        cells[~layer.connection_table.T] = rgb(PALE)
    # Rows are input maps. Output maps that are too many for the width go on below.
    across = max(
        1, min(outputs, (WIDTH - 2 * MARGIN) // (2 * (w + 1)), max(16, MOST_FILTERS // inputs))
    )
    if outputs > across:
        across = -(-outputs // -(-outputs // across))
    outputs = min(outputs, max(across, MOST_FILTERS // inputs // across * across))
    gap = np.ones((1, across * (w + 1) - 1, 3))
    pieces: list[Floats] = []
    for start in range(0, outputs, across):
        part = slice(start, start + across)
        rows = [cells[part, i] for i in range(inputs)]
        if inputs == 3:
            color = 0.5 + weight[part].transpose(0, 2, 3, 1) / (2 * (limit or 1))
            rows.insert(0, np.clip(color, 0, 1))
        pieces += [gap, gap] if start else []
        for row in rows:
            pieces += [tile(row, across), gap]
    return np.concatenate(pieces[:-1])


@styled
def activations(
    trained: TrainedModel,
    image: NDArray[np.uint8],
    *,
    title: str = "",
    label: int | None = None,
    inverted: bool = True,
) -> "Figure":
    """Draw the activations of every layer for one image, and the classes it ends with.

    Parameters
    ----------
    trained : lenet5c.training.TrainedModel
        Of a `lenet5c.nn.Sequential`.
    image : ndarray of uint8 (C, H, W)
    title : str
    label : int, optional
        The true label of the image, for the title.
    inverted : bool
        Show a gray image black on white.

    Returns
    -------
    matplotlib.figure.Figure
        A line for each layer: its maps side by side, or its units in a row; blue is positive,
        orange negative, each layer against its own largest value. Layers that only pass values on
        are left out.

    Raises
    ------
    lenet5c.errors.MissingExtraError
        matplotlib is not installed.
    """
    lines = []
    x = trained.preparation(image[None])
    fitted = shrink(trained.preparation.fit_images(image[None]), WIDTH // 8)
    # Maps get smaller from layer to layer here as they do in the net.
    scale = LARGEST
    for name, layer in trained.model.flat_items():
        x = np.asarray(layer.forward(x), np.float32)
        if isinstance(layer, (Flatten, Dropout)):
            continue
        sheet, unit, frame = _layer_sheet(x[0], scale)
        if frame:
            scale = unit[0]
        shape = " × ".join(map(str, x.shape[1:]))
        words = f"{shorten(name, 28)}\n{shorten(f'{type(layer).__name__}, {shape}', 28)}"
        lines.append((words, sheet, unit, frame))
    probabilities = softmax(trained.model.logits(x))[0]
    picture = to_colors(fitted, inverted)[0]
    factor = max(1, round(150 / max(picture.shape)))
    order = np.argsort(-probabilities, kind="stable")[:TOP_CLASSES]
    names = drawable(trained.class_names, WIDEST)
    parts = [title.replace("$", r"\$"), "" if label is None else f"true label {names[label]}"]
    title = ", ".join(filter(None, parts))

    heights = [max(len(sheet) * unit[0], 40) + 14 for _, sheet, unit, _ in lines]
    head = max(len(picture) * factor, 26 * len(order)) + 24
    y = MARGIN + (28 if title else 0)
    figure, ax = canvas(WIDTH, y + head + sum(heights) + MARGIN)
    if title:
        write(ax, title, MARGIN, MARGIN - 4, fontsize=10)
    place(ax, picture, LABELS, y, factor)
    frames(ax, LABELS, y, factor, 1, picture.shape[:2], 1, 0)
    words = "input\n" + " × ".join(map(str, image.shape))
    write(ax, words, MARGIN, y, fontsize=8, linespacing=1.4)
    left = LABELS + picture.shape[1] * factor + 60
    _draw_bars(ax, [names[i] for i in order], probabilities[order], left, y + 4)
    y += head
    for (words, sheet, unit, frame), height in zip(lines, heights, strict=True):
        write(ax, words, MARGIN, y + 2, fontsize=8, linespacing=1.4)
        place(ax, sheet, LABELS, y + 4, unit)
        if frame:
            frames(ax, LABELS, y + 4, unit[0], *frame)
        y += height
    return figure


def _layer_sheet(values: Floats, scale: int) -> tuple[Floats, tuple[int, int], Any]:
    """Return a layer's values (C, H, W) or (K,) as a picture.

    With it come height and width in pixels of a value there, and of maps, the arguments of
    `frames`.
    """
    room = WIDTH - LABELS - MARGIN
    limit = limit_of(values)
    if values.ndim != 3 or values[0].size == 1:
        row = to_diverging(values.reshape(1, -1), limit)[:, :room]
        return row, (24, max(1, min(24, room // row.shape[1]))), None
    maps = to_diverging(values, limit)
    # Maps of more pixels than there is room are thinned out.
    step = max(1, -(-maps.shape[2] * min(len(maps), 6) // room))
    maps = maps[:, ::step, ::step]
    across = max(1, min(len(maps), room // (maps.shape[2] + 2)))
    sheet = tile(maps, across, 2)
    unit = max(1, min(scale, room // sheet.shape[1], 9))
    return sheet, (unit, unit), (len(maps), maps.shape[1:3], across, 2)


def _draw_bars(
    ax: Any, names: Sequence[str], probabilities: NDArray[np.floating], left: float, top: float
) -> None:
    """Draw a bar for each of the most probable classes."""
    y = top + 10 + 26 * np.arange(len(names))
    lengths = np.maximum(probabilities * BAR, 1)
    colors = [BLUE] + [GREY] * (len(names) - 1)
    ax.barh(y, lengths, height=16, left=left, color=colors)
    for at, length, name, probability in zip(y, lengths, names, probabilities, strict=True):
        text = f"{100 * probability:.1f} %  {name}"
        ax.text(left + length + 10, at, text, va="center", fontsize=8, color=INK)
