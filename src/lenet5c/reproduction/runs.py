"""Trainings as processes, kept in a work folder, so that an interrupted report goes on."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import cast

from lenet5c import _files, kernels
from lenet5c.datasets import Source
from lenet5c.errors import RunError
from lenet5c.recipes import RunConfig, reported
from lenet5c.recipes.run import data_digest
from lenet5c.training.run_folder import RunFolder

PROCESS_FILE = "process.json"  # of a run's folder: the time of the whole process


class TrainingError(RunError):
    """A training that failed; the message has its last words and the remedy."""


def plan(
    names: list[str],
    seeds: int | None,
    work: str | Path,
    data: str,
    epochs: int | None,
    source: Source,
) -> list[RunConfig]:
    """Return all runs of a report, in order; arguments as of `reproduce`, `source` has the data."""
    configs = []
    for name in names:
        facts = reported(name)
        for size in (None, *(size for size in facts.sizes if size < len(source.train))):
            changes = {"train_size": size} | ({"epochs": epochs} if epochs else {})
            watch = bool(facts.test_errors) and size is None
            for seed in range(seeds or facts.seeds):
                made = RunConfig.named(name, data=data, seed=seed, watch_test=watch, **changes)
                configs.append(made)
    return place(configs, work, source)


def place(configs: list[RunConfig], work: str | Path, source: Source) -> list[RunConfig]:
    """Return runs on this data with their folders in the folder `work`.

    The name of a run's folder contains a digest of its settings, the version and the data, so that
    it never stands for a run that was trained otherwise.
    """
    placed, present = [], data_digest(source)
    for config in configs:
        values = replace(config, data_digest=present).to_dict()
        key = _files.digest(json.dumps(values, sort_keys=True))[:12]
        size = config.settings.train_size
        name = f"{config.recipe}{f'-{size}' if size else ''}-{config.seed}-{key}"
        placed.append(replace(config, folder=Path(work) / name))
    return placed


def title(config: RunConfig) -> str:
    """Return the name of a run in messages."""
    size = config.settings.train_size
    return f"{config.recipe}, seed {config.seed}" + (f", {size:,} training images" if size else "")


def folder_of(config: RunConfig) -> RunFolder:
    """Return the folder of a planned run."""
    return RunFolder(cast(Path, config.folder))


def train_all(configs: list[RunConfig], jobs: int, tell: Callable[[str], object]) -> None:
    """Train the runs that are not finished, `jobs` at a time; tell a line of each.

    The first run that fails keeps others from starting; those under way are waited for. On an
    interrupt they are asked to stop, and leave checkpoints.

    Raises
    ------
    TrainingError
        A run failed.
    """
    processes = Processes(jobs)

    def report(config: RunConfig, how: str) -> None:
        summary = folder_of(config).read_summary() or {}
        tell(f"{title(config)}: {summary['test_accuracy']:.2%}, {how}")

    due = []
    for config in configs:
        if folder_of(config).read_summary() is None:
            due.append(config)
        else:
            report(config, "kept from before")
    with ThreadPoolExecutor(jobs) as pool:
        try:
            waiting = {pool.submit(processes.train, config): config for config in due}
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    config, seconds = waiting.pop(future), future.result()
                    timed = seconds is not None
                    report(config, f"in {seconds:.1f} s" if timed else "resumed, so not timed")
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if not isinstance(error, RunError):
                processes.stop()
            raise


class Processes:
    """Trainings in progress, each a process of ``lenet5c train``; `jobs` share the threads."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.running: set[subprocess.Popen] = set()
        self.stopped = False
        self.lock = threading.Lock()

    def train(self, config: RunConfig) -> float | None:
        """Carry out a run in a process; return its seconds, None if it was only resumed."""
        folder = folder_of(config)
        resumed = folder.config_file.exists()
        command = [sys.executable, "-m", "lenet5c.train", "--out", str(folder.path)]
        command += ["--resume"] if resumed else config.options()
        command += ["--quiet", "--no-report"]
        if self.jobs > 1:
            command += ["--threads", str(max(1, kernels.get_num_threads() // self.jobs))]
        started, began = datetime.now().astimezone(), time.perf_counter()
        with self.lock:
            if self.stopped:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            self.running.add(process)
        _, errors = process.communicate()
        seconds = None if resumed else round(time.perf_counter() - began, 3)
        with self.lock:
            self.running.discard(process)
        if process.returncode:
            last = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
            raise TrainingError(
                f"the training of {title(config)} failed in {folder.path}: {last.strip()}; "
                "finished runs are kept: once this is mended, give the same command again"
            )
        at = started.isoformat(timespec="seconds")
        facts = {"seconds": seconds, "started": at, "jobs": self.jobs}
        _files.write_json(folder.path / PROCESS_FILE, facts)
        return seconds

    def stop(self) -> None:
        """Ask all processes to stop, and start no more; each leaves a checkpoint."""
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.terminate()
