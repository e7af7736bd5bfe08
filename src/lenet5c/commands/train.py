"""``lenet5c train``: train LeNet-5 and leave a model, its metrics and its checkpoint in a folder.

Exit codes: 0 done, 1 the training failed, 2 bad use, 3 the target accuracy was missed, 130 or 143 interrupted.
"""

import argparse
import hashlib
import shlex
import sys
import time
from datetime import datetime
from inspect import signature
from pathlib import Path

import lenet5c
from lenet5c import kernels
from lenet5c.commands.cli import FAILED, add_threads, directory, fail, number, say, setting, whole
from lenet5c.datasets import Distortion
from lenet5c.datasets.distortion import NAMED as NAMED_DISTORTIONS
from lenet5c.datasets.dataset import READINGS
from lenet5c.datasets.source import open_source, source_name
from lenet5c.errors import MissingExtraError
from lenet5c.nn import LeNet5
from lenet5c.nn.initialize import NAMED
from lenet5c.nn.lenet5 import ACTIVATIONS, C5_FORMS, POOLINGS
from lenet5c.nn.lenet5_1998 import INITS
from lenet5c.recipes import RECIPES, recipe
from lenet5c.recipes.recipe import (
    FITS,
    KEEPS,
    LOSS_SETTINGS,
    LOSSES,
    NETS,
    OPTIMIZER_SETTINGS,
    OPTIMIZERS,
    PREPARATIONS,
    SCHEDULE_SETTINGS,
    SCHEDULES,
    SPLITS,
    Recipe,
)
from lenet5c.training import NonFiniteError, RunError, evaluate
from lenet5c.training.event_file import EventFile
from lenet5c.training.interrupt import StopRequest
from lenet5c.training.progress import Progress
from lenet5c.training.run_folder import RunFolder

TARGET_MISSED = 3
# Of training images; and what then makes more of them.
FEW, FOR_FEW = 1000, "--distortion modern --epochs 300 --batch-size 16"
DESCRIPTION = (
    "Train LeNet-5 on a CPU. Without options: on MNIST, which is in the package, to over 99 %."
)
EXAMPLES = """examples:
  lenet5c train                                                   MNIST, 10 epochs, over 99.4 %
  lenet5c train --recipe fast --out runs/first                    2 epochs, 2 seconds
  lenet5c train --epochs 4 --seed 1 --target-accuracy 0.99        exit code 3 below the target
  lenet5c train --resume --out runs/first                         go on with a run that was stopped
  lenet5c train --activation tanh --pooling max --optimizer sgd --lr 0.02 --schedule cosine
  lenet5c train --data my-pictures --epochs 30                    a folder per class, or four IDX files"""
SETTINGS = ("loss_settings", "optimizer_settings", "schedule_settings")
# Options that are no settings of a recipe, and may not change when a run is resumed.
OF_RUN = ("recipe", "data", "seed", "watch_test", "skip_bad", "reading")
# Options of the net, which a recipe has in its field `model`.
MODEL_OPTIONS = ("activation", "pooling", "c5", "dropout", "batch_norm", "init")
# Fields that a config.json of version 0.1 has; it means those that came later at their default.
FIRST_FIELDS = (
    "epochs",
    "batch_size",
    "optimizer",
    "lr",
    "schedule",
    "momentum",
    "weight_decay",
    "label_smoothing",
    "validation",
    "fit",
    "model",
)


def add_arguments(parser):
    usual = RECIPES["default"]

    run_group = parser.add_argument_group("the run")
    add = run_group.add_argument
    add(
        "--recipe",
        choices=RECIPES,
        metavar="R",
        help=f"a named configuration: {', '.join(RECIPES)}; lenet5c recipes tells more (default: default)",
    )
    add(
        "--epochs",
        type=whole(1),
        metavar="N",
        help=f"passes over the training images (default: {usual.epochs})",
    )
    add(
        "--patience",
        type=whole(0),
        metavar="N",
        help="end after N epochs without a better one on the validation images (default: 0, never)",
    )
    add(
        "--train-size",
        type=whole(1),
        metavar="N",
        help="use N of the training images only, drawn by the seed (default: all)",
    )
    add(
        "--seed",
        type=whole(0),
        metavar="N",
        help="of all that is drawn: weights, split, order, distortions (default: 0)",
    )
    add(
        "--out",
        type=directory,
        metavar="DIR",
        help="folder for the results (default: a new one in runs/)",
    )
    add(
        "--resume",
        action="store_true",
        help="go on with the run in --out, to the same bytes as without a stop",
    )
    add_threads(run_group)
    add(
        "--watch-test",
        action="store_true",
        default=None,
        help="write the test accuracy after each epoch to metrics.jsonl; it decides nothing",
    )
    add(
        "--tensorboard",
        action="store_true",
        help="write what TensorBoard shows into --out as well; see: tensorboard --logdir DIR",
    )
    add(
        "--target-accuracy",
        type=number(0, 1),
        metavar="F",
        help="exit with 3 if the test accuracy, 0 to 1, is lower",
    )
    add("--quiet", action="store_true", help="print the last line only")
    add(
        "--no-report",
        action="store_true",
        help="write no pictures and no report.html, which need lenet5c[plots]",
    )

    add = parser.add_argument_group("data").add_argument
    add(
        "--data",
        metavar="NAME_OR_DIR",
        help="a folder with a folder of images for each class, perhaps in train/ and test/, or with four IDX files; or a name of lenet5c data list (default: mnist)",
    )
    add(
        "--skip-bad", action="store_true", default=None, help="leave out images that cannot be read"
    )
    add(
        "--reading",
        choices=READINGS,
        metavar="HOW",
        help="how predict will make a picture into such an image: ink, cropped and centred on black as MNIST's digits are, or whole, as it is (default: by the data)",
    )
    add(
        "--validation",
        type=number(0),
        metavar="N",
        help="training images held out: a number, or a share below 1 (default: 1/12)",
    )
    add(
        "--split",
        choices=SPLITS,
        metavar="HOW",
        help=f"which of them: {', '.join(SPLITS)} (default: random)",
    )
    add(
        "--fit",
        choices=FITS,
        metavar="HOW",
        help="to 32 by 32 pixels: auto, pad or resize (default: auto)",
    )
    add(
        "--preparation",
        choices=PREPARATIONS,
        metavar="NAME",
        help=f"of the pixels, instead of --fit: {', '.join(PREPARATIONS)} (default: auto)",
    )
    add(
        "--distortion",
        choices=("none", *Distortion.NAMES),
        metavar="NAME",
        help=f"of the training images, drawn anew in each epoch: {', '.join(Distortion.NAMES)} (default: none)",
    )

    add = parser.add_argument_group("net").add_argument
    add(
        "--activation",
        choices=ACTIVATIONS,
        metavar="NAME",
        help=f"{', '.join(ACTIVATIONS)} (default: relu)",
    )
    add(
        "--pooling",
        choices=POOLINGS,
        metavar="NAME",
        help=f"{', '.join(POOLINGS)} (default: {usual.model['pooling']})",
    )
    add(
        "--c5",
        choices=C5_FORMS,
        metavar="FORM",
        help=f"form of the layer of 120 units: {', '.join(C5_FORMS)} (default: linear)",
    )
    add(
        "--dropout",
        type=number(0, 1),
        metavar="F",
        help="probability, behind the two fully connected layers (default: 0)",
    )
    add(
        "--init",
        metavar="NAME",
        help=f"of the weights: {', '.join(NAMED)}; of the net of 1998 {', '.join(INITS)} (default: by activation)",
    )
    add(
        "--batch-norm",
        action=argparse.BooleanOptionalAction,
        help="before each activation (default: no)",
    )

    add = parser.add_argument_group("training").add_argument
    add(
        "--batch-size",
        type=whole(1),
        metavar="N",
        help=f"images a step (default: {usual.batch_size})",
    )
    add(
        "--optimizer",
        choices=OPTIMIZERS,
        metavar="NAME",
        help=f"{', '.join(OPTIMIZERS)} (default: {usual.optimizer})",
    )
    add(
        "--lr",
        type=number(0, above=True),
        metavar="F",
        help="learning rate, the peak of the schedule (default: by optimizer)",
    )
    add(
        "--momentum",
        type=number(0, 1),
        metavar="F",
        help=f"of sgd (default: {usual.momentum}); that of rmsprop is among its settings",
    )
    add(
        "--weight-decay",
        type=number(0),
        metavar="F",
        help="decoupled with adamw (default: by optimizer)",
    )
    add(
        "--optimizer-settings",
        type=setting,
        nargs="+",
        metavar="NAME=VALUE",
        help=f"in place of all the recipe's: {offered(OPTIMIZER_SETTINGS)}",
    )
    add(
        "--schedule",
        choices=SCHEDULES,
        metavar="NAME",
        help=f"of the learning rate: {', '.join(SCHEDULES)} (default: {usual.schedule})",
    )
    add(
        "--schedule-settings",
        type=setting,
        nargs="+",
        metavar="NAME=VALUE",
        help=f"in place of all the recipe's: {offered(SCHEDULE_SETTINGS)}",
    )
    add(
        "--loss",
        choices=LOSSES,
        metavar="NAME",
        help=f"{', '.join(LOSSES)} (default: {usual.loss})",
    )
    add(
        "--loss-settings",
        type=setting,
        nargs="+",
        metavar="NAME=VALUE",
        help=offered(LOSS_SETTINGS),
    )
    add(
        "--label-smoothing",
        type=number(0, 1),
        metavar="F",
        help=f"share of a target spread over all classes (default: {usual.label_smoothing})",
    )
    add(
        "--average",
        type=number(0, 1),
        metavar="F",
        help="decay per step of a running average of the weights, such as 0.999, to evaluate and save (default: 0, none)",
    )
    add(
        "--keep",
        choices=KEEPS,
        metavar="WHICH",
        help="weights to save: of the last epoch, or of the best on the validation images (default: last)",
    )


def run(options):
    """Train, and leave the run in a folder."""
    started = time.perf_counter()
    try:
        return train(options, started)
    except NonFiniteError as error:
        message = f"training failed: {error}; give the next run another --out"
        return fail(options.prog, message, FAILED)


def train(options, started):
    """A whole run, from the options to the exit code."""
    if options.tensorboard:
        EventFile.check()
    folder, config = resume(options) if options.resume else begin(options)
    source = opened(config, None if options.quiet else say)
    digest = data_digest(source)
    if config.setdefault("data_digest", digest) != digest:
        raise RunError(
            f"{config['data']} has changed since the run in {folder.path} began; start a new run"
        )
    try:
        trainer, trained = config_recipe(config).build(source, config["seed"])
    except (ValueError, TypeError) as error:
        raise RunError(error) from None
    if options.resume:
        folder.load_checkpoint(trainer, config)
    else:
        folder.create(config)
    events = event_file(folder, trainer, options)
    resumed = trainer.steps_taken > 0
    if (summary := folder.read_summary()) is None:
        watched = source.test if config.get("watch_test") else None
        if signal := run_epochs(trainer, folder, config, options, watched, events):
            return interrupted(folder, trainer, signal)
        summary = finish(trainer, trained, source.test, folder, config, started, resumed)
    if not options.no_report:
        from lenet5c.report.run import leave_report

        leave_report(options.prog, trainer, source, folder, config, summary, options.quiet)
    return report(summary, options.target_accuracy)


def opened(config, tell):
    """The source of a run's images; what is to be known about it is told, unless `tell` is None."""
    tell = tell or (lambda line: None)
    source = open_source(
        config["data"],
        skip_bad=config.get("skip_bad") is True,
        reading=config.get("reading"),
        tell=tell,
    )
    for note in source.notes:
        tell(f"{config['data']}: {note}")
    return source


def begin(options):
    """The folder and the configuration of a new run; nothing is written yet."""
    name = options.recipe or "default"
    changes = given(options, RECIPES[name].model)
    try:
        chosen = recipe(name, **changes)
    except ValueError as error:
        raise RunError(error) from None
    config = {
        "lenet5c": lenet5c.__version__,
        "recipe": name,
        "data": source_name("mnist" if options.data is None else options.data),
        "seed": options.seed or 0,
        "watch_test": bool(options.watch_test),
        **{
            name: value
            for name in ("skip_bad", "reading")
            if (value := getattr(options, name)) is not None
        },
        **chosen.to_dict(),
    }
    out = options.out or Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    return RunFolder(out), config


def given(options, model):
    """The settings of a recipe with this `model` that the options change."""
    changes = {
        name: value
        for name in Recipe.settings()
        if (value := getattr(options, name, None)) is not None
    }
    changes |= {name: dict(changes[name]) for name in SETTINGS if name in changes}
    if "distortion" in changes:
        name = changes["distortion"]
        changes["distortion"] = {} if name == "none" else Distortion.named(name).to_dict()
    of_model = {
        name: value for name in MODEL_OPTIONS if (value := getattr(options, name)) is not None
    }
    return changes | {"model": model | of_model} if of_model else changes


def resume(options):
    """The folder and the configuration of the run to go on with; options given again must say the same."""
    if options.out is None:
        raise RunError("--resume needs --out DIR, the folder of the run to go on with")
    folder = RunFolder(options.out)
    config = folder.read_config()
    missing = {"recipe", "data", "seed", "data_digest", *FIRST_FIELDS} - config.keys()
    if missing:
        raise RunError(
            f"{folder.config_file} lacks {', '.join(sorted(missing))}; start a new run in another folder"
        )
    if not isinstance(config["data"], str) or type(config["seed"]) is not int or config["seed"] < 0:
        raise RunError(
            f"{folder.config_file} has an impossible data or seed; start a new run in another folder"
        )
    asked = given(options, {}) | {name: getattr(options, name) for name in OF_RUN}
    if asked["data"] is not None:
        asked["data"] = source_name(asked["data"])
    present = (
        {"watch_test": False, "skip_bad": False, "reading": None} | Recipe().to_dict() | config
    )
    pairs = [(name, value, present[name]) for name, value in asked.items() if name != "model"]
    pairs += [
        (name, value, of_model(present, name)) for name, value in asked.get("model", {}).items()
    ]
    for name, value, is_so in pairs:
        if value is not None and (value or None) != (is_so or None):
            option = "--" + name.replace("_", "-")
            raise RunError(
                f"the run in {folder.path} has {option} {in_words(is_so)}, not {in_words(value)}; leave the option "
                f"out, or start a new run in another folder"
            )
    return folder, config


def of_model(config, name):
    """A setting of a run's net, where it has none that of the net itself."""
    model = config["model"] if isinstance(config["model"], dict) else {}
    settings = signature(NETS.get(config["net"], LeNet5)).parameters
    return model.get(name, settings[name].default if name in settings else None)


def in_words(value):
    """A setting as its option has it."""
    for name in Distortion.NAMES:
        if isinstance(value, dict) and value in (
            NAMED_DISTORTIONS[name],
            Distortion.named(name).to_dict(),
        ):
            return name
    return "none" if value in (None, {}) else value


def config_recipe(config):
    """The recipe of a run; settings that are younger than its config.json are at their default."""
    return Recipe(**{name: config[name] for name in Recipe.settings() if name in config})


def data_digest(source):
    """SHA-256 of images, labels and class names."""
    digest = hashlib.sha256()
    for dataset in (source.train, source.test, source.validation):
        if dataset is None:
            continue
        digest.update(f"{dataset.images.shape} {dataset.class_names}".encode())
        digest.update(dataset.images.data)
        digest.update(dataset.labels.data)
    return digest.hexdigest()


def event_file(folder, trainer, options):
    """The run's file for TensorBoard with its epochs so far; None if there is none and none is asked for.

    A resumed run that has one goes on with it, unasked.
    """
    if not options.tensorboard and not folder.events_file.exists():
        return None
    try:
        events = EventFile(folder.events_file)
    except MissingExtraError as error:
        print(f"{folder.events_file} is not gone on with: {error}", file=sys.stderr)
        return None
    events.begin(trainer.history)
    return events


def run_epochs(trainer, folder, config, options, watched=None, events=None):
    """Train to the end, with a checkpoint after each epoch; returns the signal that stopped it, or None.

    Of a `watched` data set the accuracy after each epoch is written down, and nothing else is done with it.
    """
    progress = Progress(trainer, options.quiet)
    channels, height, width = trainer.model.input_shape
    validation = 0 if trainer.validation_set is None else len(trainer.validation_set)
    progress.line(
        f"LeNet-5, {trainer.model.num_params:,} parameters, {channels} x {height} x {width} input; "
        f"{len(trainer.train_set):,} images to train on, {validation:,} to validate; seed {config['seed']}\n"
        f"kernels {kernels.isa}, {kernels.get_num_threads()} threads; results in {folder.path}"
    )
    if len(trainer.train_set) < FEW and not config["distortion"] and trainer.epoch == 0:
        progress.line(f"So few images do better with {FOR_FEW}.")
    began = time.perf_counter()

    def after_epoch(trainer, row):
        nonlocal began
        if watched is not None:
            with trainer.weights_to_evaluate():
                row["test_accuracy"] = evaluate(
                    trainer.model, watched, trainer.preparation
                ).accuracy
        folder.save_checkpoint(trainer, config)
        if events:
            events.add(row)
        progress.epoch(row, time.perf_counter() - began)
        began = time.perf_counter()

    try:
        with StopRequest() as stop:
            done = trainer.run(
                lambda trainer, samples: progress.step(trainer, samples), after_epoch, stop
            )
            if not done:
                folder.save_checkpoint(trainer, config)
    finally:
        progress.close()
    if done and trainer.epoch < trainer.epochs:
        progress.line(f"No better epoch in {trainer.patience}: the training ends here.")
    if done and trainer.keep == "best":
        progress.line(f"The weights are those of epoch {trainer.kept_row['epoch']}.")
    if done:
        progress.course(trainer.history)
    return None if done else stop.signal


def interrupted(folder, trainer, signal):
    out = shlex.quote(str(folder.path))
    print(
        f"\nStopped in epoch {trainer.epoch + 1} after step {trainer.step} of {trainer.steps_per_epoch}. Go on with:\n"
        f"  python -m lenet5c.train --resume --out {out}",
        file=sys.stderr,
    )
    return 128 + signal


def finish(trainer, trained, test_set, folder, config, started, resumed):
    """Look at the test images, for the first and only time unless they are watched, and write model and summary."""
    result = evaluate(trained, test_set)
    summary = {
        "test_accuracy": result.accuracy,
        "test_correct": result.correct,
        "test_count": result.count,
        "test_loss": result.loss,
        "seconds": round(time.perf_counter() - started, 3),
        "parameters": trained.model.num_params,
        "epochs": trainer.epoch,
        "recipe": config["recipe"],
        "seed": config["seed"],
        "kernels": kernels.isa,
        "threads": kernels.get_num_threads(),
        "lenet5c": lenet5c.__version__,
    }
    if resumed:
        summary["resumed"] = True  # so `seconds` is not the whole run's
    row = trainer.kept_row
    if row and "validation_accuracy" in row:
        summary["validation_accuracy"] = row["validation_accuracy"]
    if trainer.keep == "best":
        summary["kept_epoch"] = row["epoch"]
    folder.finish(trained, summary)
    return summary


def report(summary, target):
    correct, count = summary["test_correct"], summary["test_count"]
    missed = target is not None and correct / count < target
    if missed:
        print(f"The test accuracy is below the target of {100 * target:g}%.", file=sys.stderr)
    say(f"Test accuracy: {100 * correct / count:.2f}% ({correct}/{count})")
    return TARGET_MISSED if missed else 0


def offered(settings):
    """What each kind takes, for a help text."""
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in settings.items() if names)
