"""Style of the tutorial's pictures: the same colors, sizes and labels on every page."""

import matplotlib.pyplot as plt
import numpy as np

from lenet5c.training.plot_style import DIVERGING

INK, ACCENT, GREY = "#1b2a41", "#d1495b", "#8d99ae"
DPI = 120
WIDTH = 7.2  # inches
STYLE = {
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": GREY,
    "figure.constrained_layout.use": True,
}


def panels(columns, rows=1, height=2.0, **options):
    """Return a figure with a grid of axes without ticks."""
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height), squeeze=False, **options)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_color(GREY)
    return figure, axes


def show(ax, image, title=None, signed=False, low=None, high=None):
    """Draw an image: ink on white, or blue below and red above zero if it is `signed`."""
    if signed:
        largest = abs(image).max() if high is None else high
        ax.imshow(image, cmap=DIVERGING, vmin=-largest, vmax=largest, interpolation="nearest")
    else:
        ax.imshow(image, cmap="gray_r", vmin=low, vmax=high, interpolation="nearest")
    if title is not None:
        ax.set_title(title, fontsize=9, color=INK, pad=4)


def frame(ax, top, left, height, width, color=ACCENT):
    """Draw a frame around pixels of an image."""
    ax.add_patch(
        plt.Rectangle(
            (left - 0.5, top - 0.5), width, height, fill=False, edgecolor=color, linewidth=1.8
        )
    )


def numbers(ax, values, form="{:.0f}", size=7):
    """Write the value of each pixel into it, in a color that can be read."""
    low, high = np.min(values), np.max(values)
    for (row, column), value in np.ndenumerate(values):
        dark = (value - low) / max(high - low, 1e-9) > 0.45
        ax.text(
            column,
            row,
            form.format(np.round(value, 1) + 0.0),
            ha="center",
            va="center",
            fontsize=size,
            color="white" if dark else INK,
        )


def label(ax, text):
    """Write the title of a row of panels to its left."""
    ax.set_ylabel(text, rotation=0, ha="right", va="center", labelpad=8, fontsize=9)


def color_bar(figure, ax, location="right", label=None):
    """Draw the color bar of the panels in `ax`, which have the colors of the first one."""
    drawn = [image for each in np.ravel(ax) for image in each.images]
    first = next((image for image in drawn if image.cmap.name == DIVERGING), drawn[0])
    bar = figure.colorbar(first, ax=ax, location=location, shrink=0.9, aspect=18, pad=0.02)
    bar.locator = plt.MaxNLocator(2)
    bar.update_ticks()
    bar.outline.set_edgecolor(GREY)
    bar.ax.tick_params(labelsize=7, length=2, color=GREY)
    if label is not None:
        bar.set_label(label, fontsize=8)
