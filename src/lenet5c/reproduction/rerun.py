"""Runs of a report, their record, and the report."""

import shlex
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from lenet5c._optional import require
from lenet5c.errors import RunError
from lenet5c.recipes import RECIPES, RunConfig
from lenet5c.reproduction.record import make_record, read_record, write_reached, write_record
from lenet5c.reproduction.runs import plan, train_all

RECORD, REPORT, PICTURES = "reproductions.json", "reproductions.md", Path("images/reproductions")


def reproduce(
    recipes: Iterable[str] = (),
    *,
    seeds: int | None = None,
    data: str = "mnist",
    epochs: int | None = None,
    jobs: int | None = 1,
    executor: Executor | None = None,
    work: str | Path = "runs/reproduce",
    out: str | Path = "docs",
    reached: str | Path | None = None,
    on_message: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Train recipes with several seeds, each run in its own process, and write a report.

    Finished runs are kept; repeat the call to continue after an interruption.

    Parameters
    ----------
    recipes : iterable of str
        Names of recipes; all if empty.
    seeds : int, optional
        Number of seeds of each recipe, from 0; by default 20, fewer for recipes that take over a
        minute.
    data : str
        Data as for option --data of ``lenet5c train``.
    epochs : int, optional
        Number of epochs, by default those of the recipes; a change is noted in the report.
    jobs : int, optional
        Number of parallel runs; they share the cores, so their times are longer. None: the number
        of workers of the executor.
    executor : concurrent.futures.Executor, optional
        Executor that starts the processes, see `lenet5c.run_many`; by default this process.
    work : str or Path
        Folder of the runs.
    out : str or Path
        Folder of the report, its record and pictures.
    reached : str or Path, optional
        File for the accuracies of the record, read by `lenet5c.recipes.reached`.
    on_message : callable, optional
        Called with a line of text for each run.

    Returns
    -------
    dict
        The record, see `read_record`.

    Raises
    ------
    TrainingError
        If a run failed.
    RunError
        If an argument is invalid or a folder is not writable.
    """
    recipes = list(recipes)
    # Excluded: one needs an initial model, one is for other images.
    alone = [name for name in RECIPES if name not in ("finetune", "signs")]
    names, out = list(dict.fromkeys(recipes)) or alone, Path(out)
    check(names, work, out)
    source_config = RunConfig.named(data=data)
    source = source_config.open(on_message)
    configs = plan(names, seeds, work, data, epochs, source)
    changes = {} if epochs is None else {"epochs": epochs}
    if reached is not None and (source_config.data != "mnist" or changes):
        raise RunError("reached cannot be combined with data or epochs, which change the recipes")
    train_all(configs, jobs, on_message, executor)

    from lenet5c.reproduction import pictures, report

    words = {"seeds": seeds, "jobs": jobs if jobs and jobs > 1 else None, "epochs": epochs}
    name = Path(source_config.data).name
    command = ["python", "-m", "lenet5c", "reproduce", *recipes]
    for option, value in (words | {"data": None if name == "mnist" else name}).items():
        command += [] if value is None else [f"--{option}", str(value)]
    record = make_record(configs, source, shlex.join(command), name, changes)
    drawn = pictures.draw(record, source.test, out / PICTURES)
    write_record(out / RECORD, record)
    addresses = {key: (PICTURES / file).as_posix() for key, file in drawn.items()}
    report.write(out / REPORT, record, addresses)
    if reached is not None:
        write_reached(reached, record)
    return record


def check(names: list[str], work: str | Path, out: Path) -> None:
    """Raise a RunError for errors that would otherwise occur after hours of training."""
    if unknown := [name for name in names if name not in RECIPES]:
        raise RunError(f"recipe must be one of {', '.join(RECIPES)}, got {unknown[0]!r}")
    require("matplotlib", "plots", "pictures of a report")
    for name, folder in (("out", out / PICTURES), ("work", Path(work))):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise RunError(
                f"{name} must be a writable folder, got {folder} ({error.strerror or error})"
            ) from None
    try:
        present = {result["recipe"] for result in read_record(out / RECORD)["results"]}
    except FileNotFoundError:
        present = set()
    if lost := sorted(present - set(names)):
        raise RunError(
            f"recipes must include {', '.join(lost)}, which are in {out / RECORD} and would be "
            "lost; add them, or choose another folder with --out"
        )
