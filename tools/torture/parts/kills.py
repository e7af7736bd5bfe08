"""Kill training runs at random moments, resume them, and compare every byte.

A run with random settings is killed, resumed with another number of threads, possibly killed again,
until it is finished. Its files must then be those of the uninterrupted run. Most runs are forks of
an interpreter that has imported lenet5c; every tenth is a new interpreter.
"""

import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from torture.campaign import Campaign
from torture.processes import CAN_FORK, KILL, Child, Server, serve_processes, start_fresh
from torture.runs import (
    EVENTS,
    HAS_TENSORBOARD,
    REPORT,
    RUN_FILES,
    differences,
    draw_options,
    write_small_data,
)

SAME_SETTINGS = 10  # attempts one after another with the same settings
MOMENTS = ("anywhere", "start", "checkpoint", "end")
POLITE = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)


def run(campaign: Campaign) -> None:
    """Make attempts until the time is over."""
    with campaign.folder() as folder, serve_processes() as server:
        data = write_small_data(folder / "data")
        known = None
        for number, rng in campaign.tries():
            group = number // SAME_SETTINGS
            if known is None or known.group != group:
                known = Undisturbed(campaign, server, folder, data, group)
            try:
                attempt(campaign, server, folder, known, rng)
            except (AssertionError, TimeoutError, OSError) as error:
                campaign.fail(number, f"{known.options}: {error}")
                for path in folder.glob("killed*"):
                    shutil.rmtree(path, ignore_errors=True)


class Undisturbed:
    """The uninterrupted run with some settings."""

    def __init__(self, campaign: Campaign, server: Server, folder: Path, data: Path, group: int):
        rng = np.random.default_rng([campaign.seed, group, 1])
        self.group, self.folder = group, folder / "undisturbed"
        self.options = draw_options(rng, data)
        tensorboard = HAS_TENSORBOARD and rng.random() < 0.4
        if tensorboard:
            self.options.append("--tensorboard")
        report = bool(REPORT) and rng.random() < 0.15
        if not report:
            self.options.append("--no-report")
        self.names = RUN_FILES | (REPORT if report else set())
        self.names |= {EVENTS} if tensorboard else set()
        shutil.rmtree(self.folder, ignore_errors=True)
        began = time.monotonic()
        child = server.start(
            ["train", "--out", self.folder, "--threads", "1", *self.options], folder / "log"
        )
        if (code := child.wait()) != 0:
            raise RuntimeError(f"{self.options} ends with {code}: {child.output()[-2000:]}")
        self.seconds = time.monotonic() - began
        if (names := {path.name for path in self.folder.iterdir()}) != self.names:
            campaign.fail(group * SAME_SETTINGS, f"an undisturbed run leaves {sorted(names)}")
        campaign.count("undisturbed runs")


def attempt(
    campaign: Campaign, server: Server, folder: Path, known: Undisturbed, rng: np.random.Generator
) -> None:
    """Kill and resume one run until it is finished; raise AssertionError if it is wrong."""
    out = folder / "killed"
    fresh = not CAN_FORK or rng.random() < 0.1
    kills = int(rng.integers(1, 5))
    while True:
        began = (out / "config.json").exists()
        words = ["train", "--out", out, "--threads", rng.integers(1, 4), *known.options]
        words += ["--resume"] if began else []
        log = folder / "log"
        child = start_fresh(words, log) if fresh else server.start(words, log)
        number = None
        if kills > 0:
            kills -= 1
            seconds = known.seconds + (0.6 if fresh else 0)
            number = wait_and_kill(campaign, child, out, seconds, rng)
        code = child.wait()
        output = child.output()
        assert "Traceback" not in output, output[-1500:]
        if code == 0 and "no report: KeyboardInterrupt" in output:
            campaign.count("interrupted while it drew")
        elif number is None or code == 0:
            campaign.count("resumed to the end" if began else "finished before a kill")
            assert code == 0, f"exit code {code}: {output[-500:]}"
            break
        else:
            wrong = f"exit code {code} after {number}: {output[-500:]}"
            assert code in (-number, 128 + number), wrong
        campaign.count("kills of new interpreters" if fresh else "kills of forks")
        campaign.count(f"by {signal.Signals(number).name}")
    found = differences(out, known.folder)
    assert not found, ", ".join(found)
    shutil.rmtree(out)


def wait_and_kill(
    campaign: Campaign, child: Child, out: Path, seconds: float, rng: np.random.Generator
) -> int:
    """Send a signal at a random moment; return its number."""
    moment = str(rng.choice(MOMENTS, p=(0.55, 0.12, 0.23, 0.1)))
    number = KILL
    if POLITE and rng.random() < 0.15:
        # Before the run has begun, Python itself or an import would be what is interrupted.
        number, moment = POLITE[rng.integers(len(POLITE))], "checkpoint"
    if moment == "anywhere":
        time.sleep(rng.uniform(0, 1.05 * seconds))
    elif moment == "start":
        time.sleep(rng.exponential(0.1 * seconds))
    else:
        name = "checkpoint.safetensors" if moment == "checkpoint" else "model.safetensors"
        wait_for_change(child, out, name, int(rng.integers(1, 3)))
        time.sleep(rng.exponential(0.003))
    child.kill(group=rng.random() < 0.5, number=number)
    campaign.count(f"at: {moment}")
    return number


def wait_for_change(child: Child, out: Path, name: str, times: int) -> None:
    """Wait until a file of a run, or its temporary file, has changed several times."""

    def states() -> set[tuple[str, int]]:
        with suppress(OSError):  # not there yet, or renamed between the two
            paths = [path for path in out.iterdir() if name in path.name]
            return {(path.name, path.stat().st_mtime_ns) for path in paths}
        return set()

    before = states()
    seen = set(before)
    while len(seen - before) < times and child.poll() is None:
        seen |= states()
        time.sleep(0.0005)
