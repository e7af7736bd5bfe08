"""The machine-readable record of a report, docs/reproductions.json: all that its texts and pictures show."""

import json
import os
import platform
import re
from datetime import datetime
from pathlib import Path

import numpy as np

import lenet5c
from lenet5c import _files, kernels
from lenet5c.datasets import mnist_label_errors
from lenet5c.recipes import RECIPES
from lenet5c.reproduction.reported import PAIRS
from lenet5c.training import RunError, evaluate, mcnemar, mean_interval, open_model, wilson_interval

FORMAT = "lenet5c reproductions 1"


def make_record(runs, train_count, test_set, command, data, changes):
    """The record of finished runs.

    Parameters
    ----------
    runs : list of lenet5c.reproduction.runs.Run
    train_count : int
        How many training images there are in all.
    test_set : lenet5c.datasets.Dataset
    command : str
        What was called.
    data : str
        The name of the data.
    changes : dict
        Settings that replaced those of every recipe.

    Returns
    -------
    dict
        For `json`. A result holds the runs of one recipe. Its accuracies are in percent, its times in seconds;
        histories have shares, 0 to 1. Rejected are the test images whose labels raters rejected.

    Raises
    ------
    RunError
        The files of a run cannot be used.
    """
    groups = {}
    for run in runs:
        groups.setdefault((run.recipe, run.train_size), []).append(run)
    results = [make_result(name, size, group, test_set) for (name, size), group in groups.items()]
    rejected = list(mnist_label_errors()) if data == "mnist" else []
    return {
        "format": FORMAT,
        "command": command,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": machine(),
        "data": data,
        "train_count": train_count,
        "changes": changes,
        "rejected": {"index": rejected, "label": test_set.labels[rejected].tolist()},
        "results": results,
        "comparisons": list(comparisons(results)),
    }


def make_result(name, train_size, runs, test_set):
    """What the seeds of one recipe gave."""
    rows = [run_row(run, test_set) for run in runs]
    accuracies = [100 * row["test_correct"] / row["test_count"] for row in rows]
    by_accuracy = sorted(range(len(rows)), key=accuracies.__getitem__)
    median = by_accuracy[(len(rows) - 1) // 2]
    correct, count = rows[median]["test_correct"], rows[median]["test_count"]
    seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
    entry, config = RECIPES[name], runs[median].folder.read_config()
    return {
        "recipe": name,
        "train_size": train_size,
        "summary": entry.summary,
        "reproduces": entry.reproduces,
        "notes": entry.notes,
        "settings": {key: config[key] for key in entry.to_dict()},
        "parameters": runs[median].folder.read_summary()["parameters"],
        "epochs": rows[median]["epochs"],
        "accuracy": spread(accuracies),
        "seconds": spread(seconds) if seconds else None,
        "median_seed": rows[median]["seed"],
        "wilson": [round(100 * end, 6) for end in wilson_interval(correct, count)],
        "errors": rows[median].pop("errors"),
        "runs": [{key: value for key, value in row.items() if key != "errors"} for row in rows],
    }


def run_row(run, test_set):
    """One training, from the files it left; the model is asked again which images it has wrong."""
    summary = run.folder.read_summary()
    try:
        process = json.loads(run.process_file.read_text())
        timed = {key: process[key] for key in ("seconds", "started", "jobs")}
    except FileNotFoundError:  # the report was killed in the moment the training ended
        timed = {"seconds": None, "started": None, "jobs": None}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{run.process_file} cannot be read ({error}); delete it: the run then counts as not timed"
        ) from None
    try:
        history = [json.loads(line) for line in run.folder.metrics_file.read_text().splitlines()]
        columns = {key: [round(row[key], 6) for row in history] for key in history[0]}
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise RunError(
            f"{run.folder.metrics_file} cannot be used ({error}); delete {run.folder.path}"
        ) from None
    result = evaluate(open_model(run.folder.path), test_set)
    predicted, confidence = result.predictions, result.confidences
    wrong = np.flatnonzero(predicted != test_set.labels)
    if (len(test_set) - len(wrong), len(test_set)) != (
        summary["test_correct"],
        summary["test_count"],
    ):
        raise RunError(
            f"{run.folder.model_file} has {len(wrong)} of {len(test_set)} test images wrong, other than its "
            f"summary.json says; delete {run.folder.path} to train it again"
        )
    return {
        "seed": run.seed,
        "test_correct": summary["test_correct"],
        "test_count": summary["test_count"],
        **timed,
        "threads": summary["threads"],
        "kernels": summary["kernels"],
        "epochs": summary["epochs"],
        "validation_accuracy": summary.get("validation_accuracy"),
        "history": columns,
        "wrong": wrong.tolist(),
        "errors": {
            "index": wrong.tolist(),
            "label": test_set.labels[wrong].tolist(),
            "predicted": predicted[wrong].tolist(),
            "confidence": [round(float(value), 4) for value in confidence[wrong]],
        },
    }


def spread(values):
    """Mean, standard deviation and Student's 95 % interval; of one value only itself."""
    if len(values) == 1:
        return {"mean": round(values[0], 6), "sd": None, "low": None, "high": None, "count": 1}
    found = mean_interval(values)
    return {name: round(getattr(found, name), 6) for name in ("mean", "sd", "low", "high", "count")}


def comparisons(results):
    """McNemar's test for the pairs of recipes that are there, on the runs of median accuracy."""
    whole = {result["recipe"]: result for result in results if result["train_size"] is None}
    for pair in PAIRS:
        if all(name in whole for name in pair):
            right = []
            for name in pair:
                (run,) = [
                    run for run in whole[name]["runs"] if run["seed"] == whole[name]["median_seed"]
                ]
                right.append(~np.isin(np.arange(run["test_count"]), run["wrong"]))
            test = mcnemar(*right)
            yield {
                "a": pair[0],
                "b": pair[1],
                "only_a": test.only_a,
                "only_b": test.only_b,
                "p_value": test.p_value,
                "mid_p": test.mid_p,
            }


def machine():
    """What the report was made on."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": kernels.get_num_threads(),
        "instructions": kernels.isa,
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "lenet5c": lenet5c.__version__,
    }


def processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def write_record(path, record):
    """Write it as JSON, each list of numbers in one line."""
    text = json.dumps(record, indent=1, ensure_ascii=False)
    # No string contains a line break, so a bracket followed by one is a list.
    text = re.sub(
        r'\[\n\s+([^\[\]{}"]*?)\n\s*\]', lambda found: "[" + " ".join(found[1].split()) + "]", text
    )
    _files.write_bytes(path, (text + "\n").encode())


def read_record(path):
    """Read a record that a report left.

    Raises
    ------
    FileNotFoundError
    RunError
        The file is damaged or something else.
    """
    try:
        record = json.loads(Path(path).read_text("utf-8"))
        if record["format"] != FORMAT or not all(
            isinstance(result["recipe"], str) for result in record["results"]
        ):
            raise ValueError(f"its format is {record['format']!r}")
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(
            f"{path} is not a record of lenet5c reproduce ({error}); name another folder"
        ) from None
    return record


def reached_text(result):
    """What a recipe reached, as its field `reached` says it.

    Examples
    --------
    >>> from lenet5c.reproduction import reached_text
    >>> reached_text({"accuracy": {"mean": 99.318, "sd": 0.061, "count": 5}})
    '99.32 % ± 0.06 (5 seeds)'
    """
    accuracy = result["accuracy"]
    if accuracy["count"] == 1:
        return f"{accuracy['mean']:.2f} % (1 seed)"
    return f"{accuracy['mean']:.2f} % ± {accuracy['sd']:.2f} ({accuracy['count']} seeds)"


def check_reached(recipes, record):
    """Hold what recipes say they reached against a record.

    Parameters
    ----------
    recipes : dict
        Name -> Recipe. Those without a text in `reached` are passed over.
    record : dict
        As `read_record` gives it.

    Returns
    -------
    list of str
        A line for each disagreement, with the text that would be right; none if all is well.
    """
    if record["changes"] or record["data"] != "mnist":
        return [
            f"the record is not of the recipes as they are: data {record['data']}, changes {record['changes']}"
        ]
    lines = []
    for result in record["results"]:
        name = result["recipe"]
        said = getattr(recipes.get(name), "reached", "")
        if result["train_size"] is None and said and not said.startswith(reached_text(result)):
            lines.append(f"{name} says {said!r}, the record {reached_text(result)!r}")
    return lines
