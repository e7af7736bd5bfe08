"""Many concurrent runs on any executor: seeds, folds, grids."""

import json
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import product
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from lenet5c import _files
from lenet5c._text import reason
from lenet5c.datasets import Source
from lenet5c.datasets.folds import assign_folds, take_fold
from lenet5c.errors import RunError
from lenet5c.recipes.digests import keep_digest
from lenet5c.recipes.executors import check_workers, open_executor
from lenet5c.recipes.jobs import Job, JobContext, JobStoppedError, Outcome, run_jobs
from lenet5c.recipes.placement import place
from lenet5c.recipes.run import train
from lenet5c.recipes.run_config import RunConfig
from lenet5c.recipes.sweep_bar import SweepBar
from lenet5c.recipes.sweep_rows import (
    LINES,
    TABLE,
    differing_settings,
    format_rows,
    make_row,
    spread,
    write_rows,
)
from lenet5c.training import TrainedModel, open_model
from lenet5c.training.run_folder import RunFolder

#: Seconds to wait until a worker of a killed call releases the folder of its run.
PATIENCE = 10.0
#: Cache of the data that this process read last, with its key.
_last: tuple[Any, Source] | None = None


@dataclass(eq=False)
class SweepResult:
    """Results of `run_many`, one row per run.

    Attributes
    ----------
    configs : list of RunConfig
        The runs with their folders, in the order of the call.
    rows : list of dict
        One row per run: the name of its folder, its state ('done', 'failed' or 'stopped'), recipe,
        seed, the settings that differ between runs, results, and its error or None.
    interrupted : bool
        True if `stop` ended the work. Calling `run_many` again continues it.
    traces : dict of str to str
        Tracebacks of failed runs by run name, for debugging.
    """

    configs: list[RunConfig]
    rows: list[dict[str, Any]] = field(default_factory=list)
    interrupted: bool = False
    traces: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The rows of the runs that have failed."""
        return [row for row in self.rows if row["state"] == "failed"]

    def models(self) -> list[TrainedModel]:
        """Return the trained models, in order.

        Raises
        ------
        RunError
            If a run is not finished.
        """
        for row in self.rows:
            if row["state"] != "done":
                raise RunError(
                    f"runs must be finished, got {row['run']}, which has {row['state']}"
                    + (f" ({row['error']})" if row["error"] else "")
                    + "; call run_many again with the same folder"
                )
        return [open_model(config.folder or "") for config in self.configs]

    def spread(self) -> list[dict[str, Any]]:
        """Return mean and standard deviation of the test accuracies over seeds and folds.

        Returns
        -------
        list of dict
            Recipe, settings, 'count', 'mean' and 'sd' of each group of runs with equal settings.
        """
        return spread(self.rows)

    def __str__(self) -> str:
        """Return the rows as a table."""
        return format_rows(self.rows)


def grid(recipe: str | None = None, **values: Any) -> list[RunConfig]:
    """Return a run for each combination of settings.

    Parameters
    ----------
    recipe : str, optional
        Name of a recipe, as in `RunConfig.named`.
    **values
        Settings as accepted by `RunConfig.named`: a list, tuple, range or array of values for each,
        or a single value for all runs. A value that is itself a list must be wrapped in a list:
        ``channels=[[12, 32]]``.

    Returns
    -------
    list of RunConfig
        The runs; the last setting varies fastest.

    Examples
    --------
    >>> from lenet5c.recipes import grid
    >>> runs = grid("fast", lr=[2e-3, 4e-3], seed=range(3))
    >>> len(runs), [run.seed for run in runs[:4]]
    (6, [0, 1, 2, 0])
    """
    several = (list, tuple, range, np.ndarray)
    lists = [list(each) if isinstance(each, several) else [each] for each in values.values()]
    return [
        RunConfig.named(recipe, **dict(zip(values, chosen, strict=True)))
        for chosen in product(*lists)
    ]


def run_many(
    configs: Iterable[RunConfig | str],
    folder: str | PathLike[str] | None = None,
    *,
    source: Source | Sequence[Source] | None = None,
    executor: Executor | None = None,
    jobs: int | None = None,
    progress: bool = True,
    on_message: Callable[[str], object] | None = None,
    on_run: Callable[[dict[str, Any]], object] | None = None,
    stop: Callable[[], object] | None = None,
) -> SweepResult:
    """Execute many runs concurrently. Also available as ``lenet5c.run_many``.

    Each run produces the same bytes as when it is executed alone, for any executor and number of
    workers. If a run fails or its process is killed, its row reports the error and the other runs
    continue.

    Parameters
    ----------
    configs : iterable of RunConfig or str
        The runs, which must differ. A string is the name of a recipe. A run with `folds` but
        without `fold` is expanded to one run per fold. `grid` creates runs from lists of settings.
    folder : str or path-like, optional
        Folder for the results, accessible to all workers: a folder of each run, results.jsonl and
        results.csv. The name of a run's folder contains a digest of its settings. If called again,
        finished runs are kept and others resume from their checkpoints. By default, the files are
        temporary and are deleted together with the result.
    source : Source or sequence of Source, optional
        Data already in memory, shared by all runs or one for each.
    executor : concurrent.futures.Executor, optional
        Executor of the runs: a process pool of Python or loky, ``MPIPoolExecutor`` of mpi4py, or
        ``client.get_executor(pure=False)`` of Dask. Default: `jobs` processes on this machine, or
        this process if `jobs` is 1.
    jobs : int, optional
        Number of concurrent runs. Default: the number of workers of the executor, or the number of
        cores without one. The runs share the threads of this process, at least one each.
    progress : bool
        Show a progress bar over the epochs of all runs, on a terminal or in a notebook.
    on_message : callable, optional
        Called with lines of text about the data.
    on_run : callable, optional
        Called as ``on_run(row)`` when a run ends, with its row of `SweepResult.rows`. Runs that
        were already finished come first.
    stop : callable, optional
        Called several times per second; if it returns True, all runs stop and save checkpoints. If
        it is a context manager, it is entered. An exception, such as KeyboardInterrupt, has the
        same effect.

    Returns
    -------
    SweepResult

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, or `jobs` is out of range.
    RunError
        If two runs are the same, the executor is shut down, the data cannot be used, or another
        call is using the folder.

    Notes
    -----
    A script that uses several processes must guard its code by ``if __name__ == "__main__":``,
    since each process imports the script.

    Examples
    --------
    >>> import lenet5c
    >>> runs = lenet5c.recipes.grid("fast", seed=range(2), train_size=500)
    >>> result = lenet5c.run_many(runs, jobs=1, progress=False)
    >>> [row["seed"] for row in result.rows], len(result.failed), len(result.models())
    ([0, 1], 0, 2)
    """
    jobs = check_workers(executor, jobs)
    given, sources = _expand(_list_configs(configs), source)
    on_message = _once(on_message)
    result = SweepResult([])
    if folder is None:
        folder = tempfile.mkdtemp(prefix="lenet5c-")
        weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder).resolve()  # workers may have another working directory
    result.configs = place(given, path, sources, on_message)
    with ExitStack() as held:
        held.enter_context(RunFolder(path).lock(on_message, (LINES, TABLE)))
        for left in path.glob(".stop-*"):  # left by a killed call
            left.unlink(missing_ok=True)
        executor, slots = held.enter_context(open_executor(executor, jobs, len(given)))
        bar = SweepBar(result.configs, progress)
        held.callback(bar.close)
        work = _Results(result, path, bar, on_message, on_run)
        result.interrupted = not run_jobs(
            work.due(sources),
            executor,
            work.end,
            slots=slots,
            folder=path,
            on_message=on_message,
            poll=bar.look,
            stop=stop,
        )
        work.finish()
    return result


def _once(on_message: Callable[[str], object] | None) -> Callable[[str], object]:
    """Wrap `on_message` to drop repeated lines, since all runs report the same about their data."""
    seen: set[str] = set()

    def on_new_message(line: str) -> None:
        if on_message and line not in seen:
            seen.add(line)
            on_message(line)

    return on_new_message


def _list_configs(configs: Iterable[RunConfig | str]) -> list[RunConfig]:
    """Return the runs as a list, with names of recipes converted to runs."""
    if isinstance(configs, (str, RunConfig)) or not isinstance(configs, Iterable):
        given = "a single RunConfig" if isinstance(configs, RunConfig) else repr(configs)
        raise TypeError(f"configs must be a list of RunConfig, got {given}")
    made = [RunConfig.named(each) if isinstance(each, str) else each for each in configs]
    for each in made:
        if not isinstance(each, RunConfig):
            raise TypeError(f"configs must hold RunConfig or names of recipes, got {each!r}")
    return made


def _expand(
    configs: list[RunConfig], source: Source | Sequence[Source] | None
) -> tuple[list[RunConfig], list[Source | None]]:
    """Expand runs with folds to one run per fold; return the runs and the data of each."""
    sources: list[Any] = (
        list(source) if isinstance(source, (list, tuple)) else [source] * len(configs)
    )
    if not all(each is None or isinstance(each, Source) for each in sources):
        raise TypeError(f"source must be a Source, or a list with one for each run, got {source!r}")
    if len(sources) != len(configs):
        raise RunError(f"source must be one for each of {len(configs)} runs, got {len(sources)}")
    made: list[tuple[RunConfig, Source | None]] = []
    for config, data in zip(configs, sources, strict=True):
        if config.folds is None or config.fold is not None:
            made.append((config, data))
            continue
        folds = None if data is None else assign_folds(data.train, config.folds, config.seed)
        for fold in range(1, config.folds + 1):
            part = data if data is None or folds is None else take_fold(data, folds, fold)
            made.append((replace(config, fold=fold), part))
    return [config for config, _ in made], [data for _, data in made]


def train_job(
    context: JobContext,
    config: RunConfig,
    source: Source | None = None,
    options: dict[str, Any] | None = None,
) -> None:
    """Execute or resume a run in a worker. `options` are further arguments of `train`.

    Raises
    ------
    JobStoppedError
        If the run was asked to stop; it has saved a checkpoint.
    """
    folder = RunFolder(config.folder or "")
    patience = time.monotonic() + PATIENCE
    while folder.is_locked() and time.monotonic() < patience and not context.stopped():
        time.sleep(0.05)
    run = train(
        config,
        source or open_data(config, context.on_message),
        resume=folder.config_file.exists(),
        on_message=context.on_message,
        stop=context.stopped,
        **(options or {}),
    )
    if run.interrupted:
        raise JobStoppedError


def open_data(config: RunConfig, on_message: Callable[[str], object]) -> Source:
    """Open the data of a run, or reuse the data of the last run if they are the same."""
    global _last
    whole = config.fold is not None
    key = config.data, config.read_options, config.reading, whole
    if _last is None or _last[0] != key:
        _last = None  # free the memory before other data are read
        _last = key, config.open_whole(on_message) if whole else config.open(on_message)
        keep_digest(_last[1])
    source = _last[1]
    if config.fold is None or config.folds is None:
        return source
    return take_fold(source, assign_folds(source.train, config.folds, config.seed), config.fold)


class _Results:
    """State of one call of `run_many`: pending runs, progress, rows and result files."""

    def __init__(
        self,
        result: SweepResult,
        folder: Path,
        bar: SweepBar,
        on_message: Callable[[str], object],
        on_run: Callable[[dict[str, Any]], object] | None,
    ) -> None:
        self.result, self.folder, self.bar = result, folder, bar
        self.on_message, self.on_run = on_message, on_run
        self.settings = differing_settings(result.configs)
        self.rows: dict[int, dict[str, Any]] = {}
        (folder / LINES).unlink(missing_ok=True)

    def due(self, sources: Sequence[Source | None]) -> Iterator[Job]:
        """Add the rows of finished runs, then yield the unfinished runs as jobs."""
        due = []
        for number in range(len(self.result.configs)):
            row = self.read(number, None)
            if row["state"] == "stopped":
                due.append(number)
            else:
                self.add(number, row)
        for number in due:
            self.bar.begin(number)
            yield Job(str(number), train_job, (self.result.configs[number], sources[number]))

    def read(self, number: int, error: str | None) -> dict[str, Any]:
        """Return the row of a run from its folder, with an error if its files cannot be used."""
        config, settings = self.result.configs[number], self.settings[number]
        try:
            return make_row(config, settings, error)
        except (RunError, OSError) as fault:
            return make_row(config, settings, reason(fault))

    def end(self, job: Job, outcome: Outcome) -> None:
        """Record the outcome of a run that has ended."""
        number, error = int(job.name), outcome.error
        for line in outcome.lines:
            self.on_message(line)
        if outcome.state == "stopped":
            return
        text = None if error is None else reason(error) or type(error).__name__
        row = self.read(number, text)
        if row["state"] == "stopped":
            why = f"folder must be one that all workers see, got {self.folder}: no result is there"
            row = self.read(number, why)
        if error is not None:
            self.result.traces[row["run"]] = outcome.trace
        self.add(number, row)

    def add(self, number: int, row: dict[str, Any]) -> None:
        """Append a row to the file and report it."""
        self.rows[number] = row
        lines = self.folder / LINES
        with _files.name_errors(lines), _files.open_to_change(lines) as file:
            file.seek(0, os.SEEK_END)
            file.write((json.dumps(row) + "\n").encode())
        self.bar.end(number, row["state"] == "failed")
        if self.on_run:
            with self.bar.above():
                self.on_run(row)

    def finish(self) -> None:
        """Sort all rows, including those of unfinished runs, and write them."""
        for number in range(len(self.result.configs)):
            if number not in self.rows:
                self.rows[number] = self.read(number, None)
        self.result.rows = [self.rows[number] for number in range(len(self.result.configs))]
        write_rows(self.folder, self.result.rows)
