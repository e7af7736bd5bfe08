"""The records: seconds of a whole training process until a mean test accuracy, by one command."""

import json
import shlex
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import datetime
from pathlib import Path
from typing import Any

from lenet5c import _files
from lenet5c.errors import RunError
from lenet5c.recipes import RunConfig
from lenet5c.recipes.placement import place
from lenet5c.report.results import duration
from lenet5c.reproduction.record import describe_machine, describe_spread, read_process
from lenet5c.reproduction.report import describe_run, percent, plus_minus, table
from lenet5c.reproduction.runs import folder_of, train_all

RECORDS_PAGE, RECORDS_FILE = "records.md", "records.json"
SEEDS = 5
#: Test accuracies in percent, and the recipes with changes that reach them on average.
RECORDS: dict[float, tuple[str, dict[str, Any]]] = {
    98.5: ("fast", {"train_size": 20_000}),
    99.0: ("fast", {}),
    99.3: ("default", {"epochs": 4, "validation": 0}),
    99.5: ("best", {"epochs": 20}),
    99.6: ("best", {}),
    99.66: ("record", {}),
}
HEAD = """# Records

How soon a LeNet-5 reaches a test accuracy on MNIST. This file is written by a command and not by \
hand:

"""
READING = """

Seconds are those of the whole process, from start to exit: Python, imports, reading MNIST, \
training, the test images, all files. Mean and standard deviation over the seeds, from 0 on. \
Settings were chosen on validation images held out from the training set. A row without a check \
mark does not reach its accuracy on average.
"""


def reproduce_records(
    seeds: int | None = None,
    *,
    jobs: int | None = 1,
    executor: Executor | None = None,
    work: str | Path = "runs/reproduce",
    out: str | Path = "docs",
    tell: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Train what `RECORDS` says, each training a process of its own, and write the table.

    Finished trainings are kept, so that the same call goes on after an interrupt.

    Parameters
    ----------
    seeds : int, optional
        Seeds 0 to this of each row; by default `SEEDS`.
    jobs, executor
        As of `reproduce`.
    work : str or Path
        The folder of the trainings.
    out : str or Path
        The folder of the table.
    tell : callable, optional
        Called with a line of text for each training.

    Returns
    -------
    dict
        The record.

    Raises
    ------
    TrainingError
        A training failed.
    RunError
        A folder cannot be used.
    """
    count, out = seeds or SEEDS, Path(out)
    source = RunConfig.named("fast").open(tell)
    rows = {
        goal: place(
            [RunConfig.named(name, seed=seed, **changes) for seed in range(count)],
            Path(work).resolve(),
            [source] * count,
        )
        for goal, (name, changes) in RECORDS.items()
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"out must be a writable folder, got {out} ({error.strerror})") from None
    every = [config for configs in rows.values() for config in configs]
    train_all(every, jobs, tell, executor)
    words = [
        "--records",
        *(["--seeds", seeds] if seeds else []),
        *(["--jobs", jobs] if jobs and jobs > 1 else []),
    ]
    record = {
        "command": shlex.join(["python", "-m", "lenet5c", "reproduce", *map(str, words)]),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "rows": [make_row(goal, configs) for goal, configs in rows.items()],
    }
    _files.write_bytes(out / RECORDS_FILE, (json.dumps(record, indent=1) + "\n").encode())
    _files.write_bytes(out / RECORDS_PAGE, format_records(record).encode())
    return record


def make_row(goal: float, configs: list[RunConfig]) -> dict[str, Any]:
    """Return what the seeds of one row have reached, accuracies in percent."""
    runs = []
    for config in configs:
        folder = folder_of(config)
        summary = folder.read_summary() or {}
        accuracy = 100 * summary["test_correct"] / summary["test_count"]
        runs.append({"seed": config.seed, "accuracy": accuracy, **read_process(folder)})
    seconds = [run["seconds"] for run in runs if run["seconds"] is not None]
    return {
        "goal": goal,
        "command": configs[0].command().replace("--seed 0", "--seed S"),
        "parameters": summary["parameters"],
        "accuracy": describe_spread([run["accuracy"] for run in runs]),
        "seconds": describe_spread(seconds) if seconds else None,
        "runs": runs,
    }


def format_records(record: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    rows = []
    for row in record["rows"]:
        found, seconds = row["accuracy"], row["seconds"]
        time = duration(seconds["mean"]) + plus_minus(seconds["sd"]) if seconds else "not timed"
        mark = " ✓" if found["mean"] >= row["goal"] else ""
        reached = f"{percent(found['mean'])}{plus_minus(found['sd'])}{mark}"
        cells = [f"{row['goal']} %", time, reached, found["count"], f"{row['parameters']:,}"]
        rows.append([*cells, f"`{row['command']}`"])
    heads = ["test accuracy", "seconds", "reached", "seeds", "parameters", "command"]
    return f"{HEAD}{describe_run(record)}\n\n{table(heads, rows, 'rrlrrl')}{READING}"
