"""Summary of a finished run: its result and the digests of its files."""

from pathlib import Path
from typing import Any

from lenet5c import _files
from lenet5c._text import command_line
from lenet5c.errors import RunError

MODEL_NAME, NAME = "model.safetensors", "summary.json"
FIELDS = {
    "test_accuracy": float,
    "test_correct": int,
    "test_count": int,
    "test_interval": list,
    "test_loss": float,
    "temperature": float,
    "seconds": float,
    "parameters": int,
    "epochs": int,
    "recipe": str,
    "seed": int,
    "kernels": str,
    "threads": int,
    "lenet5c": str,
    "files": dict,
}
#: Optional keys.
OPTIONAL = {
    "resumed": bool,
    "validation_accuracy": float,
    "validation_count": int,
    "kept_epoch": int,
    # For a fitted temperature: number of images, and their NLL at temperature 1 and at this one.
    "calibration_count": int,
    "nll_before": float,
    "nll_after": float,
    # For a run that started from a model: its accuracy, McNemar's test against it, and both
    # accuracies on the rehearsed data.
    "start_test_accuracy": float,
    "start_p_value": float,
    "rehearsed_accuracy": float,
    "start_rehearsed_accuracy": float,
}


def read_summary(folder: Path) -> dict[str, Any] | None:
    """Return the summary of the finished run in a folder, None if it or the model is missing.

    Raises
    ------
    RunError
        If the summary or the model is damaged, or they do not match.
    """
    file, model = folder / NAME, folder / MODEL_NAME
    try:
        summary, _ = _files.read_record(file, "summary")
        sha = _files.read_digest(model, "model")
    except FileNotFoundError:
        return None
    for name, kind in (FIELDS | OPTIONAL).items():
        if type(summary.get(name)) is not kind and (name in FIELDS or name in summary):
            raise RunError(
                f"{file} must have {name} of type {kind.__name__}, got {summary.get(name)!r}; "
                "delete it and resume the run to write it again"
            )
    if not 0 <= summary["test_correct"] <= summary["test_count"] != 0:
        raise RunError(
            f"{file} must have test_correct from 0 to test_count, got {summary['test_correct']} "
            f"and "
            f"{summary['test_count']}; delete it and resume the run to write it again"
        )
    if sha != summary["files"].get(MODEL_NAME):
        raise RunError(
            f"{model} must be the model of the run in {NAME}, got that of another run; restore it, "
            "or delete it and resume the run: " + command_line("train", "--resume", "--out", folder)
        )
    return summary
