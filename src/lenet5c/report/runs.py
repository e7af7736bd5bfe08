"""Comparison of runs, as rows and curves."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet5c import _files
from lenet5c._optional import require
from lenet5c._text import plain, shorten
from lenet5c.errors import RunError
from lenet5c.recipes import RunConfig
from lenet5c.training.curves import compare_curves
from lenet5c.training.plot_style import PURPOSE, styled
from lenet5c.training.run_folder import MAX_METRICS, RunFolder
from lenet5c.training.statistics import wilson_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Maximum depth of folders to search.
DEPTH = 3
#: Number of runs to draw, the best ones.
MAX_DRAWN = 12
#: Columns of a name in a legend.
WIDEST = 40


@dataclass(frozen=True, eq=False)
class RunRow:
    """Properties of a run, read from its folder.

    Attributes
    ----------
    name : str
        The folder, relative to the searched one.
    status : {'finished', 'stopped', 'failed'}
        'failed' if the files of the run are invalid; `fault` has the reason.
    options : list of str
        Options of ``lenet5c train`` for the run.
    epochs : int
        Number of finished epochs.
    test_accuracy, validation_accuracy : float or None
        Accuracy of the final weights; of the last epoch for a stopped run.
    interval : tuple of float or None
        95 % interval of the test accuracy.
    seconds : float or None
    history : list of dict
    """

    name: str
    status: str
    options: list[str]
    epochs: int = 0
    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    interval: tuple[float, float] | None = None
    seconds: float | None = None
    fault: str | None = None
    history: Sequence[dict[str, Any]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all but the history, for JSON."""
        values = asdict(self)
        del values["history"]
        return values


def list_runs(folder: str | os.PathLike[str]) -> list[RunRow]:
    """Return a row for each run in a folder and its subfolders, best test accuracy first.

    Raises
    ------
    RunError
        If there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise RunError(f"folder must contain runs, got {root}, which does not exist")
    rows = [_describe(root, path) for path in _find(root, DEPTH)]
    return sorted(rows, key=lambda row: (-(row.test_accuracy or -1), row.name))


def _find(folder: Path, depth: int) -> list[Path]:
    """Return the folders with a run, sorted by name."""
    found = [folder] if os.path.lexists(RunFolder(folder).config_file) else []
    if depth:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
                found += _find(path, depth - 1)
    return found


def _describe(root: Path, path: Path) -> RunRow:
    name = str(path.relative_to(root)) if path != root else path.resolve().name
    folder = RunFolder(path)
    try:
        options = RunConfig.read(folder).options()
    except (RunError, OSError) as error:
        return RunRow(name, "failed", [], fault=str(error))
    try:
        history = _read_history(folder)
        summary = folder.read_summary(history)
    except (RunError, OSError) as error:
        return RunRow(name, "failed", options, fault=str(error))
    last = history[-1] if history else {}
    if summary is None:
        validation = last.get("validation_accuracy")
        return RunRow(name, "stopped", options, len(history), validation, history=history)
    correct, count = summary["test_correct"], summary["test_count"]
    return RunRow(
        name,
        "finished",
        options,
        summary["epochs"],
        summary.get("validation_accuracy"),
        correct / count,
        wilson_interval(correct, count),
        summary["seconds"],
        history=history,
    )


def _read_history(folder: RunFolder) -> list[dict[str, Any]]:
    try:
        lines = _files.read_bytes(folder.metrics_file, MAX_METRICS).splitlines()
        rows = [json.loads(line) for line in lines]
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise RunError(f"{folder.metrics_file} must have JSON on each line: {error}") from None
    if not all(isinstance(row, dict) for row in rows):
        raise RunError(f"{folder.metrics_file} must have a JSON object on each line")
    return rows


def differing_options(rows: Sequence[RunRow]) -> list[list[str]]:
    """Return the options of each run that differ between runs, each with its values as text."""
    groups = [_group(row.options) for row in rows]
    common = set(groups[0]).intersection(*groups[1:]) if groups else set()
    return [[text for text in group if text not in common] for group in groups]


def _group(words: list[str]) -> list[str]:
    grouped: list[str] = []
    for word in words:
        if word.startswith("--") or not grouped:
            grouped.append(word.removeprefix("--"))
        else:
            grouped[-1] += f" {word}"
    return grouped


@styled
def draw_runs(rows: Sequence[RunRow]) -> "Figure":
    """Draw loss and accuracy of several runs by epoch, on validation images if available.

    Parameters
    ----------
    rows : sequence of RunRow
        The first 12 runs with finished epochs are drawn.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    RunError
        If no run has finished an epoch.
    MissingExtraError
        If matplotlib is not installed.
    """
    require("matplotlib", "plots", PURPOSE)
    drawn = [row for row in rows if row.history][:MAX_DRAWN]
    if not drawn:
        raise RunError("runs must include one with a finished epoch, got none")
    return compare_curves({shorten(plain(row.name), WIDEST): list(row.history) for row in drawn})
