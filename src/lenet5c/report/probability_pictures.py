"""Pictures of probabilities: reliability diagrams, error-reject curves, ROC curves."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet5c._optional import require
from lenet5c.report.names import drawable
from lenet5c.report.probabilities import area_text
from lenet5c.training import Evaluation, Reliability, roc_curve, wilson_interval
from lenet5c.training.curves import RUN_COLORS, STROKES
from lenet5c.training.plot_style import BLUE, GREY, INK, ORANGE, PALE, PURPOSE, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = 12  # number of ROC curves with a color
WIDEST = 16  # columns of the name of a class
BAND = 200  # points of the interval of an error rate


def probability_makers(
    result: Evaluation, class_names: Sequence[str]
) -> dict[str, Callable[[], "Figure"]]:
    """Return the pictures of probabilities, for `draw_all`."""
    makers = {"reliability": lambda: reliability(result), "rejections": lambda: rejections(result)}
    if not np.isnan(result.areas).all():
        makers["roc"] = lambda: roc(result, class_names)
    return makers


@styled
def reliability(result: Evaluation) -> "Figure":
    """Draw reliability diagrams with bins of equal width and of equal mass.

    Parameters
    ----------
    result : lenet5c.training.Evaluation

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    lenet5c.errors.MissingExtraError
        matplotlib is not installed.
    """
    figure = new_figure(8.2, 4.3, layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 1.15))
    _draw_width(
        result.reliability(), figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    )
    _draw_mass(result.reliability(equal="mass"), figure.add_subplot(grid[:, 1]))
    return figure


def _draw_width(found: Reliability, above: Any, below: Any) -> None:
    middle, width = (found.low + found.high) / 2, found.high - found.low
    low, high = found.intervals.T
    above.bar(middle, found.accuracy, 0.92 * width, color=BLUE, alpha=0.35)
    above.vlines(middle, low, high, color=BLUE, linewidth=1.4, label="accuracy, 95 % interval")
    above.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    above.plot(found.confidence, found.accuracy, "o", color=BLUE, markersize=3)
    above.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    above.set_title(f"Equal width: ECE {100 * found.ece:.2g} %")
    above.tick_params(labelbottom=False)
    below.bar(middle, found.count, 0.92 * width, color=GREY)
    below.set(xlim=(0, 1), xlabel="confidence", ylabel="images")
    below.set_yscale("log")
    below.set_ylim(0.7, 3 * found.count.max())
    below.yaxis.set_minor_locator(require("matplotlib.ticker", "plots", PURPOSE).NullLocator())
    if len(found.count):
        last = int(found.count.argmax())
        text = f"{found.count[last]:,}"
        below.annotate(
            text,
            (middle[last], found.count[last]),
            (0, 2),
            textcoords="offset points",
            ha="right" if middle[last] > 0.8 else "center",
            fontsize=7,
        )


def _draw_mass(found: Reliability, ax: Any) -> None:
    """Draw expected and observed error rates on scales that show small values."""
    count = found.count
    least = 0.1 / count.max()  # less than a tenth of an error is shown as none
    wrong = 1 - found.accuracy
    low, high = 1 - found.intervals[:, 1], 1 - found.intervals[:, 0]
    x = np.maximum(1 - found.confidence, least)
    ends = (least / 1.6, 1.2)
    ax.plot(ends, ends, color=GREY, linewidth=0.8, linestyle="--")
    ax.vlines(x, np.maximum(low, least / 3), high, color=ORANGE, linewidth=1.4)
    some = wrong > 0
    ax.plot(x[some], wrong[some], "o", color=ORANGE, markersize=3.5)
    if not some.all():
        none = np.full((~some).sum(), least / 2)
        ax.plot(x[~some], none, "v", color=ORANGE, markersize=3.5, label="no errors observed")
        ax.legend(loc="upper left")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set(xlim=ends, ylim=(least / 3, 1.4))
    ax.set(xlabel="expected error rate: 1 - confidence", ylabel="observed error rate")
    ax.set_title(f"Equal mass: ECE {100 * found.ece:.2g} %")
    ax.grid(True)


@styled
def rejections(result: Evaluation) -> "Figure":
    """Draw the error rate of the accepted images when the least confident are rejected.

    Parameters and errors are those of `reliability`.
    """
    found = result.rejections
    figure = new_figure(6.4, 3.4, layout="constrained")
    ax = figure.add_subplot()
    share, rate = 100 * found.rejected, 100 * found.error_rate
    first_clean = found.reach(0.0)
    most = 100.0 if first_clean is None else min(100.0, max(2.0, 1.25 * share[first_clean]))
    chosen = np.unique(np.linspace(0, int((share <= most).sum()) - 1, BAND).astype(int))
    pairs = ((int(found.errors[i]), int(found.accepted[i])) for i in chosen)
    band = 100 * np.array([wilson_interval(*pair) for pair in pairs])
    ax.fill_between(share[chosen], *band.T, color=BLUE, alpha=0.18, linewidth=0)
    ax.step(share, rate, where="post", color=BLUE, linewidth=1.5, label="by confidence")
    left = np.arange(found.count, 0, -max(1, found.count // 2000))
    right = found.count - found.errors[0]
    best = 100 * np.maximum(left - right, 0) / left
    ax.plot(
        100 * (1 - left / found.count), best, color=GREY, linewidth=1, linestyle="--", label="best"
    )
    top = max(float(band.max()), 1e-3)
    ax.set(xlim=(0, most), ylim=(0, 1.05 * top))
    ax.set(xlabel="rejected images, %", ylabel="error rate of accepted images, %")
    ax.grid(True)
    ax.legend()
    return figure


@styled
def roc(result: Evaluation, class_names: Sequence[str]) -> "Figure":
    """Draw the ROC curve of each class versus the rest; for many classes, those of lowest AUC.

    Parameters and errors are those of `reliability`.
    """
    known = np.flatnonzero(~np.isnan(result.areas))
    lowest = known[np.argsort(result.areas[known], kind="stable")][:CURVES].tolist()
    names = drawable(class_names, WIDEST)
    figure = new_figure(6.4, 3.8, layout="constrained")
    ax = figure.add_subplot()
    curves = {k: roc_curve(result.probabilities[:, k], result.labels == k) for k in lowest}
    least = min((0.5 / each.negatives for each in curves.values()), default=0.5)
    bottom = 1.0
    for number, k in enumerate(sorted(lowest)):
        curve = curves[k]
        x = np.append(np.maximum(curve.false_positive, least), 1.0)
        y = np.append(curve.true_positive, 1.0)
        bottom = min(bottom, float(y[x <= 2 * least].max()))
        color, stroke = RUN_COLORS[number % 6], STROKES[number // 6 % 3]
        text = f"{names[k]}: {area_text(result.areas[k])}"
        ax.step(x, y, where="post", color=color, linestyle=stroke, linewidth=1.2, label=text)
    chance = np.geomspace(least, 1, 100)
    ax.plot(chance, chance, color=PALE, linewidth=0.8)
    ax.set_xscale("log")
    ax.set(xlim=(least, 1), ylim=(max(0.0, bottom - 0.1 * (1.02 - bottom)), 1.003))
    ax.set(xlabel="false positive rate", ylabel="true positive rate")
    ax.grid(True)
    some = f", {len(lowest)} lowest of {len(known)}" if len(lowest) < len(known) else ""
    ax.legend(title=f"AUC{some}", loc="lower right", fontsize=7, title_fontsize=7, labelcolor=INK)
    return figure
