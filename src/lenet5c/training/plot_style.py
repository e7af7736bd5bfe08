"""Style of all figures, and conversion to PNG.

matplotlib is imported only when something is drawn; pyplot is never imported, so that figures of
the calling program are not affected.
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

# The color-blind safe palette of Okabe and Ito.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
GREY, PALE, INK = "#8a8a8a", "#c8c8c8", "#222222"
# Diverging: negative blue, zero white, positive red. The demo uses the same colors.
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
# Groups of rcParams that are reset to matplotlib's defaults.
GROUPS = "font axes figure grid legend savefig text xtick ytick lines image patch path mathtext"
PURPOSE = "pictures"


@contextmanager
def style() -> Iterator[None]:
    """Use the same style everywhere, in a `with` block."""
    matplotlib = require("matplotlib", "plots", PURPOSE)
    groups = tuple(f"{group}." for group in GROUPS.split())
    defaults = matplotlib.rcParamsDefault.items()
    usual = {key: value for key, value in defaults if key.startswith(groups)}
    with matplotlib.rc_context(usual | STYLE):
        yield


def styled(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that creates a figure."""

    @wraps(function)
    def draw(*arguments: P.args, **options: P.kwargs) -> T:
        with style():
            return function(*arguments, **options)

    return draw


def new_figure(width: float, height: float, layout: str | None = None) -> "Figure":
    """Create a figure of a size in inches, which notebooks display."""
    module = require("matplotlib.figure", "plots", PURPOSE)
    figure = module.Figure(figsize=(width, height), layout=layout)
    # Notebooks display figures only after pyplot is imported.
    figure._repr_png_ = partial(png, figure)
    return figure


def png(figure: "Figure") -> bytes:
    """Return the bytes of a PNG file; equal figures produce equal bytes."""
    picture = BytesIO()
    with style(), warnings.catch_warnings():
        # Warnings about characters missing in the fonts, which are drawn as boxes.
        warnings.simplefilter("ignore")
        figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def log_axis(ax: "Axes", which: str, values: list[float]) -> None:
    """Make an axis logarithmic with plain numbers, covering all positive values."""
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
