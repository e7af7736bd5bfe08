"""The report as Markdown, from the record."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lenet5c import _files
from lenet5c.recipes import Recipe, reported
from lenet5c.recipes.reported import Reported
from lenet5c.report.results import duration
from lenet5c.reproduction.pictures import Result, choose_shown, most_confident

Picture = Callable[[str, str, str], str]
ALWAYS = ("epochs", "batch_size", "optimizer", "lr", "schedule")
PAPER = (
    "Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document "
    "recognition, 1998"
)
READING = """## How to read it

* **Test accuracy**: mean and standard deviation over seeds, of the model that the training \
ends with.
* **95 % over seeds**: Student's interval for the mean of all seeds, on these test images.
* **95 % over images**: Wilson's interval for the seed of median accuracy, over other test sets \
of this size. All seeds share the same test images, so the spread over seeds does not contain \
this.
* **Time**: mean of a whole process, from start to exit, with reading the data and looking at \
the test images{times}.
* **Epochs**: in brackets what was reported, where it differs.

No setting was chosen on the test images. Recipes that follow a publication have its settings; \
where it is silent, and in the recipes of our own, settings were chosen on validation images \
held out from the training set.{looks}"""
COMPARED = """## Compared on the same images

McNemar's exact test: only images count that one of two models classifies correctly and the \
other does not. A small p says that the difference is hardly chance. It compares two models, the \
seeds of median accuracy ({seeds}), not the recipes' means.

"""
BY_SIZE = """\
Test error by the number of training images, the paper's Fig. 6 beside ours. The paper does not \
say which images its smaller sets had; here each seed draws its own. The number of epochs is \
the same, so a smaller set means fewer steps.{held_out}

"""
REJECTED = """### Labels that raters rejected

Five people each looked at 100 doubtful test images; for these 15 the label did not stand (C. \
G. Northcutt, A. Athalye, J. Mueller, Pervasive label errors in test sets destabilize machine \
learning benchmarks, 2021). Only doubtful images were looked at, so there may be more. A model \
that names what people see scores about 99.85 %. The table has the prediction of each recipe's \
seed of median accuracy.

"""


def write(path: Path, record: Result, pictures: dict[tuple[str, str], str]) -> None:
    """Write the report of a record; `pictures` has their addresses, by (kind, recipe)."""

    def picture(kind: str, name: str, text: str) -> str:
        return f"![{text}]({pictures[kind, name]})" if (kind, name) in pictures else ""

    results, rejected = record["results"], record["rejected"]
    whole = {result["recipe"]: result for result in results if result["train_size"] is None}
    subsets = [result for result in results if result["train_size"]]
    about = "Test errors of all recipes and seeds beside what was reported"
    parts = [
        head(record),
        headline(whole.values()),
        reading(record, whole.values()),
        picture("overview", "", about),
        compared(record["comparisons"], whole),
        "## Recipes",
    ]
    for result in whole.values():
        parts += section(result, record["train_count"], subsets, picture)
    parts.append("## Errors, one by one")
    for name in choose_shown(list(whole)):
        parts += error_table(whole[name], picture, rejected["index"])
    parts.append(rejected_table(whole, rejected) if rejected["index"] else "")
    _files.write_bytes(path, ("\n\n".join(filter(None, parts)) + "\n").encode())


def head(record: Result) -> str:
    """Return the beginning: the command, the machine, and a warning if recipes were changed."""
    changed = [f"{name} = {value}" for name, value in record["changes"].items()]
    changed += [f"data = {record['data']}"] if record["data"] != "mnist" else []
    warning = f"\n\n**These are not the recipes as they are: {', '.join(changed)}.**"
    return (
        "# Reproductions\n\n"
        "What each recipe was reported to reach, and what it reaches here. This file is written by "
        "a command and not by hand:\n\n"
        f"{describe_run(record)} "
        "[reproductions.json](reproductions.json) has every run with its history."
        + (warning if changed else "")
    )


def describe_run(record: Result) -> str:
    """Return the command of a record, its date and its machine."""
    made = record["machine"]
    return (
        f"```sh\n{record['command']}\n```\n\n"
        f"{record['date'][:10]}; {made['processor']}, {made['cores']} cores, {made['system']}; "
        f"Python {made['python']}, NumPy {made['numpy']}, lenet5c {made['lenet5c']} "
        f"({made['instructions']}, {made['threads']} threads)."
    )


def headline(results: Iterable[Result]) -> str:
    """Return the table of all recipes."""
    heads = ["recipe", "reported", "test accuracy", "95 % over seeds", "95 % over images", "seeds"]
    heads += ["reported time", "time", "epochs", "parameters"]
    rows = []
    for result in results:
        name, epochs = result["recipe"], result["epochs"]
        facts, found, seconds = reported(name), result["accuracy"], result["seconds"]
        others = "" if facts.epochs in (None, epochs) else f" ({facts.epochs})"
        on = "" if facts.on == "test" else f" ({where(facts)})"
        cells = [f"[{name}](#{name})", percent(facts.accuracy) + on]
        cells += [f"**{percent(found['mean'])}**{plus_minus(found['sd'])}"]
        cells += [between(found["low"], found["high"]), between(*result["wilson"]), found["count"]]
        cells += [facts.time or "–", duration(seconds["mean"]) if seconds else "not timed"]
        rows.append([*cells, f"{epochs}{others}", f"{result['parameters']:,}"])
    return table(heads, rows, "lrrrrrlrrr")


def reading(record: Result, results: Iterable[Result]) -> str:
    """Return what the table means."""
    runs = [run for result in record["results"] for run in result["runs"]]
    jobs = max((run["jobs"] for run in runs if run["jobs"]), default=1)
    times = f"; up to {jobs} trainings shared the cores" if jobs > 1 else ""
    if untimed := sum(run["seconds"] is None for run in runs):
        times += f"; {untimed} that were interrupted and resumed are left out"
    looks = " Each training looks at the test images once, after its last step."
    if curves := [each["recipe"] for each in results if has_curve(each)]:
        looks = (
            f" For the curves of {', '.join(curves)} the test accuracy was written down after each "
            f"epoch; nothing was chosen by it."
        )
    return READING.format(times=times, looks=looks)


def has_curve(result: Result) -> bool:
    """Return whether the test accuracy was written down after each epoch."""
    return "test_accuracy" in result["runs"][0]["history"]


def compared(comparisons: list[Result], whole: dict[str, Result]) -> str:
    """Return the table of McNemar's tests."""
    if not comparisons:
        return ""
    rows = [
        [*(one[key] for key in ("a", "b", "only_a", "only_b")), *map(probability, ps)]
        for one in comparisons
        for ps in [(one["p_value"], one["mid_p"])]
    ]
    seeds = ", ".join(f"{name} {result['median_seed']}" for name, result in whole.items())
    heads = ["A", "B", "only A right", "only B right", "p, exact", "mid-p"]
    return COMPARED.format(seeds=seeds) + table(heads, rows, "llrrrr")


def section(
    result: Result, train_count: int, subsets: list[Result], picture: Picture
) -> Iterator[str]:
    """Yield the parts of the section of a recipe."""
    name, settings = result["recipe"], result["settings"]
    facts = reported(name)
    yield f"### {name}"
    yield result["summary"][:1].upper() + result["summary"][1:] + "."
    if result["reproduces"]:
        yield f"Reproduces {result['reproduces'].rstrip('.')}."
    if facts.accuracy is not None:
        how = f" ({facts.figure})" if facts.figure else ""
        found = result["accuracy"]
        here = f"{percent(found['mean'])}{plus_minus(found['sd'])} on the test images"
        if facts.on != "test":
            last = [100 * run["history"]["train_accuracy"][-1] for run in result["runs"]]
            here = f"{percent(sum(last) / len(last))} in the last epoch, and {here}"
        yield f"Reported: {percent(facts.accuracy)}{how}; here {here}."
    usual = Recipe().to_dict()
    told = [key for key in settings if key in ALWAYS or settings[key] != usual.get(key)]
    yield "Settings: " + ", ".join(f"`{key}` {setting(settings[key])}" for key in told) + "."
    yield result["notes"]
    published = f", over the published curve of {PAPER}, Fig. 5" if facts.test_errors else ""
    yield picture("curve", name, f"Errors of {name} by epoch{published}")
    if facts.test_errors:
        yield by_epoch(result, facts)
    if sizes := [other for other in subsets if other["recipe"] == name]:
        yield by_size([*sizes, result], train_count, facts)
        yield picture("sizes", name, f"Test error of {name} by the number of training images")


def by_epoch(result: Result, facts: Reported) -> str:
    """Return the published curve's points beside ours."""
    histories = [run["history"] for run in result["runs"]]
    shortest = min((history["epoch"] for history in histories), key=len)
    rows = []
    for i, epoch in enumerate(shortest[: len(facts.test_errors)]):
        test, training = (
            100 - 100 * sum(history[key][i] for history in histories) / len(histories)
            for key in ("test_accuracy", "train_accuracy")
        )
        errors = (facts.test_errors[i], test, facts.train_errors[i], training)
        rows.append([epoch, *(f"{error:.2f}" for error in errors)])
    heads = ["epoch", "test, paper", "test, ours", "training, paper", "training, ours"]
    return (
        "Errors in % by epoch, the paper's Fig. 5 (read off to about 0.02) and the mean of our "
        "seeds:\n\n" + table(heads, rows, "rrrrr")
    )


def by_size(results: list[Result], train_count: int, facts: Reported) -> str:
    """Return the table of test errors by the number of training images."""
    rows = []
    for result in results:
        size, found = result["train_size"] or train_count, result["accuracy"]
        ours = f"{100 - found['mean']:.2f} %{plus_minus(found['sd'])}"
        rows.append([f"{size:,}", percent(facts.sizes.get(size)), ours, found["count"]])
    held_out = setting(results[-1]["settings"]["validation"])
    text = f" Of each set validation images are held out (`validation` {held_out})."
    return BY_SIZE.format(held_out="" if held_out == "0" else text) + table(
        ["training images", "paper", "ours", "seeds"], rows, "rrrr"
    )


def error_table(result: Result, picture: Picture, rejected: list[int]) -> Iterator[str]:
    """Yield the parts on the misclassified test images of a recipe."""
    columns = result["errors"]
    order = most_confident(columns)
    name, seed, count = result["recipe"], result["median_seed"], len(columns["index"])
    yield f"### The errors of {name}"
    if not count:
        yield f"Seed {seed}, the one of median accuracy, misclassifies no test image."
        return
    some = f" The {len(order)} most confident are shown." if len(order) < count else ""
    found = len(set(rejected) & set(columns["index"]))
    note = f" Of {found} of them the label is rejected [by raters](#labels-that-raters-rejected)."
    yield (
        f"The {count} test images that seed {seed}, the one of median accuracy, misclassifies, the "
        f"most confident first.{some}{note if rejected else ''}"
    )
    yield picture("errors", name, f"The test images that {name} misclassifies")
    heads = ["test image", "label", "prediction", "confidence"] + ["label rejected"] * bool(
        rejected
    )
    rows = []
    for i in order:
        cells = [columns[key][i] for key in ("index", "label", "predicted")]
        mark = ["yes" if cells[0] in rejected else ""] if rejected else []
        rows.append([*cells, f"{100 * columns['confidence'][i]:.1f} %", *mark])
    text = table(heads, rows, "rrrrc"[: len(heads)])
    yield f"<details><summary>The same as a table</summary>\n\n{text}\n\n</details>"


def rejected_table(whole: dict[str, Result], rejected: dict[str, list[int]]) -> str:
    """Return each recipe's predictions, by its median seed, for the images with rejected labels."""
    predictions = {
        name: dict(zip(result["errors"]["index"], result["errors"]["predicted"], strict=True))
        for name, result in whole.items()
    }
    rows = [
        [index, label, *(predictions[name].get(index, "as labeled") for name in whole)]
        for index, label in zip(rejected["index"], rejected["label"], strict=True)
    ]
    return REJECTED + table(["test image", "label", *whole], rows, "rc" + "c" * len(whole))


def table(heads: list[str], rows: list[list[Any]], alignment: str) -> str:
    """Return a Markdown table; alignment has a letter, l, c or r, for each column."""
    rule = {"l": "---", "c": ":-:", "r": "--:"}
    lines = [heads, [rule[letter] for letter in alignment], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def where(facts: Reported) -> str:
    """Return the images of a reported accuracy in words."""
    return {"train": "training"}.get(facts.on, facts.on)


def percent(value: float | None) -> str:
    """Return a share in percent; a dash for None."""
    return "–" if value is None else f"{value:.2f} %"


def plus_minus(sd: float | None) -> str:
    """Return a standard deviation as it follows a mean."""
    return "" if sd is None else f" ± {sd:.2f}"


def between(low: float | None, high: float | None) -> str:
    """Return an interval in percent."""
    return "–" if low is None or high is None else f"{low:.2f} to {min(high, 100):.2f}"


def probability(p: float) -> str:
    """Return a p-value."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def setting(value: object) -> str:
    """Return the value of a setting."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
