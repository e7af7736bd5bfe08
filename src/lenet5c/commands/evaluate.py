"""``lenet5c evaluate``: measure a trained model on labelled images, or compare two on the same.

Exit codes: 0 done, 1 failed, 2 bad use, 130 interrupted.
"""

import json
import textwrap
from math import isfinite

import lenet5c
from lenet5c import _files
from lenet5c.commands.cli import add_threads, directory, say, warn, whole
from lenet5c.datasets.source import open_source, source_name
from lenet5c.report import tables
from lenet5c.training import (
    RunError,
    class_scores,
    evaluate,
    match_dataset,
    mcnemar,
    open_model,
    wilson_interval,
)
from lenet5c.training.run_folder import read_record

PARTS = ("test", "train", "validation")
RECORD, PAGE = "evaluation.json", "evaluation.html"
PICTURES = ("confusion", "errors")


DESCRIPTION = (
    "Measure a trained model on labeled images: accuracy with its interval, confusion matrix, "
    "precision and recall of each class, and the worst mistakes."
)
EXAMPLES = """examples:
  lenet5c evaluate
  lenet5c evaluate runs/first --worst 20
  lenet5c evaluate runs/first --compare runs/second
  lenet5c evaluate runs/first/model.safetensors --data my-folder --out runs/first-on-mine
  lenet5c evaluate runs/first --part train --json"""


def add_arguments(parser):
    add = parser.add_argument
    add(
        "model",
        nargs="?",
        default="best",
        metavar="MODEL",
        help="a model file, the folder of a run, or best, the model that comes with lenet5c (default: best)",
    )
    add(
        "--data",
        metavar="NAME_OR_DIR",
        help="as for lenet5c train (default: what the run in folder MODEL was trained on, else mnist)",
    )
    add(
        "--skip-bad",
        action="store_true",
        help="leave out images that cannot be read, as a run in folder MODEL did that was told so",
    )
    add("--part", choices=PARTS, default="test", help=f"{', '.join(PARTS)} (default: test)")
    add(
        "--compare",
        metavar="OTHER",
        help="another model: tests on the same images whether one of the two is better",
    )
    add(
        "--worst",
        type=whole(0),
        default=10,
        metavar="N",
        help="mistakes to list, the surest first (default: 10)",
    )
    add("--out", type=directory, metavar="DIR", help=f"folder for {RECORD}, {PAGE} and pictures")
    add("--json", action="store_true", help="print all of it as JSON, and nothing else")
    add_threads(parser)


def run(options):
    """Evaluate and report."""
    out = None if options.out is None else prepared(options.out)
    trained = open_model(options.model)
    other = None if options.compare is None else open_model(options.compare)
    of_run = read_record(options.model)
    data = source_name(of_run.get("data", "mnist") if options.data is None else options.data)
    # What a run's data were taken with holds for the run's own data.
    skip_bad = options.skip_bad or (options.data is None and of_run.get("skip_bad") is True)
    source = open_source(data, skip_bad=skip_bad, tell=None if options.json else say)
    dataset = getattr(source, options.part)
    if dataset is None:
        raise RunError(
            f"--part is {options.part}, but {data} has no such part; it should be test or train"
        )
    asked, notes = match_dataset(trained, dataset)
    result = evaluate(trained, asked)
    record = {
        "lenet5c": lenet5c.__version__,
        "model": options.model,
        "data": data,
        "part": options.part,
        "notes": [*source.notes, *notes],
        **figures(result, trained.class_names, options.worst),
    }
    if other is not None:
        record["compare"] = comparison(options.compare, other, dataset, result)
    if out is not None:
        write(out, options, trained, asked, result, record)
    if options.json:
        say(json.dumps(record, indent=2, ensure_ascii=True))
    else:
        say(text(options, trained, result, record))
    return 0


def figures(result, class_names, worst):
    """What is measured, for JSON: shares from 0 to 1, null for what is not defined."""
    low, high = wilson_interval(result.correct, result.count)
    scores = class_scores(result.matrix)

    def defined(value, count):
        return float(value) if count else None

    return {
        "count": result.count,
        "correct": result.correct,
        "accuracy": result.accuracy,
        "interval": [low, high],
        "loss": result.loss if isfinite(result.loss) else None,
        "macro": dict(zip(("precision", "recall", "f1"), scores.macro, strict=True)),
        "classes": [
            {
                "name": name,
                "count": int(scores.count[i]),
                "predicted": int(scores.predicted[i]),
                "precision": defined(scores.precision[i], scores.predicted[i]),
                "recall": defined(scores.recall[i], scores.count[i]),
                "f1": defined(scores.f1[i], scores.count[i] + scores.predicted[i]),
            }
            for i, name in enumerate(class_names)
        ],
        "confusion": result.matrix.tolist(),
        "worst": [
            {
                "index": int(i),
                "given": int(result.labels[i]),
                "predicted": int(result.predictions[i]),
                "confidence": round(float(result.confidences[i]), 6),
            }
            for i in result.worst(worst)
        ],
    }


def comparison(name, other, dataset, result):
    """What McNemar's test says of two models."""
    asked, notes = match_dataset(other, dataset)
    second = evaluate(other, asked)
    right = [each.labels == each.predictions for each in (result, second)]
    test = mcnemar(*right)
    return {
        "model": name,
        "notes": notes,
        "correct": second.correct,
        "accuracy": second.accuracy,
        "both_right": int((right[0] & right[1]).sum()),
        "only_first": test.only_a,
        "only_second": test.only_b,
        "both_wrong": int((~right[0] & ~right[1]).sum()),
        "p_value": test.p_value,
        "mid_p": test.mid_p,
    }


def text(options, trained, result, record):
    """The result for a terminal."""
    low, high = record["interval"]
    names = trained.class_names
    parts = [
        f"{options.model}: {type(trained.model).__name__}, {trained.model.num_params:,} parameters\n"
        f"{record['data']}: {result.count:,} {options.part} images, {len(names)} classes",
        *(f"Note: {note.rstrip('.')}." for note in record["notes"]),
        f"Accuracy: {100 * result.accuracy:.2f}% ({result.correct}/{result.count}), "
        f"95% interval {100 * low:.2f} to {100 * high:.2f}%\nLoss: {result.loss:.4f}",
        tables.matrix_table(result.matrix, names),
        tables.class_table(result.matrix, names),
    ]
    wrong = result.count - result.correct
    if wrong and options.worst:
        shown = min(wrong, options.worst)
        title = (
            f"The surest {shown} of {wrong} mistakes:"
            if shown < wrong
            else f"All {wrong} mistakes, surest first:"
        )
        parts.append(f"{title}\n{tables.worst_table(result, names, options.worst)}")
    if "compare" in record:
        parts.append(compared(options.model, result, record["compare"]))
    if options.out is not None:
        parts.append(f"Written to {options.out}")
    return "\n\n".join(parts)


def compared(name, result, other):
    """The comparison in words."""
    lines = [
        f"Compared with {other['model']}: {100 * other['accuracy']:.2f}% ({other['correct']}/{result.count})",
        *(f"Note: {note.rstrip('.')}." for note in other["notes"]),
        f"both right {other['both_right']}, only {name} right {other['only_first']}, only {other['model']} right "
        f"{other['only_second']}, both wrong {other['both_wrong']}",
        f"McNemar's exact test: p = {other['p_value']:.3g} (mid-p {other['mid_p']:.3g})",
        textwrap.fill(
            verdict(name, other), tables.WIDEST, break_long_words=False, break_on_hyphens=False
        ),
    ]
    return "\n".join(lines)


def verdict(name, other):
    """What a p-value means, in a sentence."""
    first, second = other["only_first"], other["only_second"]
    if first + second == 0:
        return "Both have the very same images right: nothing here tells them apart."
    if other["p_value"] >= 0.05:
        return (
            f"Models that are equally good differ at least so much in {100 * other['p_value']:.0f} of 100 such "
            f"comparisons: these images do not show that one is better."
        )
    better = name if first > second else other["model"]
    often = (
        f"{100 * other['p_value']:.2g} of 100"
        if other["p_value"] >= 1e-4
        else "less than 1 of 10,000"
    )
    return (
        f"Models that are equally good differ so much in {often} such comparisons: on images like these {better} is "
        f"better. That is said of these two models, not of the way they were trained; for that, compare several seeds."
    )


def prepared(folder):
    """A folder to write into, which holds no run: its pictures would be lost."""
    if (folder / "config.json").exists() or (folder / "metrics.jsonl").exists():
        raise RunError(
            f"--out is {folder}, which holds a run with pictures of its own; name another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise RunError(
            f"--out is {folder}, which cannot be a folder ({reason}); name another"
        ) from None
    return folder


def write(folder, options, trained, dataset, result, record):
    """evaluation.json, the pictures and the page."""
    from lenet5c._optional import require
    from lenet5c.errors import MissingExtraError
    from lenet5c.report.evaluation import evaluation_page
    from lenet5c.report.results import draw_all, result_makers

    _files.write_json(folder / RECORD, record)
    pictures = {}
    try:
        require("matplotlib", "plots", f"the pictures in {folder}")
        makers = result_makers(dataset, result, trained.class_names, trained.reading == "ink")
        pictures, failures = draw_all(makers)
        for name, failure in failures.items():
            warn(options.prog, f"no {name}.png: {type(failure).__name__} {failure}")
    except MissingExtraError as error:
        warn(options.prog, error)
    except (
        Exception
    ) as error:  # a library that is there and broken: the figures are worth more than the pictures
        warn(options.prog, f"no pictures: {type(error).__name__} {error}".replace("\n", " "))
    for name, content in pictures.items():
        _files.write_bytes(folder / f"{name}.png", content)
    words = compared(options.model, result, record["compare"]) if "compare" in record else ""
    _files.write_bytes(
        folder / PAGE, evaluation_page(trained, result, record, pictures, words).encode()
    )
