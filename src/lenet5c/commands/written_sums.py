"""Formatting of written sums for `lenet5c predict`, as text and JSON."""

import sys
from typing import Any

from lenet5c.recognition.reading import Prediction

RIGHT, WRONG = "✓", "✗"
GREEN, RED, YELLOW = 32, 31, 33


def show_sums(prediction: Prediction, emphasize: Any) -> str:
    """Return the lines of a prediction, each with its verdict; `emphasize` colors a part.

    A terminal that cannot show the signs gets the expressions in ASCII, and words.
    """
    plain = not _can_show(f"{prediction.text}{RIGHT}{WRONG}")
    rows = [_show_line(line, plain, emphasize) for line in prediction.sums]
    return rows[0] if len(rows) == 1 else "\n  ".join([f"{len(rows)} lines", *rows])


def _show_line(line: Prediction, plain: bool, emphasize: Any) -> str:
    if line.rejected:
        return f"{emphasize('-', YELLOW)}  rejected: {line.rejected}"
    expression = line.expression or ""
    text = expression if plain else line.text or ""
    percent = f"  {line.probability:.1%}"
    if line.correct:
        verdict = emphasize("right" if plain else RIGHT, GREEN)
    elif line.correct is False:
        verdict = emphasize("wrong:" if plain else WRONG, RED) + f" {line.value}"
    elif line.value is None or expression.endswith("="):
        verdict = line.value or ""
    else:
        verdict = f"= {line.value}" if line.value != expression else ""
    if line.remark:
        verdict = f"{verdict} ({line.remark})".strip()
    return f"{emphasize(text, GREEN)}{'  ' * bool(verdict)}{verdict}{percent}"


def _can_show(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def sums_as_json(prediction: Prediction, list_facts: Any) -> dict[str, Any]:
    """Return a prediction for JSON: its text, and each line with its signs by `list_facts`."""
    return _facts(prediction) | {
        "lines": [
            _facts(line)
            | {"box": line.box, "signs": [list_facts(sign) for row in line.digits for sign in row]}
            for line in prediction.sums
        ]
    }


def _facts(prediction: Prediction) -> dict[str, Any]:
    return {
        "text": prediction.text,
        "expression": prediction.expression,
        "value": prediction.value,
        "correct": prediction.correct,
        "remark": prediction.remark,
        "probability": prediction.probability,
        "rejected": prediction.rejected is not None,
        "reason": prediction.rejected,
    }
