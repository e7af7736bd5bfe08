"""Training runs in separate processes, kept in a work folder so that reports can be resumed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import cast

from lenet5c import _files
from lenet5c.datasets import Source
from lenet5c.errors import RunError, TrainingError
from lenet5c.recipes import RunConfig, reported
from lenet5c.recipes.executors import check_workers
from lenet5c.recipes.jobs import Job, JobContext, JobStoppedError, Outcome, count_workers, run_jobs
from lenet5c.recipes.placement import place, title
from lenet5c.training.run_folder import RunFolder

PROCESS_FILE = "process.json"  # in the folder of a run: the time of the whole process
#: Prefixes of environment variables of MPI programs.
MPI = ("PMI", "MPI", "OMPI_", "HYDI_", "SLURM_")


def plan(
    names: list[str],
    seeds: int | None,
    work: str | Path,
    data: str,
    epochs: int | None,
    source: Source,
) -> list[RunConfig]:
    """Return all runs of a report, in order; arguments are those of `reproduce`."""
    configs = []
    for name in names:
        facts = reported(name)
        for size in (None, *(size for size in facts.sizes if size < len(source.train))):
            changes = {"train_size": size} | ({"epochs": epochs} if epochs else {})
            watch = bool(facts.test_errors) and size is None
            for seed in range(seeds or facts.seeds):
                made = RunConfig.named(name, data=data, seed=seed, watch_test=watch, **changes)
                configs.append(made)
    return place(configs, Path(work).resolve(), [source] * len(configs))


def get_run_folder(config: RunConfig) -> RunFolder:
    """Return the folder of a planned run."""
    return RunFolder(cast(Path, config.folder))


def train_all(
    configs: list[RunConfig],
    jobs: int | None,
    on_message: Callable[[str], object],
    executor: Executor | None = None,
) -> None:
    """Train the runs that are not finished, `jobs` in parallel; report a line for each.

    If one fails, the others continue. On an interrupt, they are asked to stop and write
    checkpoints.

    Raises
    ------
    TrainingError
        If a run failed.
    """
    failed: list[str] = []

    def report(config: RunConfig, how: str) -> None:
        summary = get_run_folder(config).read_summary() or {}
        on_message(f"{title(config)}: {summary['test_accuracy']:.2%}, {how}")

    def end(job: Job, outcome: Outcome) -> None:
        config = job.arguments[0]
        if outcome.error is not None:
            failed.append(f"training of {title(config)} failed in {config.folder}: {outcome.error}")
            on_message(f"{title(config)}: failed ({outcome.error})")
        elif outcome.state == "done":
            seconds = outcome.value
            report(config, f"in {seconds:.1f} s" if seconds else "resumed, not timed")

    due = []
    for config in configs:
        if get_run_folder(config).read_summary() is None:
            due.append(config)
        else:
            report(config, "already finished")
    jobs = check_workers(executor, jobs)
    with ExitStack() as held:
        executor = executor or held.enter_context(ThreadPoolExecutor(jobs))  # each has a process
        count = jobs or count_workers(executor) or 1
        todo = (Job(title(config), train_as_command, (config, count)) for config in due)
        run_jobs(todo, executor, end, slots=jobs, on_message=on_message)
    if failed:
        more = f" (and {len(failed) - 1} more failed)" if len(failed) > 1 else ""
        raise TrainingError(
            f"{failed[0]}{more}; finished runs are kept: fix the error and run the same command "
            "again"
        )


def train_as_command(context: JobContext, config: RunConfig, jobs: int) -> float | None:
    """Execute a run in a process of ``lenet5c train``; return its seconds, None if resumed."""
    folder = get_run_folder(config)
    resumed = folder.config_file.exists()
    command = [sys.executable, "-m", "lenet5c.train", "--out", str(folder.path)]
    command += ["--resume"] if resumed else config.options()
    command += ["--quiet", "--no-report"]
    if jobs > 1:
        command += ["--threads", str(context.threads)]
    started, began = datetime.now().astimezone(), time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={name: os.environ[name] for name in os.environ if not name.startswith(MPI)},
    )
    errors = None
    while errors is None:
        with suppress(subprocess.TimeoutExpired):
            _, errors = process.communicate(timeout=0.1)
        if errors is None and context.stopped():
            process.terminate()
            process.communicate()
            raise JobStoppedError
    seconds = None if resumed else round(time.perf_counter() - began, 3)
    if process.returncode:
        last = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise RunError(last.strip())
    at = started.isoformat(timespec="seconds")
    _files.write_json(folder.path / PROCESS_FILE, {"seconds": seconds, "started": at, "jobs": jobs})
    return seconds
