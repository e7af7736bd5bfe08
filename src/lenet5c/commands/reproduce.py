"""``lenet5c reproduce``: train recipes with several seeds, and write what came out beside what was reported.

Exit codes: 0 done, 1 a training failed, 2 bad use, 130 interrupted.
"""

import shlex
import signal
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path

from lenet5c.commands import train
from lenet5c.commands.cli import FAILED, directory, fail, say, whole
from lenet5c.datasets.source import open_source, source_name
from lenet5c.recipes import RECIPES
from lenet5c.training import RunError

RECORD, REPORT, PICTURES = (
    "reproductions.json",
    "reproductions.md",
    Path("images") / "reproductions",
)


DESCRIPTION = (
    "Train recipes with several seeds, each training a process of its own, and write a report: "
    "what was reported against what was obtained, with its spread, times, curves and errors. Finished trainings "
    "are kept, so that the same command goes on after an interrupt."
)
EXAMPLES = """examples:
  lenet5c reproduce fast default --seeds 3 --out report
  lenet5c reproduce paper1998 --jobs 2 --out report"""


def add_arguments(parser):
    add = parser.add_argument
    add("recipes", nargs="*", metavar="RECIPE", help=f"{', '.join(RECIPES)} (default: all)")
    add(
        "--seeds",
        type=whole(1, 1000),
        metavar="N",
        help="seeds 0 to N - 1 of each (default: 5, or what suits the recipe)",
    )
    add(
        "--out",
        type=directory,
        default=Path("docs"),
        metavar="DIR",
        help=f"folder for {REPORT}, {RECORD} and {PICTURES.as_posix()} (default: docs)",
    )
    add(
        "--work",
        type=directory,
        default=Path("runs") / "reproduce",
        metavar="DIR",
        help="folder for the trainings (default: runs/reproduce)",
    )
    add(
        "--jobs",
        type=whole(1, 1024),
        default=1,
        metavar="N",
        help="trainings at once, which share the cores: their times are longer (default: 1)",
    )
    add(
        "--data",
        default="mnist",
        metavar="NAME_OR_DIR",
        help="as for lenet5c train (default: mnist)",
    )
    add(
        "--epochs",
        type=whole(1),
        metavar="N",
        help="in place of the recipes' own; the report says so",
    )


def run(options):
    """Train and report; a polite kill is an interrupt, so that trainings leave checkpoints."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler) if in_main_thread else None
    try:
        return reproduce(options, command_line(options))
    except KeyboardInterrupt:
        text = "interrupted; the same command goes on where this one stopped"
        raise KeyboardInterrupt(text) from None
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, previous)


def reproduce(options, command):
    """All trainings, then the report; returns the exit code."""
    names = list(dict.fromkeys(options.recipes)) or list(RECIPES)
    check(options, names)
    # These load what is only needed here.
    from lenet5c import kernels
    from lenet5c.reproduction.record import make_record, reached_text, write_record
    from lenet5c.reproduction.runs import plan, run_all

    data = source_name(options.data)
    source = open_source(data, tell=say)
    train_set, test_set = source.train, source.test
    digest = train.data_digest(source)
    runs = plan(names, options.seeds, options.work, data, options.epochs, digest, len(train_set))
    threads = max(1, kernels.get_num_threads() // options.jobs) if options.jobs > 1 else None
    try:
        run_all(runs, options.jobs, threads, say)
    except RunError as error:
        return fail(options.prog, error, FAILED)

    from lenet5c.reproduction import pictures, report

    changes = {} if options.epochs is None else {"epochs": options.epochs}
    record = make_record(runs, len(train_set), test_set, command, Path(data).name, changes)
    drawn = pictures.draw(record, test_set, options.out / PICTURES)
    write_record(options.out / RECORD, record)
    report.write(
        options.out / REPORT,
        record,
        {key: (PICTURES / name).as_posix() for key, name in drawn.items()},
    )
    if data == "mnist" and not changes:
        say("\nWhat the recipes reached, for lenet5c/recipes.py:")
        for result in record["results"]:
            if result["train_size"] is None:
                say(f'  {result["recipe"]}: reached="{reached_text(result)}"')
    say(f"\nThe report is {options.out / REPORT}")
    return 0


def command_line(options):
    """What was called, but for folders: they change nothing in the report, and are nobody's business."""
    words = ["python", "-m", "lenet5c", "reproduce", *options.recipes]
    for name, usual in (("seeds", None), ("jobs", 1), ("epochs", None)):
        if getattr(options, name) != usual:
            words += [f"--{name}", str(getattr(options, name))]
    if options.data != "mnist":
        words += ["--data", Path(options.data).name]
    return shlex.join(words)


def check(options, names):
    """What would only come to light after hours of training."""
    if unknown := [name for name in names if name not in RECIPES]:
        raise RunError(f"recipe is {unknown[0]!r}; it should be one of {', '.join(RECIPES)}")
    if find_spec("matplotlib") is None:
        raise RunError(
            "the report's pictures need matplotlib; install it: python -m pip install 'matplotlib>=3.8'"
        )
    from lenet5c.reproduction.record import read_record

    for option, folder in (("--out", options.out / PICTURES), ("--work", options.work)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise RunError(
                f"{folder} cannot be written ({error.strerror or error}); name another folder with {option}"
            ) from None
    try:
        present = {result["recipe"] for result in read_record(options.out / RECORD)["results"]}
    except FileNotFoundError:
        present = set()
    if lost := sorted(present - set(names)):
        raise RunError(
            f"{options.out / RECORD} has {', '.join(lost)}, too, which this report would drop; name them as well, or "
            f"name another folder with --out"
        )
