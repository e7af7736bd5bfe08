"""Trainings as processes of their own, kept in a work folder, so that an interrupted report goes on."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lenet5c import _files
from lenet5c.__main__ import make_parser
from lenet5c.commands import train
from lenet5c.reproduction.reported import reported
from lenet5c.training import RunError
from lenet5c.training.run_folder import RunFolder


@dataclass(frozen=True)
class Run:
    """One training: what it is of, its folder, and the options of ``lenet5c train`` that make it.

    Attributes
    ----------
    recipe : str
    seed : int
    train_size : int or None
        The number of training images, for the points of a curve over it.
    folder : RunFolder
    options : list of str
    """

    recipe: str
    seed: int
    train_size: int | None
    folder: RunFolder
    options: list[str]

    def __str__(self):
        size = "" if self.train_size is None else f", {self.train_size:,} training images"
        return f"{self.recipe}, seed {self.seed}{size}"

    @property
    def process_file(self):
        """Where the time of the whole process is written."""
        return self.folder.path / "process.json"

    def finished(self):
        return self.folder.read_summary() is not None


def plan(names, seeds, work, data, epochs, digest, count):
    """All runs of a report, in order.

    Parameters
    ----------
    names : list of str
        Recipes.
    seeds : int or None
        Seeds 0 to this of each; None for the usual number.
    work : Path
        The folder of the runs' folders. The name of each contains a digest of the settings, of the version and of the
        data, so that what was trained otherwise is never taken for it.
    data : str
        As in ``lenet5c train --data``.
    epochs : int or None
        In place of the recipe's.
    digest : str
        Of the data.
    count : int
        Of the training images there are.
    """
    runs = []
    for name in names:
        facts = reported(name)
        sizes = [None, *(size for size in facts.sizes if size < count)]
        for size in sizes:
            for seed in range(seeds or facts.seeds):
                options = ["--recipe", name, "--seed", str(seed), "--data", data]
                options += ["--train-size", str(size)] if size else []
                options += ["--epochs", str(epochs)] if epochs else []
                options += ["--watch-test"] if facts.test_errors and not size else []
                _, config = train.begin(make_parser("train").parse_args(["train", *options]))
                key = hashlib.sha256(
                    json.dumps([config, digest], sort_keys=True).encode()
                ).hexdigest()[:12]
                folder = Path(work) / f"{name}{f'-{size}' if size else ''}-{seed}-{key}"
                runs.append(Run(name, seed, size, RunFolder(folder), options))
    return runs


def run_all(runs, jobs, threads, say):
    """Train what is not finished, `jobs` at a time; `say` is called with a line for each run.

    The first run that fails keeps others from starting; those under way are waited for. On an interrupt they are
    asked to stop, and leave checkpoints.

    Raises
    ------
    RunError
        A run failed; the message has its last words and the remedy.
    """
    crew = Crew(jobs, threads)
    due = []
    for run in runs:
        if run.finished():
            say(f"{run}: {run.folder.read_summary()['test_accuracy']:.2%}, kept from before")
        else:
            due.append(run)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            waiting = {pool.submit(crew.train, run): run for run in due}
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    run, seconds = waiting.pop(future), future.result()
                    time_taken = (
                        "resumed, so not timed" if seconds is None else f"in {seconds:.1f} s"
                    )
                    say(f"{run}: {run.folder.read_summary()['test_accuracy']:.2%}, {time_taken}")
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if not isinstance(error, RunError):
                crew.stop()
            raise


class Crew:
    """The processes under way."""

    def __init__(self, jobs, threads):
        self.jobs, self.threads = jobs, threads
        self.processes = set()
        self.stopped = False
        self.lock = threading.Lock()

    def train(self, run):
        """One process, from start to exit; returns its seconds, None if it only went on with an earlier one."""
        resumed = run.folder.config_file.exists()
        options = ["--resume"] if resumed else run.options
        command = [
            sys.executable,
            "-m",
            "lenet5c.train",
            *options,
            "--out",
            str(run.folder.path),
            "--quiet",
            "--no-report",
        ]
        if self.threads is not None:
            command += ["--threads", str(self.threads)]
        started = datetime.now().astimezone()
        began = time.perf_counter()
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
            self.processes.add(process)
        _, words = process.communicate()
        seconds = None if resumed else time.perf_counter() - began
        with self.lock:
            self.processes.discard(process)
        if process.returncode:
            said = words.strip().splitlines() or [f"exit code {process.returncode}"]
            raise RunError(
                f"the training of {run} failed in {run.folder.path}: {said[-1].strip()}; finished runs are kept: once "
                f"this is mended, give the same command again"
            )
        _files.write_json(
            run.process_file,
            {
                "seconds": None if seconds is None else round(seconds, 3),
                "started": started.isoformat(timespec="seconds"),
                "jobs": self.jobs,
            },
        )
        return seconds

    def stop(self):
        """Ask all processes to stop, and start no more; each leaves a checkpoint."""
        with self.lock:
            self.stopped = True
            for process in self.processes:
                process.terminate()
