"""Small training runs: settings, data, and comparisons of their files."""

import json
import struct
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lenet5c.datasets import mnist

RUN_FILES = {"config.json", "metrics.jsonl", "metrics.csv", "checkpoint.safetensors"}
RUN_FILES |= {"model.safetensors", "summary.json"}
EVENTS = "events.out.tfevents.lenet5c"
PICTURES = {f"{name}.png" for name in ("curves", "confusion", "errors", "filters", "activations")}
REPORT = PICTURES | {"report.html"} if find_spec("matplotlib") else set()
HAS_TENSORBOARD = find_spec("tensorboard") is not None
OF_THE_PROCESS = ("seconds", "resumed", "threads", "digest")  # in summary.json, may differ


def write_small_data(folder: Path, train: int = 1200, test: int = 200) -> Path:
    """Write the first images of MNIST as four IDX files; return the folder."""
    folder.mkdir()
    for part, dataset, count in zip(("train", "t10k"), mnist(), (train, test), strict=True):
        images, labels = dataset.images[:count, 0], dataset.labels[:count].astype(np.uint8)
        head = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = struct.pack(">4BI", 0, 0, 8, 1, count)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    return folder


def draw_options(rng: np.random.Generator, data: Path) -> list[str]:
    """Draw the options of a small run, which takes from 0.1 to 2 seconds."""

    def choose(*values):
        return str(rng.choice(values))

    if rng.random() < 0.12:  # second-order steps over the net of 1998
        options = ["--recipe", choose("paper1998", "paper1998-distorted")]
        options += ["--data", str(data), "--train-size", choose(100, 200), "--epochs", choose(1, 2)]
        return [*options, "--validation", choose(0, 20), "--seed", choose(*range(5))]
    options = ["--recipe", choose("default", "fast"), "--epochs", choose(2, 3, 4)]
    options += ["--seed", choose(*range(5))]
    if rng.random() < 0.1:
        options += ["--train-size", choose(500, 1000, 3000)]  # of MNIST
    else:
        options += ["--data", str(data), "--train-size", choose(300, 600, 900)]
    options += ["--pooling", choose("max", "avg"), "--dropout", choose(0, 0, 0.2)]
    optimizers = ("adam", "adamw", "nadam", "adagrad", "rmsprop", "sgd", "lion")
    options += ["--optimizer", choose(*optimizers), "--batch-size", choose(16, 50, 64)]
    options += ["--distortion", choose("none", "none", "modern", "paper1998")]
    options += ["--average", choose(0, 0, 0.9)]
    options += ["--activation", choose("relu", "tanh", "gelu")]
    if rng.random() < 0.2:
        options += ["--batch-norm"]
    if rng.random() < 0.4:
        options += ["--keep", "best", "--validation", choose(50, 100)]
        options += ["--patience", "1"] if rng.random() < 0.3 else []
    if rng.random() < 0.2:
        options += ["--watch-test"]
    return options


def read_events(path: Path) -> list[tuple[int, str, float]]:
    """Return the content of an event file without times."""
    from lenet5c.training.event_file import EventFile

    return [
        (event.step, value.tag, value.simple_value)
        for event in EventFile(path)._read()
        for value in event.summary.value
    ]


def same(name: str, content: bytes, expected: bytes) -> bool:
    """Return whether two files of finished runs agree, except for times and threads."""
    if name == "summary.json":
        with suppress(ValueError):
            pair = [json.loads(each) for each in (content, expected)]
            for summary in pair:
                for key in OF_THE_PROCESS:
                    summary.pop(key, None)
            return pair[0] == pair[1]
        return False
    if name.endswith((".checked", ".part.json")):  # they have the time of the file
        with suppress(ValueError):
            return json.loads(content).keys() == json.loads(expected).keys()
        return False
    if name.endswith(".html"):
        return content.lstrip().lower().startswith(b"<!doctype") and b"</html>" in content[-20:]
    return content == expected


def differences(folder: Path, expected: Path) -> list[str]:
    """Return the differences from the folder of the uninterrupted run, as texts."""
    here, there = ({path.name: path for path in each.iterdir()} for each in (folder, expected))
    found = [f"{name} is missing" for name in sorted(there.keys() - here.keys())]
    found += [f"{name} is left over" for name in sorted(here.keys() - there.keys())]
    for name in sorted(here.keys() & there.keys()):
        if name == EVENTS:
            if read_events(here[name]) != read_events(there[name]):
                found.append(f"{name} differs")
        elif not same(name, here[name].read_bytes(), there[name].read_bytes()):
            found.append(f"{name} differs")
    return found


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the contents of the files of a folder by their names."""
    if not folder.exists():
        return {}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def complaint(output: str) -> str | None:
    """Return the error in the output of a failed command, which must be one line."""
    if "Traceback (most recent call last)" in output or "Exception ignored" in output:
        return f"a traceback: {output[-800:]}"
    lines = [line for line in output.splitlines() if ": error: " in line]
    return None if len(lines) == 1 else f"{len(lines)} lines with the error: {output[-500:]}"
