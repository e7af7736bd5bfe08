"""What is inside a model: its filters, and what its layers make of an image."""

import numpy as np

from lenet5c._text import shorten
from lenet5c.nn import Conv2d, Dropout, Flatten, softmax
from lenet5c.report.matrix import rgb
from lenet5c.report.mosaic import (
    bounded,
    canvas,
    frames,
    limit_of,
    place,
    shown,
    signed,
    tiled,
    write,
)
from lenet5c.report.names import drawable
from lenet5c.training.plot_style import BLUE, GREY, INK, PALE, styled

WIDTH, MARGIN, LABELS = 1180, 16, 242  # pixels
TOP_CLASSES = 5
LARGEST = 16  # pixels that a weight or a unit may take
WIDEST = 40  # columns of a name
MOST_FILTERS = 4096


@styled
def filters(model):
    """The filters of a model's convolutions.

    Parameters
    ----------
    model : lenet5c.nn.Sequential

    Returns
    -------
    matplotlib.figure.Figure
        A column for each output map, a row for each input map; filters on colour images are seen in colour first. Blue
        weights are positive, orange ones negative; grey marks maps that are not connected.

    Raises
    ------
    ValueError
        The model has no convolution.
    lenet5c.errors.MissingExtraError
        matplotlib is not installed.
    """
    found = [(name, layer) for name, layer in model.named_layers() if isinstance(layer, Conv2d)]
    if not found:
        raise ValueError("the model has no Conv2d, so there are no filters to show")
    drawn = []
    for name, layer in found:
        sheet = _filter_sheet(layer)
        scale = max(1, min(LARGEST, (WIDTH - 2 * MARGIN) // sheet.shape[1]))
        outputs, inputs = layer.out_channels, layer.in_channels // layer.groups
        count = (
            outputs * inputs
            if layer.connection_table is None
            else int(layer.connection_table.sum())
        )
        height, width = layer.kernel_size
        title = f"{name}: {count:,} filters of {height} × {width}"
        if inputs > 1:
            title += f", {inputs} input maps (rows) to {outputs} output maps (columns)"
        drawn.append((title, sheet, scale))
    height = sum(34 + len(sheet) * scale + 18 for _, sheet, scale in drawn) + MARGIN
    figure, ax = canvas(WIDTH, height)
    y = MARGIN
    for title, sheet, scale in drawn:
        write(ax, title, MARGIN, y, fontsize=9)
        place(ax, sheet, MARGIN, y + 30, scale)
        y += 34 + len(sheet) * scale + 18
    return figure


def _filter_sheet(layer):
    """All filters of a convolution as one picture (h, w, 3)."""
    weight = layer.dense_weight
    outputs, inputs, h, w = weight.shape
    limit = limit_of(layer.params["weight"])
    cells = signed(weight, limit)
    if layer.connection_table is not None:
        cells[~layer.connection_table.T] = rgb(PALE)
    # Rows are input maps. What is too wide for the picture goes on below.
    across = max(
        1, min(outputs, (WIDTH - 2 * MARGIN) // (2 * (w + 1)), max(16, MOST_FILTERS // inputs))
    )
    if outputs > across:
        across = -(-outputs // -(-outputs // across))
    outputs = min(outputs, max(across, MOST_FILTERS // inputs // across * across))
    blocks = []
    for start in range(0, outputs, across):
        part = cells[start : start + across]
        rows = [part[:, i] for i in range(inputs)]
        if inputs == 3:
            colour = np.clip(
                0.5 + weight[start : start + across].transpose(0, 2, 3, 1) / (2 * (limit or 1)),
                0,
                1,
            )
            rows.insert(0, colour)
        blocks += [tiled(row, across) for row in rows]
        blocks += [None] if start + across < outputs else []
    gap = np.ones((1, blocks[0].shape[1], 3))
    stacked = [
        piece for block in blocks for piece in ((gap, gap) if block is None else (block, gap))
    ]
    return np.concatenate(stacked[:-1])


@styled
def activations(trained, image, *, title="", given=None, inverted=True):
    """What every layer makes of one image, and the classes it ends with.

    Parameters
    ----------
    trained : lenet5c.training.TrainedModel
        Of a `lenet5c.nn.Sequential`.
    image : ndarray of uint8 (C, H, W)
    title : str
    given : int, optional
        The class of the image, for the title.
    inverted : bool
        Show a grey image with ink black on white.

    Returns
    -------
    matplotlib.figure.Figure
        A line for each layer: its maps side by side, or its units in a row; blue is positive, orange negative, each
        layer against its own largest value. Layers that only pass values on are left out.

    Raises
    ------
    lenet5c.errors.MissingExtraError
        matplotlib is not installed.
    """
    lines = []
    x = trained.preparation(image[None])
    fitted = bounded(trained.preparation.fit_images(image[None]), WIDTH // 8)
    # Maps get smaller from layer to layer here as they do in the net.
    scale = LARGEST
    for name, layer in trained.model.layers.items():
        x = np.asarray(layer.forward(x), np.float32)
        if isinstance(layer, (Flatten, Dropout)):
            continue
        sheet, unit, frame = _layer_sheet(x[0], scale)
        if x.ndim == 4 and x[0, 0].size > 1:
            scale = unit[0]
        shape = " × ".join(map(str, x.shape[1:]))
        label = f"{shorten(name, 28)}\n{shorten(f'{type(layer).__name__}, {shape}', 28)}"
        lines.append((label, sheet, unit, frame))
    probabilities = softmax(trained.model.logits(x))[0]
    picture = shown(fitted, inverted)[0]
    factor = max(1, round(150 / max(picture.shape)))
    order = np.argsort(-probabilities, kind="stable")[:TOP_CLASSES]
    names = drawable(trained.class_names, WIDEST)
    title = ", ".join(
        part
        for part in (
            title.replace("$", r"\$"),
            f"given {names[given]}" if given is not None else "",
        )
        if part
    )

    heights = [max(len(sheet) * unit[0], 40) + 14 for _, sheet, unit, _ in lines]
    head = max(len(picture) * factor, 26 * len(order)) + 24
    top = MARGIN + (28 if title else 0)
    figure, ax = canvas(WIDTH, top + head + sum(heights) + MARGIN)
    if title:
        write(ax, title, MARGIN, MARGIN - 4, fontsize=10)
    place(ax, picture, LABELS, top, factor)
    frames(ax, LABELS, top, factor, 1, picture.shape[:2], 1, 0)
    write(
        ax, "input\n" + " × ".join(map(str, image.shape)), MARGIN, top, fontsize=8, linespacing=1.4
    )
    _bars(
        ax,
        [names[i] for i in order],
        probabilities[order],
        LABELS + picture.shape[1] * factor + 60,
        top + 4,
    )
    y = top + head
    for (label, sheet, unit, frame), height in zip(lines, heights, strict=True):
        write(ax, label, MARGIN, y + 2, fontsize=8, linespacing=1.4)
        place(ax, sheet, LABELS, y + 4, unit)
        if frame:
            frames(ax, LABELS, y + 4, unit[0], *frame)
        y += height
    return figure


def _layer_sheet(values, scale):
    """One layer's values (C, H, W) or (K,): a picture, height and width in pixels of a value there, `frames` around."""
    room = WIDTH - LABELS - MARGIN
    limit = limit_of(values)
    if values.ndim == 1 or values[0].size == 1:
        row = signed(values.reshape(1, -1), limit)
        row = row[:, :room]
        return row, (24, max(1, min(24, room // row.shape[1]))), None
    maps = signed(values, limit)
    step = max(
        1, -(-maps.shape[2] * min(len(maps), 6) // room)
    )  # maps of more pixels than there is room
    maps = maps[:, ::step, ::step]
    across = max(1, min(len(maps), room // (maps.shape[2] + 2)))
    sheet = tiled(maps, across, 2)
    unit = max(1, min(scale, room // sheet.shape[1], 9))
    return sheet, (unit, unit), (len(maps), maps.shape[1:3], across, 2)


def _bars(ax, names, probabilities, left, top):
    """The most probable classes, a bar for each."""
    full = 300
    y = top + 10 + 26 * np.arange(len(names))
    ax.barh(
        y,
        np.maximum(probabilities * full, 1),
        height=16,
        left=left,
        color=[BLUE] + [GREY] * (len(names) - 1),
    )
    for at, name, probability in zip(y, names, probabilities, strict=True):
        label = f"{100 * probability:.1f} %  {name}"
        ax.text(
            left + max(probability * full, 1) + 10, at, label, va="center", fontsize=8, color=INK
        )
