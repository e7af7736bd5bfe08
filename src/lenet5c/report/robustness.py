"""Robustness to corrupted images, for JSON, text, pictures and pages."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import count, format_p, shorten, table
from lenet5c.datasets.corruptions import corrupt
from lenet5c.report import page
from lenet5c.report.mosaic import canvas, place, shrink, tile, to_colors, write
from lenet5c.report.probabilities import space_cells, space_percents
from lenet5c.report.tables import NAME, WIDEST
from lenet5c.training import Corrupted, Robustness
from lenet5c.training.plot_style import styled
from lenet5c.training.robustness import CLEAN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = dict[str, Any]
SHOWN = 12  # number of columns of the picture
SIDE, LABEL = 56, 150  # pixels of an image, and of the name of a kind
SIGNIFICANT = 0.05


def describe_robustness(found: Sequence[Robustness], seed: int, names: Sequence[str]) -> Record:
    """Return the metrics for JSON, of one model or of two with tests between them."""
    first = found[0]
    record: Record = {
        "images": len(first.clean.correct),
        "seed": seed,
        "severities": list(first.severities),
        **_describe_model(first),
    }
    if len(found) > 1:
        second = found[1]
        record["compare"] = {"model": names[1], **_describe_model(second)}
        record["compare"]["tests"] = [
            {
                "kind": row.kind,
                "severity": row.severity,
                "only_first": test.only_a,
                "only_second": test.only_b,
                "p_value": test.p_value,
                "holm_p": adjusted,
            }
            for row, (test, adjusted) in zip(first.rows, first.compare(second), strict=True)
        ]
    return record


def _describe_model(found: Robustness) -> Record:
    return {
        "mean_corruption_error": found.mean_error,
        "mean_ece": found.mean_ece,
        "clean": _describe_row(found.clean, found.clean),
        "rows": [_describe_row(row, found.clean) for row in found.rows],
    }


def _describe_row(row: Corrupted, clean: Corrupted) -> Record:
    return {
        "kind": row.kind,
        "severity": row.severity,
        "correct": int(row.correct.sum()),
        "accuracy": 1 - row.error,
        "error": row.error,
        "increase": row.error - clean.error,
        "confidence": row.confidence,
        "ece": row.ece,
        "nll": row.nll,
    }


def robustness_text(record: Record, name: str) -> str:
    """Return the tables for a terminal."""
    parts = [f"{describe_images(record)}\n{table(*_accuracies(record))}", _mean(record)]
    if other := record.get("compare"):
        parts.append(
            f"Compared with {other['model']} on the same corrupted images:\n"
            f"{table(*_tests(record, name))}\n{fill(interpret_tests(record, name), WIDEST)}"
        )
    return "\n".join(parts)


def describe_images(record: Record) -> str:
    """Return a title with the number of images and the corruptions."""
    levels = " ".join(map(str, record["severities"]))
    several = "severities" if len(record["severities"]) > 1 else "severity"
    return (
        f"Corrupted, {several} {levels}: {count(record['images'], 'image')}, seed {record['seed']}"
    )


def _accuracies(record: Record) -> tuple[list[Sequence[str]], str]:
    rows: list[Sequence[str]] = [
        ("kind", "severity", "accuracy", "more errors", "confidence", "ECE")
    ]
    for row in [record["clean"], *record["rows"]]:
        clean = row["severity"] == 0
        rows.append(
            (
                row["kind"],
                "" if clean else str(row["severity"]),
                f"{100 * row['accuracy']:.2f}%",
                "" if clean else f"{100 * row['increase']:+.2f}",
                f"{100 * row['confidence']:.2f}%",
                f"{100 * row['ece']:.2f}%",
            )
        )
    return rows, "lrrrrr"


def _mean(record: Record) -> str:
    text = (
        f"Mean corruption error {100 * record['mean_corruption_error']:.2f}%, "
        f"mean ECE {100 * record['mean_ece']:.2f}%"
    )
    if other := record.get("compare"):
        text += (
            f"; {other['model']}: {100 * other['mean_corruption_error']:.2f}%, "
            f"{100 * other['mean_ece']:.2f}%"
        )
    return text


def _tests(record: Record, name: str) -> tuple[list[Sequence[str]], str]:
    other = record["compare"]
    names = [shorten(each, NAME) for each in (name, other["model"])]
    rows: list[Sequence[str]] = [
        ("kind", "severity", *names, "only first", "only second", "p", "p (Holm)")
    ]
    for first, second, test in zip(record["rows"], other["rows"], other["tests"], strict=True):
        rows.append(
            (
                test["kind"],
                str(test["severity"]),
                f"{100 * first['accuracy']:.2f}%",
                f"{100 * second['accuracy']:.2f}%",
                str(test["only_first"]),
                str(test["only_second"]),
                format_p(test["p_value"]),
                format_p(test["holm_p"]),
            )
        )
    return rows, "lrrrrrrr"


def interpret_tests(record: Record, name: str) -> str:
    """Return a sentence on the number of rows in which either model is better."""
    tests = record["compare"]["tests"]
    better = [0, 0]
    for test in tests:
        if test["holm_p"] < SIGNIFICANT:
            better[test["only_second"] > test["only_first"]] += 1
    return (
        f"McNemar's exact test of each row, p-values adjusted by Holm's method for "
        f"{len(tests)} tests: below {SIGNIFICANT}, {name} is better in {better[0]}, "
        f"{record['compare']['model']} in {better[1]}, neither in {len(tests) - sum(better)}."
    )


@styled
def corruption_sheet(images: NDArray[np.uint8], record: Record, inverted: bool = False) -> "Figure":
    """Draw some images corrupted in each way, a row for each kind.

    Parameters
    ----------
    images : ndarray of uint8 (N, C, H, W)
    record : dict
        See `describe_robustness`.
    inverted : bool
        Show gray images black on white.
    """
    levels, seed = record["severities"], record["seed"]
    chosen = images[: max(1, SHOWN // len(levels))]
    kinds = list(dict.fromkeys(row["kind"] for row in record["rows"]))
    lines = [(CLEAN, [chosen] * len(levels))]
    lines += [(kind, [corrupt(chosen, kind, level, seed) for level in levels]) for kind in kinds]
    h, w = shrink(chosen, SIDE).shape[2:]
    scale = max(1, round(SIDE / max(h, w)))
    across = len(chosen) * len(levels)
    wide, tall = (w + 1) * scale, (h + 1) * scale
    figure, ax = canvas(LABEL + across * wide + 16, len(lines) * tall + 40)
    for i, level in enumerate(levels):
        write(ax, f"severity {level}", LABEL + i * len(chosen) * wide, 8, fontsize=7)
    for number, (kind, made) in enumerate(lines):
        cells = to_colors(shrink(np.concatenate(made), SIDE), inverted)
        top = 30 + number * tall
        place(ax, tile(cells, across), LABEL, top, scale)
        write(ax, kind.replace("_", " "), 8, top + tall / 2, va="center", fontsize=8)
    return figure


def robustness_section(pictures: Mapping[str, bytes], record: Record, name: str) -> str:
    """Return the part of a page about corrupted images."""
    headers, *rows = _accuracies(record)[0]
    blocks = [
        page.paragraph(
            f"{describe_images(record)}. {space_percents(_mean(record))}. The mean corruption "
            "error is the mean error rate of all rows, not normalized by a baseline model; more "
            "errors are percentage points above the error rate on the original images."
        )
    ]
    if "corruptions" in pictures:
        caption = "Examples of each corruption."
        blocks.append(page.picture(pictures["corruptions"], caption, "Corrupted images"))
    blocks.append(page.table(headers, space_cells(rows), numbers=range(1, 6), marked=(0,)))
    if "compare" in record:
        headers, *rows = _tests(record, name)[0]
        marked = [i for i, t in enumerate(record["compare"]["tests"]) if t["holm_p"] < SIGNIFICANT]
        blocks += [
            page.paragraph(interpret_tests(record, name) + " These rows are in bold."),
            page.table(headers, space_cells(rows), numbers=range(1, 8), marked=marked),
        ]
    return page.section("Corrupted images", *blocks)
