"""Results of many runs: one row per run, result files, a table, and means over seeds."""

import csv
import io
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet5c import _files
from lenet5c._text import printable, table
from lenet5c.recipes.run_config import option_settings
from lenet5c.recipes.setting import in_words
from lenet5c.training.run_folder import RunFolder

if TYPE_CHECKING:
    from lenet5c.recipes.run_config import RunConfig

LINES, TABLE = "results.jsonl", "results.csv"
#: Results copied from a run's summary to its row; times are excluded, since they always vary.
RESULTS = (
    "test_accuracy",
    "test_correct",
    "test_count",
    "test_loss",
    "validation_accuracy",
    "validation_count",
    "temperature",
    "epochs",
    "parameters",
)


def differing_settings(configs: Sequence["RunConfig"]) -> list[dict[str, Any]]:
    """Return the settings of each run that differ between the runs, except recipe and seed.

    If the recipes differ, settings that no run changes from its recipe are omitted.
    """
    names = [name for name in option_settings() if name not in ("recipe", "seed")]
    values = [
        {name: value for name in names if (value := config.get(name)) is not None}
        | ({} if config.fold is None else {"fold": config.fold})
        for config in configs
    ]
    texts = [{name: json.dumps(each[name], sort_keys=True) for name in each} for each in values]
    every = dict.fromkeys(name for each in values for name in each)
    differ = [name for name in every if len({each.get(name) for each in texts}) > 1]
    if len({config.recipe for config in configs}) > 1:
        changed = {"fold"}.union(*(config.changes() for config in configs))
        known = option_settings()
        differ = [
            name for name in differ if ((name in known and known[name].named) or name) in changed
        ]
    return [{name: each.get(name) for name in differ} for each in values]


def make_row(config: "RunConfig", settings: dict[str, Any], error: str | None) -> dict[str, Any]:
    """Return the row of a run from its folder; a run with an error has no results.

    Raises
    ------
    RunError
        If a file of the run cannot be used.
    """
    folder = RunFolder(config.folder or "")
    summary = None if error else folder.read_summary()
    state = "failed" if error else "stopped" if summary is None else "done"
    row = {"run": folder.path.name, "state": state, "recipe": config.recipe, "seed": config.seed}
    found = summary or {}
    row |= {"recipe": found.get("recipe", config.recipe)}  # the images may have chosen it
    row |= settings | {name: found.get(name) for name in RESULTS}
    return row | {"error": error}


def write_rows(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows in order, as JSON lines and as CSV."""
    _files.write_bytes(folder / LINES, "".join(json.dumps(row) + "\n" for row in rows).encode())
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    _files.write_bytes(folder / TABLE, text.getvalue().encode())


def _cell(value: Any) -> Any:
    return in_words(value) if isinstance(value, (dict, list)) else value


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Format the rows as a text table."""
    if not rows:
        return ""
    shown = [name for name in rows[0] if name not in (*RESULTS, "run", "state", "error")]
    headers = {"validation_accuracy": "valid.", "test_accuracy": "test", "epochs": "epochs"}
    if all(row["validation_accuracy"] is None for row in rows):
        del headers["validation_accuracy"]
    lines = [(*shown, *headers.values())]
    for row in rows:
        cells = [printable(in_words(row[name])) for name in shown]
        lines.append((*cells, *(_show(row, name) for name in headers)))
    return table(lines, "l" + "r" * (len(lines[0]) - 1))


def _show(row: dict[str, Any], name: str) -> str:
    if name == "test_accuracy" and row["state"] != "done":
        return str(row["state"])
    value = row[name]
    if value is None:
        return ""
    return str(value) if name == "epochs" else f"{100 * value:.2f}%"


def spread(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and standard deviation over seeds and folds.

    Returns
    -------
    list of dict
        Recipe, settings, count, mean and sd of the test accuracy, for groups of at least two runs.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    hidden = (*RESULTS, "run", "state", "error", "seed", "fold")
    for row in rows:
        if row["state"] == "done":
            kept = {name: value for name, value in row.items() if name not in hidden}
            groups.setdefault(json.dumps(kept), []).append(row)
    return [
        json.loads(key)
        | {
            "count": len(group),
            "mean": statistics.mean(row["test_accuracy"] for row in group),
            "sd": statistics.stdev(row["test_accuracy"] for row in group),
        }
        for key, group in groups.items()
        if len(group) > 1
    ]
