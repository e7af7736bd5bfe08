"""How all pictures look, and how they become the bytes of a file.

matplotlib is imported when something is drawn, not before; its pyplot never is, so that nothing of a program that draws
its own pictures changes.
"""

import warnings
from contextlib import contextmanager
from functools import wraps
from io import BytesIO

from lenet5c._optional import require

# Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, GREY, PALE, INK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#8a8a8a",
    "#c8c8c8",
    "#222222",
)
STYLE = {
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.dpi": 144,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "savefig.facecolor": "white",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
# What else of a reader's own settings could change a picture.
SETTLED = (
    "font.",
    "axes.",
    "figure.",
    "grid.",
    "legend.",
    "savefig.",
    "text.",
    "xtick.",
    "ytick.",
    "lines.",
    "image.",
    "patch.",
    "path.",
    "mathtext.",
)
PURPOSE = "pictures"


@contextmanager
def style():
    """A context in which pictures look the same wherever they are drawn."""
    matplotlib = require("matplotlib", "plots", PURPOSE)
    usual = {
        key: value for key, value in matplotlib.rcParamsDefault.items() if key.startswith(SETTLED)
    }
    with matplotlib.rc_context(usual | STYLE):
        yield


def styled(function):
    """A decorator for what makes a figure."""

    @wraps(function)
    def draw(*arguments, **options):
        with style():
            return function(*arguments, **options)

    return draw


def new_figure(width, height, layout=None):
    """A figure of so many inches."""
    return require("matplotlib.figure", "plots", PURPOSE).Figure(
        figsize=(width, height), layout=layout
    )


def png(figure):
    """The bytes of a PNG file; equal figures give equal bytes."""
    picture = BytesIO()
    with style(), warnings.catch_warnings():
        # Of characters that no font here has: they are drawn as boxes.
        warnings.simplefilter("ignore")
        figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def log_axis(ax, which, values):
    """A logarithmic axis with plain numbers, over all positive values and at least a factor of five."""
    ticker = require("matplotlib.ticker", "plots", PURPOSE)
    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive) / 1.25, max(positive) * 1.25
    widen = max(1.0, (5 * low / high) ** 0.5)
    axis = getattr(ax, f"{which}axis")
    getattr(ax, f"set_{which}scale")("log", nonpositive="mask")
    getattr(ax, f"set_{which}lim")(low / widen, high * widen)
    axis.set_major_locator(
        ticker.LogLocator(
            subs=(1, 2, 3, 5, 7) if high < 20 * low else (1, 2, 5) if high < 500 * low else (1,)
        )
    )
    axis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(ticker.NullLocator())
