"""Fuzz the readers with Atheris: none may fail, hang for 4 seconds or take 300 MB.

The memory is the peak of a process beyond the 60 to 80 MB after its imports.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

from torture.campaign import Campaign
from torture.fuzz.support import SHARED_MEMORY
from torture.fuzz.targets import SHARES

FUZZ = Path(__file__).parents[1] / "fuzz"
WORKERS = 2
START = 5.0  # seconds for the imports of a target, on a busy machine
MINIMUM = 3 * START  # seconds of a target
SPARE = 3.0  # seconds at the end, for inputs that hang
REPEATS = 3  # of an input that hangs: the machine may be busy
MAX_RESTARTS = 20
SKIPPED = 4  # exit code of a target whose libraries are not installed
REPORTING = Lock()


@dataclass
class Outcome:
    """Figures of one target."""

    executions: int = 0
    memory: int = 0  # MB at the peak, beyond those of the imports
    unconfirmed: int = 0  # inputs that fail in this process only
    skipped: str = ""
    failures: list[str] = field(default_factory=list)


def run(campaign: Campaign) -> None:
    """Fuzz each target for its share of the time, `WORKERS` at once; the attempts are executions.

    A short campaign has time for some targets only; its seed chooses them.
    """
    if find_spec("atheris") is None:
        campaign.count("skipped: atheris is not installed")
        return
    every = sorted(SHARES)
    names = every if campaign.only is None else [every[campaign.only]]
    workers = min(WORKERS, os.cpu_count() or 1, len(names))
    seconds = workers * max(campaign.left - SPARE, MINIMUM)
    number = min(len(names), max(workers, int(seconds / MINIMUM)))
    first = campaign.seed * number % len(names)
    names = [*names[first:], *names[:first]][:number]
    share = max(0.0, seconds - START * number) / sum(SHARES[name] for name in names)
    times = {name: START + share * SHARES[name] for name in names}
    crashes = Path(tempfile.mkdtemp(prefix="torture-fuzz-crashes-"))
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="torture-fuzz-", dir=memory) as folder,
        ThreadPoolExecutor(workers) as pool,
    ):
        work = [
            pool.submit(fuzz_in_turn, campaign, part, Path(folder), crashes)
            for part in divide(times, workers)
        ]
        for done in as_completed(work):
            done.result()
    with suppress(OSError):  # it holds inputs that failed
        crashes.rmdir()


def divide(times: dict[str, float], workers: int) -> list[dict[str, float]]:
    """Return the targets with their times for each worker, with about equal sums."""
    parts: list[dict[str, float]] = [{} for _ in range(workers)]
    for name in sorted(times, key=times.__getitem__, reverse=True):
        min(parts, key=lambda part: sum(part.values()))[name] = times[name]
    return parts


def fuzz_in_turn(campaign: Campaign, times: dict[str, float], folder: Path, crashes: Path) -> None:
    """Fuzz the targets of one worker; one that takes longer shortens all that follow."""
    rest = sum(times.values())
    for name, seconds in times.items():
        left = max(0.0, campaign.left - SPARE) * seconds / rest
        outcome = fuzz(campaign, name, left, folder, crashes)
        with REPORTING:
            report(campaign, name, outcome)
        rest -= seconds


def report(campaign: Campaign, name: str, outcome: Outcome) -> None:
    """Add the figures of one target to those of the campaign."""
    if outcome.skipped:
        campaign.count(f"{outcome.skipped}, of {name}")
        return
    if not (outcome.executions or outcome.failures):
        campaign.count(f"{name}: no time")
        return
    campaign.attempts += outcome.executions
    campaign.count(f"{name}: executions", outcome.executions)
    campaign.count(f"{name}: MB at the peak, beyond the imports", outcome.memory)
    if outcome.unconfirmed:
        campaign.count(f"{name}: slow or large, but not by itself", outcome.unconfirmed)
    for what in outcome.failures:
        campaign.fail(sorted(SHARES).index(name), f"{name}: {what}")


def fuzz(campaign: Campaign, name: str, seconds: float, folder: Path, crashes: Path) -> Outcome:
    """Fuzz a target; go on with another seed if the process ends early."""
    outcome = Outcome()
    if campaign.left < START:
        return outcome
    end = max(SPARE, campaign.left - seconds)  # what is then left of the campaign
    (folder / name).mkdir()
    for number in range(MAX_RESTARTS):
        if number and campaign.left - end < MINIMUM:
            break
        command = [
            sys.executable,
            str(FUZZ),
            name,
            f"--until={time.monotonic() + campaign.left - end}",
        ]
        command += [f"--seed={campaign.seed * MAX_RESTARTS + number}", f"--crashes={crashes}"]
        command += [f"--corpus={folder / name / 'corpus'}"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(folder / name)},
            text=True,
            errors="replace",
        )
        stopped = False
        try:
            _, text = process.communicate(timeout=campaign.left - end + START + SPARE)
        except subprocess.TimeoutExpired:
            # On a busy machine it may not even have begun; a hanging input ends it before.
            stopped = True
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(SPARE)
            process.kill()
            _, text = process.communicate()
        figures = {key: int(value) for key, value in re.findall(r"stat::(\w+):\s+(\d+)", text)}
        if process.returncode == SKIPPED:
            outcome.skipped = text.strip().rpartition("\n")[2]
            break
        if "number_of_executed_units" not in figures:
            if not stopped:
                what = f"ended with {process.returncode}: {text.strip()[-500:]}"
                outcome.failures.append(what)
            break
        outcome.executions += figures["number_of_executed_units"]
        outcome.memory = max(outcome.memory, figures["peak_rss_mb"] - figures["base_rss_mb"])
    for path in sorted(crashes.glob(f"{name}-*")):
        if path.suffix == ".txt":
            continue
        if what := judge(name, path, outcome, campaign.answer_within):
            outcome.failures.append(f"{what}; repeat: python tools/torture/fuzz {name} {path}")
    return outcome


def judge(name: str, path: Path, outcome: Outcome, answer_within: float | None) -> str | None:
    """Return the failure of an input; None if it does not fail when read again alone.

    It has met a busy machine then, or a process that had grown by the inputs before.
    """
    report = path.with_suffix(".txt")
    what = report.read_text().strip().rpartition("\n")[2][:300] if report.exists() else ""
    if what and not what.startswith("took "):
        return what
    command = [sys.executable, str(FUZZ), name, str(path)]
    limit = 10 * START
    if answer_within is not None:
        command += ["--answer-within", str(answer_within)]
        limit = max(limit, answer_within + START)
    for _ in range(REPEATS):
        with suppress(subprocess.TimeoutExpired):
            again = subprocess.run(command, capture_output=True, timeout=limit)
            if again.returncode == 0:
                outcome.unconfirmed += 1
                path.unlink()
                report.unlink(missing_ok=True)
                return None
    return what or path.name.removeprefix(f"{name}-").partition("-")[0]  # timeout, oom or crash
