"""Machine-readable record with all data of a report."""

import json
import os
import platform
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

import lenet5c
from lenet5c import _files, kernels
from lenet5c.datasets import Source, mnist_label_errors
from lenet5c.errors import RunError
from lenet5c.recipes import RECIPES, RunConfig
from lenet5c.recipes.run import open_run
from lenet5c.reproduction.runs import PROCESS_FILE, get_run_folder
from lenet5c.training import mcnemar, mean_interval, wilson_interval
from lenet5c.training.run_folder import RunFolder

FORMAT = "lenet5c reproductions 1"
MAXIMUM = 2**23  # maximum bytes of a record
#: Pairs of recipes that are compared on the same test images.
PAIRS = (
    ("fast", "default"),
    ("default", "best"),
    ("paper1998", "paper1998-distorted"),
    ("paper1998", "default"),
)


def make_record(
    configs: list[RunConfig], source: Source, command: str, data: str, changes: dict[str, Any]
) -> dict[str, Any]:
    """Return the record of finished runs with their folders, for `json`.

    A result contains the runs of one recipe. Accuracies are in percent, times in seconds; histories
    have fractions, 0 to 1. `rejected` are the test images whose labels were rejected by raters.
    `changes` are settings that replaced those of every recipe.

    Raises
    ------
    RunError
        If the files of a run are invalid.
    """
    groups: dict[Any, list[RunConfig]] = {}
    for config in configs:
        groups.setdefault((config.recipe, config.settings.train_size), []).append(config)
    results = [make_result(group, source) for group in groups.values()]
    rejected = list(mnist_label_errors()) if data == "mnist" else []
    return {
        "format": FORMAT,
        "command": command,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "data": data,
        "train_count": len(source.train),
        "changes": changes,
        "rejected": {"index": rejected, "label": source.test.labels[rejected].tolist()},
        "results": results,
        "comparisons": list(compare(results)),
    }


def make_result(configs: list[RunConfig], source: Source) -> dict[str, Any]:
    """Return the result of the seeds of one recipe."""
    rows = [make_row(config, source) for config in configs]
    accuracies = [100 * row["test_correct"] / row["test_count"] for row in rows]
    seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
    median = rows[sorted(range(len(rows)), key=accuracies.__getitem__)[(len(rows) - 1) // 2]]
    name, settings = configs[0].recipe, configs[0].settings
    interval = wilson_interval(median["test_correct"], median["test_count"])
    return {
        "recipe": name,
        "train_size": settings.train_size,
        "summary": RECIPES[name].summary,
        "reproduces": RECIPES[name].reproduces,
        "notes": RECIPES[name].notes,
        "settings": settings.to_dict(),
        "parameters": median["parameters"],
        "epochs": median["epochs"],
        "accuracy": describe_spread(accuracies),
        "seconds": describe_spread(seconds) if seconds else None,
        "median_seed": median["seed"],
        "wilson": [round(100 * end, 6) for end in interval],
        "errors": median["errors"],
        "runs": [
            {key: row[key] for key in row if key not in ("errors", "parameters")} for row in rows
        ],
    }


def make_row(config: RunConfig, source: Source) -> dict[str, Any]:
    """Return the results of one run, from its files and the evaluation of its model."""
    folder = get_run_folder(config)
    timed = read_process(folder)
    run = open_run(folder, source)
    summary, result = run.summary or {}, run.evaluation
    wrong = np.flatnonzero(result.predictions != result.labels)
    if (result.correct, result.count) != (summary["test_correct"], summary["test_count"]):
        raise RunError(
            f"{folder.model_file} must have the accuracy recorded in summary.json, got {result}; "
            f"delete {folder.path} to train again"
        )
    history = {key: [round(row[key], 6) for row in run.history] for key in run.history[0]}
    return {
        "seed": config.seed,
        "test_correct": result.correct,
        "test_count": result.count,
        **timed,
        **{key: summary[key] for key in ("threads", "kernels", "epochs", "parameters")},
        "validation_accuracy": summary.get("validation_accuracy"),
        "history": history,
        "wrong": wrong.tolist(),
        "errors": {
            "index": wrong.tolist(),
            "label": result.labels[wrong].tolist(),
            "predicted": result.predictions[wrong].tolist(),
            "confidence": [round(float(value), 4) for value in result.confidences[wrong]],
        },
    }


def read_process(folder: RunFolder) -> dict[str, Any]:
    """Return the duration of the process of a run, its start, and the number of parallel runs.

    A resumed run has no duration; all three are missing if the report was killed when the run
    ended.

    Raises
    ------
    RunError
        If the file cannot be read.
    """
    process_file = folder.path / PROCESS_FILE
    try:
        process = json.loads(_files.read_bytes(process_file, _files.MAX_RECORD))
        kinds = {"seconds": (float, type(None)), "started": (str,), "jobs": (int,)}
        timed = {key: process[key] for key in kinds}
        if not all(type(timed[key]) in kinds[key] for key in kinds):
            raise ValueError(f"it has {timed}")
    except FileNotFoundError:  # the report was killed when training ended
        return {"seconds": None, "started": None, "jobs": None}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(
            f"{process_file} cannot be read ({error}); delete it to omit the time of the run"
        ) from None
    return timed


def describe_spread(values: list[float]) -> dict[str, Any]:
    """Return mean, standard deviation and Student's 95 % interval; only the mean for one value."""
    if len(values) == 1:
        return {"mean": round(values[0], 6), "sd": None, "low": None, "high": None, "count": 1}
    found = mean_interval(values)
    return {name: round(getattr(found, name), 6) for name in ("mean", "sd", "low", "high", "count")}


def compare(results: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield McNemar's test for the available pairs of recipes, on their median runs."""
    whole = {result["recipe"]: result for result in results if result["train_size"] is None}
    for pair in PAIRS:
        if all(name in whole for name in pair):
            counts = (whole[name]["runs"][0]["test_count"] for name in pair)
            wrongs = (whole[name]["errors"]["index"] for name in pair)
            right = (~np.isin(np.arange(n), wrong) for n, wrong in zip(counts, wrongs, strict=True))
            test = mcnemar(*right)
            fields = ("only_a", "only_b", "p_value", "mid_p")
            yield {"a": pair[0], "b": pair[1], **{name: getattr(test, name) for name in fields}}


def describe_machine() -> dict[str, Any]:
    """Return the machine and the versions."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        text = Path("/proc/cpuinfo").read_text(errors="replace")
        found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        processor = found[1].strip() if found else processor
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "threads": kernels.get_num_threads(),
        "instructions": kernels.isa,
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "lenet5c": lenet5c.__version__,
    }


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON, with each list of numbers on one line."""
    text = json.dumps(record, indent=1, ensure_ascii=False)
    # No string contains a line break, so a bracket followed by one is a list.
    text = re.sub(
        r'\[\n\s+([^\[\]{}"]*?)\n\s*\]', lambda found: "[" + " ".join(found[1].split()) + "]", text
    )
    _files.write_bytes(path, (text + "\n").encode())


def write_reached(path: str | Path, record: dict[str, Any]) -> None:
    """Write the accuracies of a record, a line for each recipe, to recipes/reached.json."""
    lines = [
        f" {json.dumps(result['recipe'])}: "
        + json.dumps({key: result["accuracy"][key] for key in ("mean", "sd", "count")})
        for result in record["results"]
        if result["train_size"] is None
    ]
    _files.write_bytes(Path(path), ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def read_record(path: str | Path) -> dict[str, Any]:
    """Read the record of a report.

    Raises
    ------
    FileNotFoundError
    RunError
        If the file is damaged or not a record.
    """
    try:
        record = json.loads(_files.read_bytes(path, MAXIMUM))
        named = all(isinstance(result["recipe"], str) for result in record["results"])
        if record["format"] != FORMAT or not named:
            raise ValueError(f"its format is {record['format']!r}")
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(
            f"{path} must be a record of lenet5c reproduce, got a different file ({error}); choose "
            f"another folder"
        ) from None
    return record
