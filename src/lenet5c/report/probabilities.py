"""Calibration measures of probabilities, as JSON, text and parts of a page."""

import re
from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

import numpy as np

from lenet5c._text import count, plain, shorten, table
from lenet5c.report import page
from lenet5c.report.tables import NAME
from lenet5c.training import Evaluation, Reliability, wilson_interval
from lenet5c.training.ranking import auc_interval
from lenet5c.training.reliability import BINS, EQUALS

#: Target error rates of rejections; some below the error rate of all images are shown.
TARGETS = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
SHOWN = 4
POINTS = 101  # of the curve in JSON
LOWEST = 10  # classes whose AUC is listed as text
Record = dict[str, Any]


def describe_probabilities(result: Evaluation, temperature: float) -> Record:
    """Return the metrics for JSON, as fractions from 0 to 1, with null for undefined values."""
    binned = {equal: result.reliability(equal=equal) for equal in EQUALS}
    return {
        "temperature": temperature,
        "nll": result.nll,
        "brier": result.brier,
        "bins": BINS,
        "ece": {
            f"equal_{equal}": {"value": each.ece, "by_chance": each.ece_by_chance}
            for equal, each in binned.items()
        },
        "reliability": {f"equal_{equal}": _list_bins(each) for equal, each in binned.items()},
        "auc": {
            "macro": None if isnan(result.auc) else result.auc,
            "classes": [describe_area(result, k) for k in range(len(result.areas))],
        },
        "rejections": describe_rejections(result),
    }


def _list_bins(found: Reliability) -> list[Record]:
    columns = (found.low, found.high, found.count, found.correct, found.confidence, found.accuracy)
    names = ("low", "high", "count", "correct", "confidence", "accuracy")
    rows = zip(*(column.tolist() for column in columns), strict=True)
    intervals = found.intervals.tolist()
    return [
        {**dict(zip(names, row, strict=True)), "interval": interval}
        for row, interval in zip(rows, intervals, strict=True)
    ]


def describe_area(result: Evaluation, k: int) -> Record:
    """Return the area under the ROC curve of a class, with its interval, for JSON."""
    area = float(result.areas[k])
    if isnan(area):
        return {"auc": None, "interval": None}
    positives = int(result.matrix[k].sum())
    return {"auc": area, "interval": list(auc_interval(area, positives, result.count - positives))}


def describe_rejections(result: Evaluation) -> Record:
    """Return the error-reject curve, and the rejections for some error rates."""
    found = result.rejections
    rate = float(found.error_rate[0])
    rows = []
    for target in [*[each for each in TARGETS if each < rate][:SHOWN], 0.0] if rate else []:
        row: Record = {"error_rate": target, "threshold": None, "rejected": None, "accepted": 0}
        if (place := found.reach(target)) is not None:
            left, wrong = int(found.accepted[place]), int(found.errors[place])
            row |= {
                "threshold": float(found.threshold[place]),
                "rejected": (found.count - left) / found.count,
                "accepted": left,
                "errors": wrong,
                "interval": [*wilson_interval(wrong, left)],
            }
        rows.append(row)
    shares = np.linspace(0, 1, POINTS)[:-1]
    places = np.searchsorted(found.rejected, shares, side="right") - 1
    curve = zip(found.rejected[places].tolist(), found.error_rate[places].tolist(), strict=True)
    return {
        "area": found.area,
        "best_area": found.best_area,
        "table": rows,
        "curve": sorted({tuple(point) for point in curve}),
    }


def describe_calibration(record: Record) -> str:
    """Return the scores as text, for a terminal."""
    width, mass = (record["ece"][f"equal_{equal}"] for equal in EQUALS)
    auc = record["auc"]["macro"]
    ranked = sum(each["auc"] is not None for each in record["auc"]["classes"])
    area = ""
    if auc is not None:
        area = f"Mean AUC: {area_text(auc)}, of {count(ranked, 'class', 'classes')}\n"
    return (
        f"Probabilities, at temperature {record['temperature']:.4g}: NLL {record['nll']:.4f}, "
        f"Brier score {record['brier']:.4f}\n{area}"
        f"ECE: {_percent(width['value'])} in {record['bins']} bins of equal width "
        f"({_percent(width['by_chance'])} by chance alone), {_percent(mass['value'])} of equal mass"
        f" ({_percent(mass['by_chance'])})"
    )


def rejections_table(record: Record) -> str:
    """Return the rejections for some error rates, a line for each."""
    rows = _rows(record)
    if not rows:
        return ""
    headers = (
        "error rate at most",
        "reject",
        "confidence below",
        "images left",
        "errors",
        "95% interval",
    )
    return "Error-reject curve:\n" + table([headers, *rows], "rrrrrr")


def _rows(record: Record) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for row in record["rejections"]["table"]:
        if row["rejected"] is None:
            rows.append((_percent(row["error_rate"]), "cannot", "", "", "", ""))
            continue
        low, high = row["interval"]
        rows.append(
            (
                _percent(row["error_rate"]),
                f"{100 * row['rejected']:.2f}%",
                _sure(row["threshold"]),
                f"{row['accepted']:,}",
                f"{row['errors']:,}",
                f"{_percent(low)} to {_percent(high)}",
            )
        )
    return rows


def _percent(share: float) -> str:
    """Return a fraction in percent, with two decimals or two significant digits."""
    return f"{100 * share:.2f}%" if share >= 0.01 else f"{100 * share:.2g}%"


def area_text(area: float) -> str:
    """Return an area under a ROC curve with five digits, never rounded up to 1.

    Examples
    --------
    >>> from lenet5c.report.probabilities import area_text
    >>> area_text(0.98765), area_text(0.999999), area_text(1.0)
    ('0.98765', 'over 0.99999', '1')
    """
    return "1" if area == 1 else "over 0.99999" if area > 0.99999 else f"{area:.5f}"


def _sure(confidence: float) -> str:
    """Return a confidence in percent, with enough digits to distinguish it from 100 %."""
    digits = 2
    while digits < 6 and 1 - confidence < 10 ** -(digits + 2):
        digits += 1
    return f"{100 * confidence:.{digits}f}%"


def space_percents(text: str) -> str:
    """Return a text with a space before each percent sign."""
    return re.sub(r"(?<=\d)%", " %", text)


def space_cells(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Apply `space_percents` to each cell of a table."""
    return [[space_percents(cell) for cell in row] for row in rows]


def probability_sections(
    pictures: Mapping[str, bytes], record: Record, class_names: Sequence[str]
) -> list[str]:
    """Return the parts of a page about probabilities, rejections and ROC curves."""
    width, mass = (record["ece"][f"equal_{equal}"] for equal in EQUALS)
    told = (
        "A confidence is the probability of the predicted label, at the temperature "
        f"{record['temperature']:.4g}. Calibrated probabilities match the frequency of correct "
        "predictions: in each bin the accuracy is close to the mean confidence. The expected "
        f"calibration error (ECE), the mean distance of the two, is {_percent(width['value'])} in "
        f"{record['bins']} bins of equal width and {_percent(mass['value'])} in bins of equal "
        "mass, which have equal numbers of images; with this number of images, a perfectly "
        f"calibrated model would have {_percent(width['by_chance'])} and "
        f"{_percent(mass['by_chance'])} by chance alone. NLL: {record['nll']:.4f}, the mean of "
        f"-log p of the true label. Brier score: {record['brier']:.4f}, the mean squared error of "
        "all probabilities of an image, 0 to 2."
    )
    rows = [
        [
            f"{_sure(each['low'])} to {_sure(each['high'])}",
            f"{each['count']:,}",
            _sure(each["confidence"]),
            f"{100 * each['accuracy']:.2f}%",
            f"{100 * each['interval'][0]:.2f} to {100 * each['interval'][1]:.2f}%",
        ]
        for each in record["reliability"]["equal_width"]
    ]
    headers = ["confidence", "images", "mean", "accuracy", "95 % interval (Wilson)"]
    reliability = page.section(
        "Reliability of the probabilities",
        _picture(pictures, "reliability", RELIABILITY, "Reliability diagrams"),
        page.paragraph(space_percents(told)),
        page.table(headers, space_cells(rows), numbers=(1, 2, 3, 4)),
    )
    area = record["rejections"]
    told = (
        f"Area under the curve: {_percent(area['area'])}, the mean error rate over all rejection "
        f"rates; {_percent(area['best_area'])} if all misclassified images were rejected first."
    )
    headers = [
        "error rate at most",
        "reject",
        "confidence below",
        "images left",
        "errors",
        "95 % interval",
    ]
    made = _rows(record)
    rejections = page.section(
        "Error-reject curve",
        _picture(pictures, "rejections", REJECTIONS, "Error-reject curve"),
        page.paragraph(space_percents(told)),
        page.table(headers, space_cells(made), numbers=range(6)) if made else "",
    )
    return [reliability, rejections, _roc_section(pictures, record, class_names)]


RELIABILITY = (
    "Left: bins of equal width; the bar is the accuracy with its 95 % interval, the dot is the "
    "mean confidence, on the diagonal if calibrated; below, the number of images. Right: bins of "
    "equal mass: expected error rate by confidence, and observed error rate."
)
REJECTIONS = (
    "Error rate of the accepted images when the least confident are rejected, with its 95 % "
    "interval. Dashed: if all misclassified images were rejected first."
)
ROC = (
    "Each class versus the rest: true positive rate versus false positive rate for all "
    "thresholds on the probability."
)


def _picture(pictures: Mapping[str, bytes], name: str, caption: str, alternative: str) -> str:
    return page.picture(pictures[name], caption, alternative) if name in pictures else ""


def _roc_section(pictures: Mapping[str, bytes], record: Record, class_names: Sequence[str]) -> str:
    areas = record["auc"]["classes"]
    known = [k for k, each in enumerate(areas) if each["auc"] is not None]
    if not known:
        return ""
    lowest = sorted(known, key=lambda k: (areas[k]["auc"], k))[: 2 * LOWEST]
    rows = [
        [
            plain(shorten(class_names[k], NAME)),
            area_text(areas[k]["auc"]),
            f"{areas[k]['interval'][0]:.4f} to {areas[k]['interval'][1]:.4f}",
        ]
        for k in lowest
    ]
    some = f"The {len(lowest)} lowest of {len(known)} classes. " if len(lowest) < len(known) else ""
    told = (
        f"{some}The mean over {count(len(known), 'class', 'classes')} is "
        f"{area_text(record['auc']['macro'])}. Newcombe's 95 % intervals; ties count half."
    )
    return page.section(
        "ROC curves",
        _picture(pictures, "roc", ROC, "ROC curves"),
        page.paragraph(space_percents(told)),
        page.table(["class", "AUC", "95 % interval"], rows, numbers=(1, 2)),
    )
