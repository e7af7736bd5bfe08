"""``lenet5c train``: train LeNet-5 and save the model, metrics and checkpoint in a folder.

Exit codes: 0 done, 1 training failed, 2 bad use, 3 below the target accuracy; 130, 143 or 129
interrupted by SIGINT (Ctrl-C), SIGTERM or SIGHUP.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from lenet5c import recipes
from lenet5c._text import command_line, format_p
from lenet5c.commands import preload, signals
from lenet5c.commands.cli import (
    FAILED,
    add_threads,
    directory,
    fail,
    file,
    name_or_settings,
    note,
    number,
    say,
    warn,
)
from lenet5c.commands.cli import setting as pair
from lenet5c.commands.display import TARGET_MISSED, Display, FoldDisplay, report_stop
from lenet5c.commands.mpi import run_on_ranks
from lenet5c.commands.workers import Workers, add_workers, open_workers
from lenet5c.datasets import Source
from lenet5c.datasets.idx import INFLATING
from lenet5c.datasets.source import source_name
from lenet5c.errors import TrainingError
from lenet5c.nn.kind import DICT, Kind
from lenet5c.recipes import RunConfig
from lenet5c.recipes.config_file import read_config_file
from lenet5c.recipes.run_config import NOTHING, option_settings
from lenet5c.recipes.setting import GROUPS, RUN, in_words, option
from lenet5c.recipes.start import start_name
from lenet5c.recipes.teacher_jobs import default_jobs
from lenet5c.training import NonFiniteError, RunError, TrainedModel
from lenet5c.training.interrupt import StopRequest
from lenet5c.training.parallel import Ranks
from lenet5c.training.run_folder import RunFolder
from lenet5c.training.statistics import describe_accuracy

DESCRIPTION = (
    "Train LeNet-5 on a CPU, by default on MNIST (included) to a test accuracy of over 99 %."
)
EXAMPLES = """examples:
  lenet5c train                                                   MNIST, 10 epochs, over 99.4 %
  lenet5c train --recipe fast --out runs/first                    1 epoch, about a second
  lenet5c train --epochs 4 --seed 1 --target-accuracy 0.99        exit code 3 below the target
  lenet5c train --resume --out runs/first                         continue an interrupted run
  lenet5c train --activation tanh --pooling max --optimizer sgd --lr 0.02 --schedule cosine
  lenet5c train --data my-pictures --epochs 30                    one folder per class
  lenet5c train --data train.csv                                  or .npz, .parquet, .mat, IDX, ...
  lenet5c train --data my-pictures --class-weight balanced        rare classes count as much
  lenet5c train --data my-pictures --folds 5                      cross-validation"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the settings of a run, its recipe and its net, and the options of the command."""
    group = add_settings(parser)
    add = group.add_argument
    add(
        "--out",
        type=directory,
        metavar="DIR",
        help="folder for the results (default: a new one in runs/)",
    )
    add(
        "--config",
        type=file,
        metavar="FILE",
        help="settings from a file: the config.json of a run, to repeat it, or options by name "
        "in TOML or JSON; command line options take precedence",
    )
    exclusive = group.add_mutually_exclusive_group()
    add = exclusive.add_argument
    add(
        "--resume",
        action="store_true",
        help="resume the run in --out, with the same result as without an interruption; with more "
        "--epochs, also a finished run",
    )
    add("--overwrite", action="store_true", help="replace an existing run in --out")
    add = group.add_argument
    add(
        "--tensorboard",
        action="store_true",
        help="also write a TensorBoard event file to --out; view it with tensorboard --logdir DIR",
    )
    add(
        "--target-accuracy",
        type=number(0, 1),
        metavar="F",
        help="exit with code 3 if the test accuracy is below F, from 0 to 1",
    )
    add_workers(group, " of --folds", also=" or teachers")
    add("--quiet", action="store_true", help="print only the last line")
    add(
        "--mpi",
        action=argparse.BooleanOptionalAction,
        help="train on all processes started by mpiexec, with the same result as one; requires "
        "lenet5c[mpi] (default: if there are several)",
    )
    add(
        "--no-report",
        action="store_true",
        help="do not write pictures and report.html, which require lenet5c[plots]",
    )


def add_settings(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the settings of a run, its recipe and its net; return the group of the run."""
    groups = {group: parser.add_argument_group(group) for group in GROUPS}
    usual = RunConfig()
    for name, setting in option_settings().items():
        # Options have no default, so that a resumed run knows which were set.
        arguments: dict[str, Any] = {"help": setting.describe(usual.get(name)).replace("%", "%%")}
        groups[setting.group].add_argument(
            option(name, setting), dest=name, **arguments, **option_arguments(setting.kind)
        )
    add_threads(groups[RUN])
    return groups[RUN]


def option_arguments(kind: Kind) -> dict[str, Any]:
    """Return the argparse arguments of an option for a kind of values."""
    if not kind.metavar:
        return {"action": argparse.BooleanOptionalAction}
    if kind.choices:
        form: Callable[[str], Any] = name_or_settings if kind.accepts({}) else str
        return {"choices": kind.choices, "metavar": kind.metavar, "type": form}
    if kind.several:
        return {"action": ReadWords, "kind": kind, "nargs": "*", "metavar": kind.metavar}
    if kind.many:
        read = pair if kind is DICT else option_type(kind)
        return {"type": read, "nargs": "+", "metavar": kind.metavar}
    return {"type": option_type(kind), "metavar": kind.metavar}


class ReadWords(argparse.Action):
    """Parses the words of an option as one list."""

    def __init__(self, *args: Any, kind: Kind, **options: Any) -> None:
        super().__init__(*args, **options)
        self.kind = kind

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Set the value; an error names the option."""
        try:
            setattr(namespace, self.dest, self.kind.read(" ".join(values)))
        except ValueError as error:
            raise argparse.ArgumentError(self, str(error)) from None


def option_type(kind: Kind) -> Callable[[str], Any]:
    """Return an argparse type for a kind of values."""

    def read(text: str) -> Any:
        try:
            return kind.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


@contextmanager
def naming_options() -> Iterator[None]:
    """Replace setting names in errors with options: '--class-weight must', not 'class_weight must'.

    Many errors are raised by functions of the data or the net, which do not know the options.
    """
    try:
        yield
    except RunError as error:
        name, must, rest = str(error).partition(" must ")
        setting = option_settings().get(name)
        if not (setting and must):
            raise
        raise RunError(f"{option(name, setting)}{must}{rest}") from None


def run(options: argparse.Namespace) -> int:
    """Train, on all ranks if there are several, evaluate and report; return the exit code."""
    return run_on_ranks(options, train)


@naming_options()
def train(options: argparse.Namespace, ranks: Ranks) -> int:
    """Train, evaluate and report; return the exit code."""
    INFLATING.update(preload.claim())
    config = configure_ranks(options, ranks)
    if config.folds and config.fold is None:
        if ranks.size > 1:
            raise RunError(
                "--folds cannot be combined with training on several processes, got "
                f"{config.folds}; start it without mpiexec, or use --executor mpi"
            )
        with open_workers(options) as workers:
            return run_folds(options, config, workers) if workers else 0
    if options.executor is not None:
        raise RunError("--executor requires --folds N; or use lenet5c sweep")
    jobs = choose_jobs(options, config, ranks)
    display, stop = Display(options.quiet or not ranks.first), StopRequest()
    result = None
    try:
        result = recipes.train(
            config,
            frame=frame,
            resume=options.resume,
            overwrite=options.overwrite,
            tensorboard=options.tensorboard,
            on_message=display.line,
            on_start=display.start,
            on_step=display.step,
            on_epoch=display.epoch,
            stop=stop,
            ranks=ranks,
            jobs=jobs,
        )
    except NonFiniteError as error:
        message = f"training failed: {error}; use another --out for the next run"
        return fail(options.prog, message, FAILED)
    except TrainingError as error:  # of a teacher in a process of its own
        return fail(options.prog, error, FAILED)
    finally:
        display.close(result)
    if result.interrupted:
        number = max(ranks.gather(stop.signal or 0))
        signals.settle(number)
        return report_stop(result, number)
    if not ranks.first:
        return 0
    if not options.no_report:
        from lenet5c.report.run import leave_report

        leave_report(result, display.line, partial(warn, options.prog))
    return report(result, options.target_accuracy, display.line)


def choose_jobs(options: argparse.Namespace, config: RunConfig, ranks: Ranks) -> int:
    """Return the number of teachers of a run to train in parallel."""
    if options.jobs is None:
        return 1 if ranks.size > 1 else default_jobs(config.settings)
    if config.settings.teachers == 0:
        raise RunError(
            f"--jobs requires --folds N, teachers, or lenet5c sweep, got {options.jobs}; omit it"
        )
    if ranks.size > 1:
        raise RunError(
            f"--jobs is incompatible with a training on several ranks, got {options.jobs}; omit it"
        )
    jobs: int = options.jobs
    return jobs


def run_folds(options: argparse.Namespace, config: RunConfig, workers: Workers) -> int:
    """Cross-validate and report; return the exit code."""
    from lenet5c.report.tables import class_table

    shown, stop = FoldDisplay(options), StopRequest()
    try:
        result = recipes.cross_validate(
            config,
            frame=frame,
            resume=options.resume,
            overwrite=options.overwrite,
            executor=workers.executor,
            jobs=workers.jobs,
            progress=not options.quiet,
            tensorboard=options.tensorboard,
            on_message=shown.line,
            on_fold=shown.fold,
            on_start=shown.start,
            on_step=shown.step,
            on_epoch=shown.epoch,
            stop=stop,
        )
    except NonFiniteError as error:
        message = f"training failed: {error}; use another --out for the next run"
        return fail(options.prog, message, FAILED)
    except TrainingError as error:
        return fail(options.prog, error, FAILED)
    finally:
        shown.close()
    if result.interrupted:
        signals.settle(stop.signal or 0)
        if result.stopped is None:
            again = command_line("train", "--resume", "--out", config.folder)
            note(f"\nStopped. Continue with:\n  {again}")
            return 128 + (stop.signal or 0)
        whole = replace(result.stopped.config, folder=config.folder)
        return report_stop(replace(result.stopped, config=whole), stop.signal or 0)
    shown.line(class_table(result.matrix, result.dataset.class_names))
    shown.line(
        f"Each image is predicted by the model of its fold; see "
        f"{config.folder}/{recipes.folds.RECORD}"
    )
    over, target = result.interval, options.target_accuracy
    missed = target is not None and over.mean < target
    if missed:
        note(f"The mean accuracy is below the target of {100 * target:g}%.")
    say(
        f"Accuracy over {over.count} folds: {100 * over.mean:.2f}% ± "
        f"{100 * (over.high - over.mean):.2f} (95 % interval of the mean); "
        f"{result.matrix.trace()} of {len(result.dataset)} images"
    )
    return TARGET_MISSED if missed else 0


def configure_ranks(options: argparse.Namespace, ranks: Ranks) -> RunConfig:
    """Return the `RunConfig` for the options, or that of the first rank for a run to resume."""
    if not options.resume or ranks.size == 1:
        return configure(options)
    config = configure(options) if ranks.first else None
    values = ranks.broadcast(config.to_dict() if config else None)
    return config or RunConfig.from_dict(values)


def configure(options: argparse.Namespace) -> RunConfig:
    """Return the `RunConfig` for the options, without writing anything."""
    given = read_settings(options)
    if options.resume:
        return configure_resumed(options, given)
    out = options.out or Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    if options.config is not None:
        return read_config_file(options.config, **given, folder=out)
    return make_config(given, out)


def make_config(given: dict[str, Any], out: Path | None) -> RunConfig:
    """Return the configuration with some settings."""
    try:
        return RunConfig.named(given.pop("recipe", None), **given, folder=out)
    except ValueError as error:
        raise RunError(error) from None


def read_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings set by options, by name."""
    given: dict[str, Any] = {
        name: join(name, value) if setting.kind.many else value
        for name, setting in option_settings().items()
        if (value := getattr(options, name)) is not None
    }
    for name in ("data", "rehearse"):
        if given.get(name, NOTHING) != NOTHING:
            given[name] = source_name(given[name], f"--{name}")
    for name in ("start", "taught_by"):
        if name in given:
            given[name] = start_name(given[name])
    return given


def join(name: str, words: list[Any]) -> Any:
    """Combine the words of an option: pairs as one dict, or a single name."""
    names = [word for word in words if isinstance(word, str)]
    if names and len(words) > 1:
        raise RunError(
            f"--{name.replace('_', '-')} must be {names[0]} or NAME=VALUE pairs, got both"
        )
    if names:
        return names[0]
    pairs = [
        pair for word in words for pair in (word.items() if isinstance(word, dict) else [word])
    ]
    given = [key for key, _ in pairs]
    if twice := [key for key in given if given.count(key) > 1]:
        raise RunError(
            f"--{name.replace('_', '-')} must have each name once, got {twice[0]!r} twice"
        )
    return dict(pairs)


def configure_resumed(options: argparse.Namespace, given: dict[str, Any]) -> RunConfig:
    """Return the configuration of the run in --out; options must match it."""
    if options.out is None:
        raise RunError("--resume requires --out DIR, the folder of the run")
    if options.config is not None:
        raise RunError(
            "--config cannot be combined with --resume, which uses the settings of the run"
        )
    config = RunConfig.read(RunFolder(options.out))
    epochs = given.get("epochs", 0)
    if epochs > config.settings.epochs:
        config = replace(config, settings=replace(config.settings, epochs=epochs))
    if difference := config.differing(given):
        name, here, value = difference
        more = "at least " if name == "epochs" else ""
        raise RunError(
            f"{option(name, option_settings()[name])} must be {more}{in_words(here)}, as in the "
            f"run in {config.folder}, got {in_words(value)}; omit the option, or start a new "
            "run in another folder"
        )
    return config


def frame(source: Source, start: TrainedModel) -> tuple[Source, list[str]]:
    """Convert whole pictures to the framing of a model that reads ink."""
    from lenet5c.recognition.samples import frame_source  # not needed by most runs

    return frame_source(source, start)


def report(result: recipes.Run, target: float | None, on_message: Callable[[str], object]) -> int:
    """Print the test accuracy and that of the initial model; return the exit code."""
    summary: dict[str, Any] = result.summary or {}
    correct, count = summary["test_correct"], summary["test_count"]
    start = result.config.start
    if "start_test_accuracy" in summary:
        before = f"{100 * summary['start_test_accuracy']:.2f}%"
        p = format_p(summary["start_p_value"], name="p")
        test = f"McNemar's exact test on the same images: {p}"
        on_message(f"Test accuracy of {start}, the initial model: {before} ({test})")
    if "teacher_test_accuracy" in summary:
        taught = f"{100 * summary['teacher_test_accuracy']:.2f}%"
        p = format_p(summary["teacher_p_value"], name="p")
        test = f"McNemar's exact test on the same images: {p}"
        on_message(f"Test accuracy of {result.config.taught_by}, the teacher: {taught} ({test})")
    if "rehearsed_accuracy" in summary and result.rehearsed:
        before, after = (
            f"{100 * summary[name]:.2f}%"
            for name in ("start_rehearsed_accuracy", "rehearsed_accuracy")
        )
        on_message(f"Test images of {result.rehearsed.test.name}: {before} before, {after} after")
    if "calibration_count" in summary:
        on_message(
            f"Temperature: {summary['temperature']:.4g}, fitted on the "
            f"{summary['calibration_count']:,} validation images (NLL {summary['nll_after']:.4f}, "
            f"{summary['nll_before']:.4f} at temperature 1)"
        )
    missed = False
    if target is not None and (missed := correct / count < target):
        note(f"The test accuracy is below the target of {100 * target:g}%.")
    say(f"Test accuracy: {describe_accuracy(correct, count)}")
    return TARGET_MISSED if missed else 0
