"""Pictures of the filters and activations of a model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import shorten
from lenet5c.nn import Conv2d, Dropout, Flatten, Sequential
from lenet5c.report.matrix import rgb
from lenet5c.report.mosaic import (
    BAR_ROOM,
    BAR_SIZE,
    DPI,
    Floats,
    canvas,
    color_bar,
    find_limit,
    frames,
    place,
    shrink,
    tile,
    to_colors,
    to_diverging,
    write,
)
from lenet5c.report.names import drawable, text_width
from lenet5c.training import TrainedModel
from lenet5c.training.plot_style import BLUE, GREY, INK, PALE, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, MARGIN, LABELS, BAR = 1180, 16, 242, 300  # pixels
HEAD, LINE, WORDS = 30, 66, 24  # pixels of a title, a layer (at least) and a line of text
TOP_CLASSES = 5
LARGEST = 16  # maximum pixels of a weight or a unit
WIDEST, WIDEST_UNIT = 40, 16  # columns of a name, and of one at its unit
MAX_FILTERS = 4096
MAX_MAPS = 128  # maximum number of maps of a layer, and of input maps of filters
MAX_NAMED = 130  # maximum number of units of the last layer with names
UNIT, UNIT_GAP = 22, 3  # pixels
COLORS = ("in color", "red", "green", "blue")
MIN_PITCH = 13  # minimum pixels of a row of filters with a label


@styled
def filters(model: Sequential) -> "Figure":
    """Draw the filters of a model's convolutions.

    Parameters
    ----------
    model : lenet5c.nn.Sequential

    Returns
    -------
    matplotlib.figure.Figure
        Columns are output maps, rows are input maps; filters of color images are first shown in
        color. Positive weights are red, negative weights blue, with a color bar for each layer;
        maps that are not connected are gray.

    Raises
    ------
    ValueError
        If the model has no convolution.
    lenet5c.errors.MissingExtraError
        If matplotlib is not installed.
    """
    found = [(name, layer) for name, layer in model.named_layers() if isinstance(layer, Conv2d)]
    if not found:
        raise ValueError("model must have a Conv2d to draw its filters, got none")
    sheets = [_filter_sheet(layer, first=not i) for i, (_, layer) in enumerate(found)]
    figure, ax = canvas(WIDTH, sum(sheet.height for sheet in sheets) + MARGIN)
    y = MARGIN
    for (name, layer), sheet in zip(found, sheets, strict=True):
        outputs, inputs, h, w = layer.dense_weight.shape
        table = layer.connection_table
        count = outputs * inputs if table is None else int(table.sum())
        title = f"{name}: {count:,} filters of {h} × {w}"
        rows, columns = (
            str(of) if shown == of else f"{shown} of {of}"
            for shown, of in zip(sheet.shown[::-1], (inputs, outputs), strict=True)
        )
        if inputs > 1:
            title += f", {rows} input maps (rows) to {columns} output maps (columns)"
        elif sheet.shown[0] < outputs:
            title += f", first {sheet.shown[0]} shown"
        write(ax, title, MARGIN, y, fontsize=9)
        bar = WIDTH - MARGIN - 2 * BAR_ROOM - BAR_SIZE[0]
        weight = layer.params["weight"]
        color_bar(ax, bar, y + 6, weight, find_limit(weight))
        place(ax, sheet.pixels, sheet.left, y + HEAD, sheet.scale)
        for label, middle in sheet.rows:
            at = y + HEAD + middle * sheet.scale
            write(ax, label, sheet.left - 8, at, ha="right", va="center", fontsize=7, color=INK)
        y += sheet.height
    return figure


class Sheet(NamedTuple):
    """All filters of a convolution as one picture (h, w, 3), with labels of its rows."""

    pixels: Floats
    scale: int
    left: int
    rows: list[tuple[str, float]]  # label, and center of the row in pixels
    shown: tuple[int, int]  # output and input maps

    @property
    def height(self) -> int:
        """Pixels of the canvas."""
        return HEAD + len(self.pixels) * self.scale + 22


def _filter_sheet(layer: Conv2d, first: bool) -> Sheet:
    weight = layer.dense_weight[:, :MAX_MAPS]
    outputs, inputs, h, w = weight.shape
    limit = find_limit(layer.params["weight"])
    cells = to_diverging(weight, limit)
    if layer.connection_table is not None:
        cells[~layer.connection_table.T[:, :MAX_MAPS]] = rgb(PALE)
    colored = first and inputs == 3
    labels = list(COLORS) if colored else [str(i) for i in range(inputs)] if inputs > 1 else []
    left = MARGIN + (74 if colored else 34 if labels else 0)
    room = WIDTH - MARGIN - left
    # Rows are input maps. Output maps wrap if they exceed the width.
    across = max(1, min(outputs, room // (2 * (w + 1)), max(16, MAX_FILTERS // inputs)))
    if outputs > across:
        across = -(-outputs // -(-outputs // across))
    outputs = min(outputs, max(across, MAX_FILTERS // inputs // across * across))
    gap = np.ones((1, across * (w + 1) - 1, 3))
    pieces: list[Floats] = []
    rows: list[tuple[str, float]] = []
    for start in range(0, outputs, across):
        part = slice(start, start + across)
        filters = [cells[part, i] for i in range(inputs)]
        if colored:
            color = 0.5 + weight[part].transpose(0, 2, 3, 1) / (2 * (limit or 1))
            filters.insert(0, np.clip(color, 0, 1))
        pieces += [gap, gap] if start else []
        for number, row in enumerate(filters):
            if labels:
                rows.append((labels[number], sum(map(len, pieces)) + h / 2))
            pieces += [tile(row, across), gap]
    pixels = np.concatenate(pieces[:-1])
    scale = max(1, min(LARGEST, room // pixels.shape[1]))
    rows = rows if (h + 1) * scale >= MIN_PITCH else []
    return Sheet(pixels, scale, left, rows, (outputs, inputs))


@styled
def activations(
    trained: TrainedModel,
    image: NDArray[np.uint8],
    *,
    title: str = "",
    label: int | None = None,
    inverted: bool = True,
) -> "Figure":
    """Draw the activations of every layer for one image, and the predicted classes.

    Parameters
    ----------
    trained : lenet5c.training.TrainedModel
        Model with a `lenet5c.nn.Sequential`.
    image : ndarray of uint8 (C, H, W)
    title : str
    label : int, optional
        True label of the image, for the title.
    inverted : bool
        Show a gray image black on white.

    Returns
    -------
    matplotlib.figure.Figure
        A row for each layer with its maps or units. Red is positive, blue negative, with a color
        bar for each layer. Units of the last layer have class names. Layers that only pass on
        values are omitted.

    Raises
    ------
    lenet5c.errors.MissingExtraError
        If matplotlib is not installed.
    """
    lines = []
    x = trained.preparation(image[None])
    fitted = shrink(trained.preparation.fit_images(image[None]), WIDTH // 8)
    # Maps get smaller from layer to layer, as in the net.
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
        shown = frame[0] if frame else sheet.shape[1]
        of = len(x[0]) if frame else x[0].size
        if shown < of:
            words += f"\nthe first {shown} of {of}"
        lines.append((words, x[0], sheet, unit, frame))
    probabilities = trained.softmax(trained.model.logits(x))[0]
    picture = to_colors(fitted, inverted)[0]
    factor = max(1, round(150 / max(picture.shape)))
    order = np.argsort(-probabilities, kind="stable")[:TOP_CLASSES]
    short_names = drawable(trained.class_names, WIDEST_UNIT)
    names = drawable(trained.class_names, WIDEST)
    parts = [title.replace("$", r"\$"), "" if label is None else f"true label {names[label]}"]
    title = ", ".join(filter(None, parts))

    more = [WORDS * (words.count("\n") - 1) for words, *_ in lines]  # than two lines of words
    heights = [
        max(len(sheet) * unit[0], LINE + below) + 14
        for (*_, sheet, unit, _), below in zip(lines, more, strict=True)
    ]
    units = None
    if lines[-1][1].shape == (len(names),) and len(names) <= MAX_NAMED:
        units = _plan_units(short_names)
        heights[-1] = max(units.height, LINE) + 14
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
    for (words, values, sheet, unit, frame), height, below in zip(
        lines, heights, more, strict=True
    ):
        write(ax, words, MARGIN, y + 2, fontsize=8, linespacing=1.4)
        color_bar(ax, MARGIN, y + 50 + below, values, find_limit(values))
        if units and values is lines[-1][1]:
            _draw_units(ax, units, values, y + 4, int(order[0]))
            break
        place(ax, sheet, LABELS, y + 4, unit)
        if frame:
            frames(ax, LABELS, y + 4, unit[0], *frame)
        y += height
    return figure


class Units(NamedTuple):
    """Positions of units in pixels, with names below them, rotated if long."""

    names: list[str]
    pitch: float
    across: int
    row: float
    upright: bool

    @property
    def height(self) -> int:
        """Pixels of all rows."""
        return round(-(-len(self.names) // self.across) * self.row)


def _plan_units(names: list[str]) -> Units:
    widest = text_width(names, 7) * DPI
    upright = widest > 2 * UNIT
    pitch = UNIT + UNIT_GAP if upright else max(UNIT + UNIT_GAP, widest + 8)
    across = max(1, int((WIDTH - LABELS - MARGIN) // pitch))
    return Units(names, pitch, across, UNIT + (widest if upright else 14) + 14, upright)


def _draw_units(ax: Any, units: Units, values: Floats, top: float, predicted: int) -> None:
    """Draw the last layer with class names; the predicted one is bold."""
    number = np.arange(len(values))
    x = LABELS + number % units.across * units.pitch
    y = top + number // units.across * units.row
    colors = to_diverging(values, find_limit(values))
    wide = units.pitch - UNIT_GAP
    ax.bar(x, UNIT, wide, y, align="edge", color=colors, edgecolor=PALE, linewidth=0.6)
    for i, name in enumerate(units.names):
        style: dict[str, Any] = {"ha": "center", "fontsize": 7, "rotation": 90 * units.upright}
        if i == predicted:
            style["weight"] = "bold"
        write(ax, name, x[i] + wide / 2, y[i] + UNIT + 4, **style)


def _layer_sheet(values: Floats, scale: int) -> tuple[Floats, tuple[int, int], Any]:
    """Return a layer's values (C, H, W) or (K,) as a picture.

    Also returns the height and width of a value in pixels and, for maps, the arguments of `frames`.
    """
    room = WIDTH - LABELS - MARGIN
    limit = find_limit(values)
    if values.ndim != 3 or values[0].size == 1:
        row = to_diverging(values.reshape(1, -1), limit)[:, :room]
        return row, (24, max(1, min(24, room // row.shape[1]))), None
    maps = to_diverging(values[:MAX_MAPS], limit)
    # Maps that are too large are subsampled.
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
