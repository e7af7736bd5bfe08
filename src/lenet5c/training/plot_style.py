"""The style of all figures, and their bytes as PNG files.

matplotlib is imported when something is drawn, not before; its pyplot never is, so that nothing of
a program that draws its own figures changes.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from io import BytesIO
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from lenet5c._optional import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
T = TypeVar("T")

# Okabe and Ito's palette, which color-blind readers can tell apart.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
GREY, PALE, INK = "#8a8a8a", "#c8c8c8", "#222222"
# Of numbers of both signs: negative blue, zero white, positive red. The demo has the same colors.
DIVERGING = "RdBu_r"
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
# Groups of a reader's own settings that could change a figure: they are at matplotlib's defaults.
GROUPS = "font axes figure grid legend savefig text xtick ytick lines image patch path mathtext"
PURPOSE = "pictures"


@contextmanager
def style() -> Iterator[None]:
    """Draw alike wherever it is, within a `with` block."""
    matplotlib = require("matplotlib", "plots", PURPOSE)
    groups = tuple(f"{group}." for group in GROUPS.split())
    defaults = matplotlib.rcParamsDefault.items()
    usual = {key: value for key, value in defaults if key.startswith(groups)}
    with matplotlib.rc_context(usual | STYLE):
        yield


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that makes a figure."""

    @wraps(function)
    def draw(*arguments: P.args, **options: P.kwargs) -> T:
        with style():
            return function(*arguments, **options)

    return draw


def new_figure(width: float, height: float, layout: str | None = None) -> "Figure":
    """Return a figure of so many inches, which a notebook shows."""
    module = require("matplotlib.figure", "plots", PURPOSE)
    figure = module.Figure(figsize=(width, height), layout=layout)
    # Notebooks know how to show a figure once pyplot is imported, which it need not be.
    figure._repr_png_ = partial(png, figure)
    return figure


def png(figure: "Figure") -> bytes:
    """Return the bytes of a PNG file; equal figures give equal bytes."""
    picture = BytesIO()
    with style(), warnings.catch_warnings():
        # Of characters that no font here has: they are drawn as boxes.
        warnings.simplefilter("ignore")
        figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def log_axis(ax: "Axes", which: str, values: list[float]) -> None:
    """Make an axis logarithmic, with plain numbers, over all positive values and a factor of 5."""
    ticker: Any = require("matplotlib.ticker", "plots", PURPOSE)
    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive) / 1.25, max(positive) * 1.25
    widen = max(1.0, (5 * low / high) ** 0.5)
    axis = getattr(ax, f"{which}axis")
    getattr(ax, f"set_{which}scale")("log", nonpositive="mask")
    getattr(ax, f"set_{which}lim")(low / widen, high * widen)
    subs = (1, 2, 3, 5, 7) if high < 20 * low else (1, 2, 5) if high < 500 * low else (1,)
    axis.set_major_locator(ticker.LogLocator(subs=subs))
    axis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(ticker.NullLocator())
