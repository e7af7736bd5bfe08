"""The report as Markdown, from the record."""

from lenet5c import _files
from lenet5c.recipes import Recipe
from lenet5c.report.results import duration
from lenet5c.reproduction.pictures import most_confident, shown
from lenet5c.reproduction.reported import PAPER, reported

ALWAYS = ("epochs", "batch_size", "optimizer", "lr", "schedule")


def write(path, record, pictures):
    """Write the report of a record.

    Parameters
    ----------
    path : Path
    record : dict
        As `make_record` gives it.
    pictures : dict
        (kind, recipe) -> the picture's address, as seen from the report.
    """
    results = record["results"]
    whole = {result["recipe"]: result for result in results if result["train_size"] is None}
    subsets = [result for result in results if result["train_size"]]
    parts = [
        head(record),
        headline(whole.values()),
        reading(record, whole.values()),
        image(
            pictures,
            "overview",
            "",
            "Test errors of all recipes and seeds beside what was reported",
        ),
        compared(record["comparisons"], whole),
        "## Recipes",
        *(
            section(
                result,
                record["train_count"],
                [other for other in subsets if other["recipe"] == name],
                pictures,
            )
            for name, result in whole.items()
        ),
        "## Errors, one by one",
        *(
            error_table(whole[name], pictures, record["rejected"]["index"])
            for name in shown(list(whole))
        ),
        rejected_table(whole, record["rejected"]) if record["rejected"]["index"] else "",
    ]
    _files.write_bytes(path, ("\n\n".join(part for part in parts if part) + "\n").encode())


def head(record):
    made = record["machine"]
    changed = ", ".join(f"{name} = {value}" for name, value in record["changes"].items())
    if record["data"] != "mnist":
        changed = ", ".join(filter(None, [changed, f"data = {record['data']}"]))
    warning = f"\n\n**These are not the recipes as they are: {changed}.**" if changed else ""
    return (
        "# Reproductions\n\n"
        "What each recipe was reported to reach, and what it reaches here. This file is written by a command and not "
        "by hand:\n\n"
        f"```sh\n{record['command']}\n```\n\n"
        f"{record['date'][:10]}; {made['processor']}, {made['cores']} cores, {made['system']}; "
        f"Python {made['python']}, NumPy {made['numpy']}, lenet5c {made['lenet5c']} ({made['instructions']}, "
        f"{made['threads']} threads). [reproductions.json](reproductions.json) has every run with its history."
        + warning
    )


def headline(results):
    rows = []
    for result in results:
        facts, found, seconds = reported(result["recipe"]), result["accuracy"], result["seconds"]
        rows.append(
            [
                f"[{result['recipe']}](#{result['recipe']})",
                percent(facts.accuracy) + ("" if facts.on == "test" else f" ({facts.on})"),
                f"**{percent(found['mean'])}**{plus_minus(found['sd'])}",
                between(found["low"], found["high"]),
                between(*result["wilson"]),
                found["count"],
                facts.time or "–",
                duration(seconds["mean"]) if seconds else "not timed",
                result["epochs"]
                if facts.epochs in (None, result["epochs"])
                else f"{result['epochs']} ({facts.epochs})",
                f"{result['parameters']:,}",
            ]
        )
    return table(
        [
            "recipe",
            "reported",
            "test accuracy",
            "95 % over seeds",
            "95 % over images",
            "seeds",
            "reported time",
            "time",
            "epochs",
            "parameters",
        ],
        rows,
        "lrrrrrlrrr",
    )


def reading(record, results):
    jobs = {run["jobs"] for result in record["results"] for run in result["runs"]} - {None}
    untimed = sum(run["seconds"] is None for result in record["results"] for run in result["runs"])
    curves = [
        result["recipe"] for result in results if "test_accuracy" in result["runs"][0]["history"]
    ]
    notes = [
        "**Test accuracy**: mean and standard deviation over seeds, of the model that the training ends with.",
        "**95 % over seeds**: Student's interval for the mean of all seeds, on these test images.",
        "**95 % over images**: Wilson's interval for the seed of median accuracy, over other test sets of this size. "
        "All seeds share the same test images, so the spread over seeds does not contain this.",
        "**Time**: mean of a whole process, from start to exit, with reading the data and looking at the test images"
        + (f"; up to {max(jobs)} trainings shared the cores" if max(jobs, default=1) > 1 else "")
        + (f"; {untimed} that were interrupted and resumed are left out" if untimed else "")
        + ".",
        "**Epochs**: in brackets what was reported, where it differs.",
    ]
    watched = (
        f" For the curves of {', '.join(curves)} the test accuracy was written down after each epoch; nothing was "
        f"chosen by it."
        if curves
        else " Each training looks at the test images once, after its last step."
    )
    return (
        "## How to read it\n\n" + "\n".join(f"* {note}" for note in notes) + "\n\n"
        "No setting was chosen on the test images. Recipes that follow a publication have its settings; where it is "
        "silent, and in the recipes of our own, settings were chosen on validation images held out from the training "
        "set." + watched
    )


def compared(comparisons, whole):
    if not comparisons:
        return ""
    rows = [
        [
            one["a"],
            one["b"],
            one["only_a"],
            one["only_b"],
            probability(one["p_value"]),
            probability(one["mid_p"]),
        ]
        for one in comparisons
    ]
    seeds = ", ".join(f"{name} {result['median_seed']}" for name, result in whole.items())
    return (
        "## Compared on the same images\n\n"
        "McNemar's exact test: only images count that one of two models has right and the other wrong. A small p says "
        "that the difference is hardly chance. It compares two models, the seeds of median accuracy "
        f"({seeds}), not the recipes' means.\n\n"
        + table(["A", "B", "only A right", "only B right", "p, exact", "mid-p"], rows, "llrrrr")
    )


def section(result, train_count, sizes, pictures):
    name = result["recipe"]
    facts = reported(name)
    lines = [f"### {name}", result["summary"][:1].upper() + result["summary"][1:] + "."]
    if result["reproduces"]:
        lines.append(f"Reproduces {result['reproduces'].rstrip('.')}.")
    if facts.accuracy is not None:
        how = f" ({facts.figure})" if facts.figure else ""
        here = f"{accuracy(result)} on the test images"
        if facts.on == "training":
            last = [100 * run["history"]["train_accuracy"][-1] for run in result["runs"]]
            here = f"{percent(sum(last) / len(last))} in the last epoch, and {here}"
        lines.append(f"Reported: {percent(facts.accuracy)}{how}; here {here}.")
    usual = Recipe().to_dict()
    settings = result["settings"]
    told = [key for key in settings if key in ALWAYS or settings[key] != usual.get(key)]
    lines.append(
        "Settings: " + ", ".join(f"`{key}` {setting(settings[key])}" for key in told) + "."
    )
    if result["notes"]:
        lines.append(result["notes"])
    published = f", over the published curve of {PAPER}, Fig. 5" if facts.test_errors else ""
    lines.append(image(pictures, "curve", name, f"Errors of {name} by epoch{published}"))
    if facts.test_errors:
        lines.append(passes(result, facts))
    if sizes:
        lines.append(by_size(result, train_count, sizes, facts))
        lines.append(
            image(pictures, "sizes", name, f"Test error of {name} by the number of training images")
        )
    return "\n\n".join(line for line in lines if line)


def passes(result, facts):
    """The published curve's points beside ours."""
    histories = [run["history"] for run in result["runs"]]
    rows = []
    shortest = min((history["epoch"] for history in histories), key=len)
    for i, epoch in enumerate(shortest[: len(facts.test_errors)]):
        test, training = (
            100 - 100 * sum(history[key][i] for history in histories) / len(histories)
            for key in ("test_accuracy", "train_accuracy")
        )
        errors = (facts.test_errors[i], test, facts.train_errors[i], training)
        rows.append([epoch, *(f"{error:.2f}" for error in errors)])
    return (
        "Errors in % by epoch, the paper's Fig. 5 (read off to about 0.02) and the mean of our seeds:\n\n"
        + table(
            ["epoch", "test, paper", "test, ours", "training, paper", "training, ours"],
            rows,
            "rrrrr",
        )
    )


def by_size(result, train_count, sizes, facts):
    rows = []
    for one in [*sizes, result]:
        size = one["train_size"] or train_count
        published = facts.sizes.get(size)
        found = one["accuracy"]
        rows.append(
            [
                f"{size:,}",
                "–" if published is None else f"{published:.2f} %",
                f"{100 - found['mean']:.2f} %{plus_minus(found['sd'])}",
                found["count"],
            ]
        )
    held_out = setting(result["settings"]["validation"])
    of_these = (
        ""
        if held_out == "0"
        else f" Of each set validation images are held out (`validation` {held_out})."
    )
    return (
        "Test error by the number of training images, the paper's Fig. 6 beside ours. The paper does not say which "
        "images its smaller sets had; here each seed draws its own. The number of epochs is the same, so a smaller set "
        f"means fewer steps.{of_these}\n\n"
        + table(["training images", "paper", "ours", "seeds"], rows, "rrrr")
    )


def error_table(result, pictures, rejected):
    columns = result["errors"]
    order = most_confident(columns)
    name, seed = result["recipe"], result["median_seed"]
    count = len(columns["index"])
    title = f"### The errors of {name}\n\n"
    if not count:
        return title + f"Seed {seed}, the one of median accuracy, has no test image wrong."
    some = f" The {len(order)} surest are shown." if len(order) < count else ""
    found = len(set(rejected) & set(columns["index"]))
    note = (
        f" Of {found} of them the label is rejected [by raters](#labels-that-raters-rejected)."
        if rejected
        else ""
    )
    rows = [
        [
            columns["index"][i],
            columns["label"][i],
            columns["predicted"][i],
            f"{100 * columns['confidence'][i]:.1f} %",
            *(["yes" if columns["index"][i] in rejected else ""] if rejected else []),
        ]
        for i in order
    ]
    heads = [
        "test image",
        "label",
        "prediction",
        "confidence",
        *(["label rejected"] if rejected else []),
    ]
    return "\n\n".join(
        [
            f"{title}The {count} test images that seed {seed}, the one of median accuracy, has wrong, the surest first."
            f"{some}{note}",
            image(pictures, "errors", name, f"The test images that {name} has wrong"),
            f"<details><summary>The same as a table</summary>\n\n{table(heads, rows, 'rrrrc'[: len(heads)])}\n\n</details>",
        ]
    )


def rejected_table(whole, rejected):
    """What each recipe's median seed makes of the images whose labels raters rejected."""
    predictions = {}
    for name, result in whole.items():
        columns = result["errors"]
        predictions[name] = dict(zip(columns["index"], columns["predicted"], strict=True))
    rows = [
        [index, label, *(predictions[name].get(index, "as labelled") for name in whole)]
        for index, label in zip(rejected["index"], rejected["label"], strict=True)
    ]
    return (
        "### Labels that raters rejected\n\n"
        "Five people each looked at 100 doubtful test images; for these 15 the label did not stand (C. G. Northcutt, "
        "A. Athalye, J. Mueller, Pervasive label errors in test sets destabilize machine learning benchmarks, 2021). "
        "Only doubtful images were looked at, so there may be more. A model that names what people see scores about "
        "99.85 %. The table has the prediction of each recipe's seed of median accuracy.\n\n"
        + table(["test image", "label", *whole], rows, "rc" + "c" * len(whole))
    )


def image(pictures, kind, name, text):
    return f"![{text}]({pictures[kind, name]})" if (kind, name) in pictures else ""


def table(heads, rows, alignment):
    """A Markdown table; alignment has a letter, l, c or r, for each column."""
    rule = {"l": "---", "c": ":-:", "r": "--:"}
    lines = [heads, [rule[letter] for letter in alignment], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def accuracy(result):
    found = result["accuracy"]
    return f"{percent(found['mean'])}{plus_minus(found['sd'])}"


def percent(value):
    return "–" if value is None else f"{value:.2f} %"


def plus_minus(sd):
    return "" if sd is None else f" ± {sd:.2f}"


def between(low, high):
    return "–" if low is None else f"{low:.2f} to {min(high, 100):.2f}"


def probability(p):
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def setting(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
