"""``lenet5c evaluate``: evaluate a trained model on labeled images, or compare two models.

Exit codes: 0 done, 1 failed, 2 bad use, 130 interrupted.
"""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import lenet5c
from lenet5c import _files
from lenet5c._text import count, is_terminal
from lenet5c.commands.cli import (
    MODEL_HELP,
    add_read_options,
    add_threads,
    directory,
    file,
    read_options,
    say,
    warn,
    whole,
)
from lenet5c.datasets import Dataset
from lenet5c.datasets.corruptions import CORRUPTIONS, SEVERITIES
from lenet5c.datasets.mapped import take
from lenet5c.datasets.source import open_part, open_source, source_name
from lenet5c.nn.ensemble import describe_kind
from lenet5c.report import tables
from lenet5c.report.comparison import compare_members, describe_comparison, members_table
from lenet5c.report.mistakes import check_folder, copy_mistakes, find_file
from lenet5c.report.probabilities import (
    describe_calibration,
    describe_probabilities,
    rejections_table,
)
from lenet5c.report.robustness import describe_robustness, robustness_text
from lenet5c.training import (
    Evaluation,
    RunError,
    TrainedModel,
    calibrate,
    mcnemar,
    measure_robustness,
    open_model,
    save_model,
    wilson_interval,
)
from lenet5c.training import evaluate as evaluate_model
from lenet5c.training.matching import match_dataset
from lenet5c.training.model_file import BEST, SIGNS
from lenet5c.training.orientation import warn_if_sideways
from lenet5c.training.run_folder import RunFolder, read_record

PARTS = ("test", "train", "validation")
# The data that the models in the package were trained on.
OWN_DATA = {BEST: "mnist", SIGNS: "signs"}
SEVERITY, MAX_CORRUPTED = 3, 10_000
RECORD, PAGE = "evaluation.json", "evaluation.html"
DESCRIPTION = (
    "Evaluate a trained model on labeled images: accuracy with its interval, confusion matrix, "
    "precision and recall of each class, calibration of the probabilities, error-reject curve, "
    "and the most confident mistakes; with --corruptions, robustness to corrupted images."
)
EXAMPLES = """examples:
  lenet5c evaluate
  lenet5c evaluate runs/first --worst 20
  lenet5c evaluate runs/first --compare runs/second
  lenet5c evaluate runs/first/model.safetensors --data my-folder --out runs/first-on-mine
  lenet5c evaluate best --data my-folder --map null=0 eins=1 zwei=2
  lenet5c evaluate runs/first --data my-folder --errors mistakes
  lenet5c evaluate runs/first --part train --json
  lenet5c evaluate runs/first --corruptions --compare runs/second
  lenet5c evaluate best --corruptions 1 3 5 --corrupt-images 2000 --out robustness
  lenet5c evaluate runs/first --data more-images --calibrate calibrated.safetensors"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    text = f"{MODEL_HELP} (default: best)"
    add("model", nargs="?", default="best", metavar="MODEL", help=text)
    text = "data set, as for lenet5c train (default: that of the run in folder MODEL, else mnist)"
    add("--data", metavar="NAME_OR_PATH", help=text)
    add_read_options(parser)
    add(
        "--map",
        type=class_pair,
        nargs="+",
        action="extend",
        default=[],
        metavar="DATA=MODEL",
        help="classes of the data and corresponding classes of the model, if their names differ",
    )
    add("--part", choices=PARTS, default="test", help="part of the data set (default: test)")
    text = "second model to compare on the same images, with a significance test"
    add("--compare", metavar="OTHER", help=text)
    text = (
        "also evaluate on images corrupted in 15 ways, at these severities from 1 to 5 (default: "
        f"{SEVERITY})"
    )
    kind = whole(1, SEVERITIES[-1])
    add("--corruptions", type=kind, nargs="*", metavar="SEVERITY", help=text)
    text = f"maximum number of images to corrupt, chosen at random (default: {MAX_CORRUPTED:,})"
    add("--corrupt-images", type=whole(1), default=MAX_CORRUPTED, metavar="N", help=text)
    text = (
        "fit the temperature of the probabilities on these images, which must not be test images, "
        "and write the calibrated model to FILE"
    )
    add("--calibrate", type=file, metavar="FILE", help=text)
    text = "number of misclassified images to list, most confident first (default: 10)"
    add("--worst", type=whole(0), default=10, metavar="N", help=text)
    text = "copy the misclassified images to a new folder, as TRUE-as-PREDICTED-NAME"
    add("--errors", type=directory, metavar="DIR", help=text)
    add("--out", type=directory, metavar="DIR", help=f"folder for {RECORD}, {PAGE} and pictures")
    add("--json", action="store_true", help="print the results as JSON only")
    add_threads(parser)


def class_pair(text: str) -> tuple[str, str]:
    """Parse DATA=MODEL."""
    data, sign, model = text.partition("=")
    if not (data and sign and model):
        raise ArgumentTypeError(f"must be DATA=MODEL, such as cat=3, got {text!r}")
    return data, model


def frame(dataset: Dataset, trained: TrainedModel) -> tuple[Dataset, list[str]]:
    """Center the ink of picture files as the model expects; return other data unchanged."""
    if trained.reading != "ink" or dataset.root is None or trained.framing is None:
        return dataset, []
    from lenet5c.recognition.samples import frame_dataset  # not needed for other data

    return frame_dataset(dataset, trained)


def run(options: Namespace) -> None:
    """Evaluate and report as text, JSON or files."""
    if options.errors is not None:
        check_folder(options.errors, "--errors")
    if options.out is not None:
        prepare_folder(options.out)
    trained = open_model(options.model)
    other = None if options.compare is None else open_model(options.compare)
    # The reader settings of a run apply to its own data.
    of_run = read_record(options.model) if options.data is None else {"data": options.data}
    data = source_name(of_run.get("data", "mnist"))
    on_message = None if options.json else say
    how, source_notes = read_options(options, of_run), list[str]()
    # For the data of a run, the part held out by the run; for other undivided data, all images.
    if options.data is None or data in OWN_DATA.values():
        check_calibration(options, trained, data, options.part)  # before it reads the images
    if options.data is None:
        if of_run.get("fold"):
            from lenet5c.recipes import RunConfig

            source = RunConfig.read(RunFolder(options.model)).open()
        else:
            source = open_source(data, how, on_message=on_message)
        source_notes += source.notes
        part_name, part = options.part, getattr(source, options.part)
        if part is None:
            raise RunError(f"--part must be test or train for {data}, got {options.part}")
    else:
        note, how = source_notes.append, replace(how, levels=trained.white)
        part_name, part = open_part(data, options.part, how, on_message=on_message, note=note)
    mapping = dict(options.map)
    framed, notes = frame(part, trained)
    dataset, remarks = match_dataset(trained, framed, mapping)
    notes += remarks
    check_calibration(options, trained, data, part_name)
    if options.calibrate is not None:
        notes.append(recalibrate(options, trained, dataset))
    result = evaluate_model(trained, dataset)
    if how.transpose is None and (warning := warn_if_sideways(trained, dataset)):
        notes.append(warning)
    record = {
        "lenet5c": lenet5c.__version__,
        "model": options.model,
        "data": data,
        "part": part_name,
        "notes": [*source_notes, *notes],
        **describe_result(result, dataset, options.worst),
        "probabilities": describe_probabilities(result, trained.temperature),
    }
    if members := compare_members(trained, dataset, result):
        record["members"] = members
    others = []
    if other is not None:
        record["compare"], matched = compare(options.compare, other, part, result, mapping)
        others.append((other, matched))
    if options.corruptions is not None:
        record["corruptions"] = corrupt(options, trained, dataset, others)
    if options.errors is not None:
        copy_mistakes(options.errors, dataset, result, trained.class_names)
    if options.out is not None:
        write(options, trained, dataset, result, record)
    say(
        json.dumps(record, indent=2)
        if options.json
        else as_text(options, trained, dataset, result, record)
    )


def describe_result(result: Evaluation, dataset: Dataset, worst: int) -> dict[str, Any]:
    """Return the metrics for JSON, as fractions from 0 to 1, with null for undefined values."""
    scores = result.scores
    names = ("precision", "recall", "f1")
    return {
        "count": result.count,
        "correct": result.correct,
        "accuracy": result.accuracy,
        "interval": list(wilson_interval(result.correct, result.count)),
        "loss": result.loss if isfinite(result.loss) else None,
        "macro": dict(zip(names, scores.macro, strict=True)),
        "classes": [
            {
                "name": name,
                "count": int(scores.count[i]),
                "predicted": int(scores.predicted[i]),
                **dict(zip(names, tables.defined_scores(scores, i), strict=True)),
            }
            for i, name in enumerate(dataset.class_names)
        ],
        "confusion": result.matrix.tolist(),
        "worst": [describe_mistake(result, dataset, i) for i in result.worst(worst).tolist()],
    }


def describe_mistake(result: Evaluation, dataset: Dataset, index: int) -> dict[str, Any]:
    """Return one misclassified image for JSON, with its id and file if available."""
    origin: dict[str, Any] = {}
    if dataset.ids is not None:
        origin["id"] = dataset.ids[index]
    if file := find_file(dataset, index):
        origin["file"] = str(file)
    return {
        "index": index,
        **origin,
        "label": int(result.labels[index]),
        "predicted": int(result.predictions[index]),
        "confidence": round(float(result.confidences[index]), 6),
    }


def compare(
    name: str, other: TrainedModel, part: Dataset, result: Evaluation, mapping: dict[str, str]
) -> tuple[dict[str, Any], Dataset]:
    """Evaluate another model on the same images.

    Returns McNemar's test for JSON, and the images converted for that model.
    """
    framed, notes = frame(part, other)
    dataset, remarks = match_dataset(other, framed, mapping)
    notes += remarks
    second = evaluate_model(other, dataset)
    a, b = result.right, second.right
    test = mcnemar(a, b)
    return {
        "model": name,
        "notes": notes,
        "correct": second.correct,
        "accuracy": second.accuracy,
        "both_correct": int((a & b).sum()),
        "only_first": test.only_a,
        "only_second": test.only_b,
        "both_wrong": int((~a & ~b).sum()),
        "p_value": test.p_value,
        "mid_p": test.mid_p,
    }, dataset


def check_calibration(
    options: Namespace, trained: TrainedModel, data: str, part: str | None
) -> None:
    """Raise a RunError if ``--calibrate`` would use images that must not be used for it."""
    out: Path | None = options.calibrate
    if out is None:
        return
    run_data = OWN_DATA.get(options.model)
    if run_data is None and trained.path is not None:
        run_data = read_record(trained.path.parent).get("data")
    if part == "test" or (part == "train" and run_data == data):
        why = "kept for testing" if part == "test" else "used to train the model"
        raise RunError(
            f"--calibrate must have unused images, got the {part} images of {data}, {why}; "
            "use --part validation, or other data with --data"
        )
    if out.exists() and trained.path is not None and out.samefile(trained.path):
        raise RunError(f"--calibrate must differ from the model file, got {out} for both")


def recalibrate(options: Namespace, trained: TrainedModel, dataset: Dataset) -> str:
    """Fit the temperature on images and write the calibrated model; return a note."""
    out = options.calibrate
    fitted = calibrate(trained, dataset)
    save_model(out, trained)
    return (
        f"written to {out} with {fitted}; the calibration metrics below are measured on the "
        "same images and therefore slightly optimistic"
    )


def corrupt(
    options: Namespace,
    trained: TrainedModel,
    dataset: Dataset,
    others: list[tuple[TrainedModel, Dataset]],
) -> dict[str, Any]:
    """Evaluate on corrupted images; return the metrics for JSON."""
    from tqdm import tqdm

    severities = sorted(set(options.corruptions)) or [SEVERITY]
    quiet = options.json or not is_terminal(sys.stderr)
    total = len(severities) * len(CORRUPTIONS)
    with tqdm(total=total, unit="kind", leave=False, file=sys.stderr, disable=quiet) as bar:
        found = measure_robustness(
            trained,
            dataset,
            severities=severities,
            max_images=options.corrupt_images,
            others=others,
            on_kind=lambda kind, severity: bar.update(),
        )
    return describe_robustness(found, 0, [options.model, options.compare])


def as_text(
    options: Namespace,
    trained: TrainedModel,
    dataset: Dataset,
    result: Evaluation,
    record: dict[str, Any],
) -> str:
    """Return the result for a terminal."""
    low, high = record["interval"]
    names, images = trained.class_names, tables.count_images(result.count, record["part"])
    parts = [
        f"{options.model}: {describe_kind(trained.model)}, "
        f"{trained.model.num_params:,} parameters\n"
        f"{record['data']}: {images}, {len(names)} classes",
        *(f"Note: {note.rstrip('.')}." for note in record["notes"]),
        f"Accuracy: {result}, 95% interval {100 * low:.2f} to {100 * high:.2f}%\n"
        f"Loss: {result.loss:.4f}, cross-entropy without label smoothing, weights or augmentation",
        describe_calibration(record["probabilities"]),
        rejections_table(record["probabilities"]),
        tables.matrix_table(result.matrix, names),
        tables.class_table(result.matrix, names),
    ]
    wrong = result.count - result.correct
    if wrong and options.worst:
        title = f"All {count(wrong, 'misclassified image')}, most confident first:"
        if options.worst < wrong:
            title = f"The {options.worst} most confident of {wrong} misclassified images:"
        parts.append(f"{title}\n{tables.worst_table(result, names, options.worst, dataset.ids)}")
    if "members" in record:
        parts.append(members_table(record["members"]))
    if "compare" in record:
        parts.append(describe_comparison(options.model, result, record["compare"]))
    if "corruptions" in record:
        parts.append(robustness_text(record["corruptions"], options.model))
    if options.errors is not None:
        parts.append(f"Copied to {options.errors}: {count(wrong, 'misclassified image')}")
    if options.out is not None:
        parts.append(f"Written to {options.out}")
    return "\n\n".join(filter(None, parts))


def prepare_folder(folder: Path) -> None:
    """Create the output folder, which must not contain a run, whose files would be replaced."""
    if (folder / "config.json").exists() or (folder / "metrics.jsonl").exists():
        raise RunError(
            f"--out must be a folder without a run, got {folder}, which contains a run; name "
            f"another "
            "folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise RunError(
            f"--out must be a folder, got {folder}, which cannot be created ({reason})"
        ) from None


def write(
    options: Namespace,
    trained: TrainedModel,
    dataset: Dataset,
    result: Evaluation,
    record: dict[str, Any],
) -> None:
    """Write the record, the pictures and the page."""
    from lenet5c._optional import require
    from lenet5c.errors import MissingExtraError
    from lenet5c.report.evaluation import evaluation_page
    from lenet5c.report.probability_pictures import probability_makers
    from lenet5c.report.results import draw_all, result_makers
    from lenet5c.report.robustness import SHOWN, corruption_sheet

    folder: Path = options.out
    _files.write_json(folder / RECORD, record)
    pictures: dict[str, bytes] = {}
    try:
        require("matplotlib", "plots", f"the pictures in {folder}")
        makers = result_makers(dataset, result, trained.class_names, trained.inverted)
        makers |= probability_makers(result, trained.class_names)
        if corrupted := record.get("corruptions"):
            images = take(dataset.images, slice(0, SHOWN))[:]
            makers["corruptions"] = lambda: corruption_sheet(images, corrupted, trained.inverted)
        pictures, failures = draw_all(makers)
        for name, failure in failures.items():
            warn(options.prog, f"no {name}.png: {type(failure).__name__} {failure}")
    except MissingExtraError as error:
        warn(options.prog, error)
    except Exception as error:  # with a broken matplotlib, only the pictures are missing
        warn(options.prog, f"no pictures: {type(error).__name__} {error}".replace("\n", " "))
    for name, content in pictures.items():
        _files.write_bytes(folder / f"{name}.png", content)
    comparison = ""
    if other := record.get("compare"):  # one line per paragraph
        comparison = describe_comparison(options.model, result, other, sys.maxsize)
    page = evaluation_page(trained, dataset, result, record, pictures, folder, comparison)
    _files.write_bytes(folder / PAGE, page.encode())
